"""`mobiprox bench`: the object that it prints, its errors, and the arithmetic of rounds, noise and ratios."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_cases import NodeCase, float32_cases

from mobiprox_core import plugins, reference
from mobiprox_core.bench import comparison, engines, noise, ratios, text
from mobiprox_core.bench.comparison import Contender
from mobiprox_core.bench.pool import Process
from mobiprox_core.bench.ratios import Block
from mobiprox_core.bench.settings import configuration
from mobiprox_core.bench.task import Task
from mobiprox_core.cli import main
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration, Setting
from mobiprox_core.errors import DeviceError, LoweringError, UsageError
from mobiprox_core.graph import Graph
from mobiprox_core.network import Network

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits" / "digits.onnx"
ROWS = "perforation(axis=rows, offset=1, stride=2)"
NAMED = "conv2: filter_sampling(offset=0, stride=2) + fp16(arithmetic=float32); conv3: fp16(arithmetic=float32)"

NUMBER = {"type": "number"}
PAIR = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}


def record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SCHEMA = record(
    schema={"const": 1},
    model=record(
        name={"type": "string"},
        file={"type": "string"},
        digest={"type": "string", "pattern": "^[0-9a-f]{64}$"},
        batch={"type": "integer"},
        inputs={"type": "array"},
        mmac=NUMBER,
    ),
    machine=record(processor={"type": "string"}, cores={"type": "integer"}, system={"type": "string"}),
    versions=record(mobiprox={"type": "string"}, python={"type": "string"}, plugins={"type": "object"}, engines={"type": "object"}),
    device={"type": "object", "required": ["name", "driver", "runtime", "kind", "isa", "threads"]},
    threads={"type": "integer", "minimum": 1},
    load_s=NUMBER,
    arena_bytes={"type": "integer"},
    memory_bytes={"type": "object", "required": ["exact", "activations"], "additionalProperties": {"type": "integer"}},
    program={"type": "string"},
    engines={"type": "object", "additionalProperties": {"type": "object", "required": ["version", "threads"]}},
    left_out={"type": "object", "additionalProperties": {"type": "string"}},
    seed={"type": "integer"},
    paying={"type": "boolean"},
    contenders={
        "type": "array",
        "items": record(
            engine={"type": "string"},
            setting={"type": ["string", "null"]},
            configuration={"type": ["object", "null"]},
            median_ms={**NUMBER, "exclusiveMinimum": 0},
            p10_ms=NUMBER,
            p90_ms=NUMBER,
            cores=NUMBER,
            calls={"type": "integer", "minimum": 1},
            quiet={"type": "boolean"},
            difference=NUMBER,
            from_exact=NUMBER,
        ),
    },
    ratios={
        "type": "array",
        "items": record(
            setting={"type": "string"},
            against={"type": "string"},
            ratio={**NUMBER, "exclusiveMinimum": 0},
            interval=PAIR,
            spread=PAIR,
            rounds={"type": "integer", "minimum": 1},
            quiet={"type": "boolean"},
            certain={"type": "boolean"},
        ),
    },
    noise=record(
        rounds={"type": "integer"},
        quiet_rounds={"type": ["integer", "null"]},
        lacking_cores={"type": ["number", "null"]},
        load_average={"type": ["number", "null"]},
        idle_cores={"type": "object", "additionalProperties": NUMBER},
        warnings={"type": "array", "items": {"type": "string"}},
    ),
    peak_gflops={**NUMBER, "exclusiveMinimum": 0},
    peak_how={"type": "string"},
    operators={
        "type": "array",
        "items": record(
            name={"type": "string"},
            kind={"type": "string"},
            output={"type": ["array", "null"]},
            mmac=NUMBER,
            microseconds={**NUMBER, "exclusiveMinimum": 0},
            gflops={"type": ["number", "null"]},
            peak_share={"type": ["number", "null"]},
            settings={
                "type": "object",
                "additionalProperties": record(setting={"type": "string"}, microseconds=NUMBER, speedup={"type": ["number", "null"]}),
            },
        ),
    },
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mobiprox_core", "bench", str(DIGITS), *arguments], capture_output=True, text=True, check=False
    )


# --------------------------------------------------------------------------------------------------------------- the whole command


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """Two settings against ONNX Runtime, in short rounds."""
    pytest.importorskip("onnxruntime")
    done = run("--against", "onnxruntime", "--set", ROWS, "--set", NAMED, "--rounds", "2", "--block", "0.02", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.opencl
def test_the_json_object_holds_what_it_promises(result: dict[str, Any]) -> None:
    jsonschema.validate(result, SCHEMA)


@pytest.mark.opencl
def test_contenders_and_ratios_are_all_there(result: dict[str, Any]) -> None:
    assert [(c["engine"], c["setting"]) for c in result["contenders"]] == [
        ("mobiprox", "exact"),
        ("mobiprox", ROWS),
        ("mobiprox", NAMED),
        ("onnxruntime", None),
    ]
    pairs = {(r["setting"], r["against"]) for r in result["ratios"]}
    assert pairs == {
        *((setting, "onnxruntime") for setting in ("exact", ROWS, NAMED)),
        *((setting, "mobiprox exact") for setting in (ROWS, NAMED)),
    }
    assert all(r["interval"][0] <= r["ratio"] <= r["interval"][1] for r in result["ratios"])


@pytest.mark.opencl
def test_settings_are_reported_operator_by_operator(result: dict[str, Any]) -> None:
    exact, rows, named, theirs = result["contenders"]
    assert exact["configuration"] == {}
    assert set(rows["configuration"].values()) == {ROWS}
    assert named["configuration"] == {
        "conv2": "filter_sampling(offset=0, stride=2) + fp16(arithmetic=float32)",
        "conv3": "fp16(arithmetic=float32)",
    }
    assert theirs["configuration"] is None
    taken = {op["name"]: set(op["settings"]) for op in result["operators"]}
    assert taken["conv2"] == {ROWS, NAMED}
    assert taken["conv1"] == {ROWS}
    assert taken["fc"] == set()


@pytest.mark.opencl
def test_outputs_are_checked_and_approximations_differ_from_exact(result: dict[str, Any]) -> None:
    exact, rows, named, theirs = result["contenders"]
    assert max(exact["difference"], theirs["difference"], rows["difference"]) < 1e-5
    assert min(rows["from_exact"], named["from_exact"]) > 1e-3


@pytest.mark.opencl
def test_the_operators_add_up_to_the_network(result: dict[str, Any]) -> None:
    assert sum(op["mmac"] for op in result["operators"]) == pytest.approx(result["model"]["mmac"])
    graph = digits()
    assert {op["name"]: op["output"] for op in result["operators"]}.items() <= {
        op.name: list(graph.shape(op.output)) for op in graph.operators
    }.items()
    assert all(op["peak_share"] < 1.5 for op in result["operators"] if op["peak_share"])


@pytest.mark.opencl
def test_the_text_names_every_contender_and_operator(result: dict[str, Any]) -> None:
    shown = text.render(result)
    for word in ("onnxruntime", ROWS, NAMED, "set 1", "set 2", "peak", *(op["name"] for op in result["operators"])):
        assert word in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


@pytest.mark.opencl
def test_alone_and_only_where_it_pays() -> None:
    request = comparison.Request(DIGITS, (), (ROWS,), batch=2, rounds=1, block_s=0.01, paying=True)
    result = comparison.bench(request)
    assert [c["engine"] for c in result["contenders"]] == ["mobiprox", "mobiprox"]
    kept = result["contenders"][1]["configuration"]
    assert set(kept) == {op["name"] for op in result["operators"] if op["settings"]}
    text.render(result)


def test_a_setting_stays_where_it_pays() -> None:
    times = [(1.0, 0.9), (1.0, 0.99), (), (1.0, 0.5, 0.8)]
    assert comparison._paying((1, 1, 1, 2), times) == (1, 0, 0, 2)
    assert comparison._paying((0, 0, 0, 0), times) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "code", "message", "mend"),
    [
        (["--against", "onnxrutime"], 2, "no engine is called 'onnxrutime'", "did you mean 'onnxruntime'?"),
        (["--set", "perforaton(stride=2)"], 2, "no technique is called 'perforaton'", "did you mean 'perforation'?"),
        (["--set", "perforation(axis=rows, offset=9, stride=2)"], 2, "is not legal", "did you mean"),
        (["--set", "conv9: fp16"], 2, "no operator called 'conv9'", "did you mean"),
        (["--set", "conv2: fp16; conv2: fp16"], 2, "'conv2' is set twice", "join"),
        (["--set", "conv2:"], 2, "does not say which operator and setting", "write"),
        (["--set", "fp16 + fp16"], 2, "sets one thing twice", "different kinds"),
        (["--set", "exact"], 2, "approximates nothing", "write"),
        (["--set", "fp16", "--set", "fp16"], 2, "a setting is given twice", "leave"),
        (["--backend", "abacus"], 2, "abacus", ""),
        (["--batch", "0"], 2, "batch", ""),
        (["--against", "none", "--threads", "9999"], 6, "9999", "fewer threads"),
        (["--against", "none", "--device", "no such device"], 6, "no such device", "devices are"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_named_and_mended(arguments: list[str], code: int, message: str, mend: str) -> None:
    done = CliRunner().invoke(main, ["bench", str(DIGITS), *arguments])
    assert done.exit_code == code, done.stderr
    assert message in done.stderr
    assert mend in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("engine", "module", "mend"),
    [("openvino", "openvino", "pip install openvino"), ("ncnn", "pnnx", "pip install ncnn pnnx"), ("mnn", "MNN", "pip install MNN")],
)
def test_an_engine_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, engine: str, module: str, mend: str) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == module else object())
    assert engine not in engines.installed()
    with pytest.raises(UsageError, match=f"'{engine}' is not installed") as error:
        comparison.bench(comparison.Request(DIGITS, (engine,)))
    assert error.value.mend == mend


@pytest.mark.parametrize(("name", "code"), [("missing.onnx", 2), ("text.onnx", 3)])
def test_a_model_that_is_none_is_an_error(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    done = CliRunner().invoke(main, ["bench", str(tmp_path / name)])
    assert done.exit_code == code
    assert name in done.stderr


# --------------------------------------------------------------------------------------------------------------------- the workers


def digits() -> Graph:
    import onnx_ir as ir

    return Network.from_model(ir.load(DIGITS), "digits").at_batch(1)


@pytest.fixture
def inputs(tmp_path: Path) -> str:
    path = tmp_path / "inputs.npz"
    np.savez(path, np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32))
    return str(path)


@pytest.fixture
def worker() -> Iterator[Process]:
    pytest.importorskip("onnxruntime")
    with Process("onnxruntime") as process:
        yield process


def test_an_engine_that_waits_uses_no_processor(worker: Process, inputs: str) -> None:
    """ONNX Runtime's threads spin after their work; a neighbour must not be timed beside them."""
    worker.ask("load", engine="onnxruntime", task={"model": str(DIGITS), "batch": 1, "inputs": inputs, "threads": 2})
    for _ in range(3):
        worker.ask("time", seconds=0.05)
        time.sleep(0.2)
    worker.ask("time", seconds=0.01)
    assert worker.waited_s > 0.6
    assert worker.idle_cores < comparison.IDLE_CORES


def test_a_network_that_an_engine_refuses_is_an_error_that_names_the_engine(worker: Process, inputs: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x00" * 100)
    with pytest.raises(LoweringError, match="onnxruntime cannot run 'broken'") as error:
        worker.ask("load", engine="onnxruntime", task={"model": str(broken), "batch": 1, "inputs": inputs})
    assert "--against" in (error.value.mend or "")


def test_an_engine_that_is_killed_is_an_error_that_names_it(worker: Process, inputs: str) -> None:
    worker.ask("load", engine="onnxruntime", task={"model": str(DIGITS), "batch": 1, "inputs": inputs})
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(DeviceError, match="onnxruntime ended its process by signal 9"):
        worker.ask("time", seconds=0.01)


def test_what_operators_may_be_off_by_adds_up_over_a_network() -> None:
    techniques: dict[str, Any] = {"coarse": SimpleNamespace(tolerance=0.01), "fine": SimpleNamespace(tolerance=1e-5)}
    both = Configuration(
        {"a": Setting.parse("coarse + fine"), "b": Setting.of("coarse"), "c": Setting.of("coarse"), "d": Setting.of("coarse")}
    )
    assert comparison._tolerance(both, techniques) == pytest.approx(0.02)
    assert comparison._tolerance(Configuration({}), techniques) == 0


def test_an_engine_that_computes_something_else_is_an_error_that_names_it(worker: Process, inputs: str, tmp_path: Path) -> None:
    model = onnx.load(DIGITS)
    weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.1), weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    worker.ask("load", engine="onnxruntime", task={"model": str(tmp_path / "other.onnx"), "batch": 1, "inputs": inputs})
    with np.load(inputs) as file:
        meaning = comparison._Meaning(digits(), [file["arr_0"]], {})
    with pytest.raises(DeviceError, match=r"^onnxruntime computes something else"):
        meaning.check(Contender("onnxruntime", worker), EXACT_CONFIGURATION, tmp_path)


def convolution(tmp_path: Path, after: onnx.NodeProto, **constants: Any) -> tuple[str, Any]:
    """A file with a convolution of odd sizes and what comes after it, and inputs for it."""
    constants["w"] = np.random.default_rng(2).standard_normal((4, 3, 3, 3)).astype(np.float32)
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], "conv"), after],
        "odd",
        [value("x", onnx.TensorProto.FLOAT, [1, 3, 7, 5])],
        [value("z", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = onnx.shape_inference.infer_shapes(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))
    onnx.save(model, tmp_path / "odd.onnx")
    return str(tmp_path / "odd.onnx"), np.random.default_rng(3).standard_normal((1, 3, 7, 5)).astype(np.float32)


CONVERTED = pytest.mark.parametrize(("engine", "module"), [("ncnn", "pnnx"), ("mnn", "MNN")])


@CONVERTED
def test_an_engine_with_a_format_of_its_own_computes_what_the_file_means(engine: str, module: str, tmp_path: Path) -> None:
    pytest.importorskip(engine if engine == "ncnn" else module)
    pytest.importorskip(module)
    file, x = convolution(tmp_path, onnx.helper.make_node("Relu", ["y"], ["z"], "relu"))
    expected = onnx.reference.ReferenceEvaluator(file).run(None, {"x": x})[0]
    before = set(tmp_path.iterdir())
    loaded = engines.load(engine, Task(file, 1, (x,), threads=1))
    (output,) = loaded.run()
    np.testing.assert_allclose(output.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    assert loaded.about["version"]
    assert loaded.about["threads"] == 1
    assert set(tmp_path.iterdir()) == before


@CONVERTED
def test_a_file_that_a_converter_refuses_is_an_error_with_its_words(engine: str, module: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    (tmp_path / "text.onnx").write_text("no model")
    x = np.zeros((1, 4), np.float32)
    with pytest.raises(LoweringError, match=f"{engine} cannot run 'text'") as error:
        engines.load(engine, Task(str(tmp_path / "text.onnx"), 1, (x,), threads=1))
    assert error.value.mend == f"leave {engine} out of --against"


def test_ncnn_names_the_layers_that_it_lacks_and_takes_no_batches(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    every_other = {
        name: np.array(value, np.int64) for name, value in {"from": [0, 0], "to": [9, 9], "axes": [2, 3], "steps": [2, 2]}.items()
    }
    file, x = convolution(tmp_path, onnx.helper.make_node("Slice", ["y", *every_other], ["z"], "slice"), **every_other)
    with pytest.raises(LoweringError, match=r"ncnn cannot run 'odd': it has no layer Tensor\.slice"):
        engines.load("ncnn", Task(file, 1, (x,), threads=1))
    with pytest.raises(LoweringError, match="one input at a time, not 2"):
        engines.load("ncnn", Task(file, 2, (np.concatenate([x, x]),), threads=1))


@pytest.mark.opencl
def test_an_engine_that_nobody_asked_for_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed by its modules, but of a name that the worker does not know: it cannot load there."""
    stranger = engines.Rival("stranger", (), "", engines.Torch)
    monkeypatch.setitem(engines.RIVALS, "stranger", stranger)
    monkeypatch.setattr(comparison, "installed", lambda **_: ("stranger",))
    result = comparison.bench(comparison.Request(DIGITS, rounds=1, block_s=0.01))
    assert "stranger" in result["left_out"]["stranger"]
    assert [c["engine"] for c in result["contenders"]] == ["mobiprox"]
    with pytest.raises(LoweringError, match="stranger"):
        comparison.bench(comparison.Request(DIGITS, ("stranger",), rounds=1, block_s=0.01))


@pytest.mark.parametrize("case", float32_cases(), ids=lambda case: case.name)
def test_the_torch_engine_means_what_onnx_says(case: NodeCase) -> None:
    pytest.importorskip("torch")
    from mobiprox_core.bench.eager import Eager

    network = Network.from_model(case.model, case.name)
    outputs = Eager(network.at_batch(network.batch or 1)).run(*(values.copy() for values in case.inputs))
    for ours, expected in zip(outputs, case.outputs, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=max(case.rtol, 1e-5), atol=max(case.atol, 1e-6))


def test_the_torch_engine_computes_the_example() -> None:
    pytest.importorskip("torch")
    from mobiprox_core.bench.eager import Eager

    graph, x = digits(), np.random.default_rng(1).standard_normal((1, 1, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(Eager(graph).run(x)[0], reference.run(graph, [x])[0], rtol=1e-4, atol=1e-4)


# -------------------------------------------------------------------------------------------------------------------- the settings


def test_a_setting_for_all_goes_to_every_operator_that_can_take_it() -> None:
    registry = plugins.load()
    techniques = {name: registry.get("technique", name) for name in registry.names("technique")}
    graph = digits()
    whole = configuration(f"{ROWS} + fp16", graph, techniques)
    kinds = {op.name: op.kind for op in graph.operators}
    convolutions = {name for name, kind in kinds.items() if kind == "conv"}
    assert {name for name, setting in whole.settings.items() if "perforation" in str(setting)} == convolutions
    assert whole["fc"] == Setting.parse("fp16")
    named = configuration("conv2: fp16", graph, techniques)
    assert dict(named.settings) == {"conv2": Setting.parse("fp16")}


# ---------------------------------------------------------------------------------------------------------------- rounds and noise


def block(median_ms: float, disturbed: bool = False) -> Block:
    lacking = 0.5 if disturbed else 0.0
    return Block(median_ms, 0.9 * median_ms, 1.2 * median_ms, 10, 2.0, lacking, disturbed)


def test_a_drift_of_the_whole_machine_falls_out_of_the_ratio() -> None:
    rounds = [{"ours": block(1.0 + 0.2 * i), "theirs": block(1.5 * (1.0 + 0.2 * i))} for i in range(10)]
    found = ratios.ratio(rounds, "ours", "theirs")
    assert (found.median, found.low, found.high, found.p10, found.p90) == pytest.approx((1.5,) * 5)
    assert found.certain
    assert ratios.ratio(rounds, "theirs", "ours").median == pytest.approx(1 / 1.5)


def test_disturbed_rounds_count_only_where_there_are_not_enough_others() -> None:
    quiet = [{"ours": block(1.0), "theirs": block(2.0)}] * 4
    disturbed = [{"ours": block(1.0), "theirs": block(9.0, disturbed=True)}] * 5
    found = ratios.ratio(quiet + disturbed, "ours", "theirs")
    assert (found.median, found.rounds, found.quiet) == (2.0, 4, True)
    found = ratios.ratio(quiet[:2] + disturbed, "ours", "theirs")
    assert (found.median, found.rounds, found.quiet, found.certain) == (9.0, 7, False, False)
    assert ratios.quiet_rounds(quiet + disturbed) == 4
    assert ratios.latency(quiet + disturbed, "ours").quiet, "a contender's own blocks decide, not its neighbours'"
    assert ratios.latency(quiet + disturbed, "theirs").median_ms == 2.0


def test_rounds_that_disagree_are_called_uncertain() -> None:
    rounds = [{"ours": block(1.0), "theirs": block(value)} for value in (1.0, 1.1, 1.5, 0.9, 2.0, 1.2)]
    found = ratios.ratio(rounds, "ours", "theirs")
    assert found.quiet
    assert not found.certain


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=20))
def test_the_interval_holds_the_median_and_lies_within_the_rounds(values: list[float]) -> None:
    rounds = [{"ours": block(1.0), "theirs": block(value)} for value in values]
    found = ratios.ratio(rounds, "ours", "theirs")
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found == ratios.ratio(rounds, "ours", "theirs"), "the interval does not depend on chance"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], share: float) -> None:
    assert ratios.quantile(values, share) == pytest.approx(float(np.quantile(values, share)), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("others", "threads", "cores", "lacking"), [(0.0, 2, 2, 0.0), (0.5, 2, 2, 0.5), (0.5, 1, 2, 0.0), (3.0, 2, 4, 1.0), (0.3, 8, 2, 0.3)]
)
def test_other_work_matters_where_it_takes_cores_that_are_wanted(others: float, threads: int, cores: int, lacking: float) -> None:
    assert noise.Load(1.0, 2.0, others).lacking(threads, cores) == pytest.approx(lacking)


def test_without_a_system_that_tells_nothing_is_claimed() -> None:
    begin, end = noise.Clock(0.0, 0.0, None), noise.Clock(2.0, 3.0, None)
    load = noise.Load.between(begin, end)
    assert (load.cores, load.others, load.lacking(2, 2)) == (1.5, None, None)


def test_other_work_is_what_neither_was_idle_nor_ours() -> None:
    load = noise.Load.between(noise.Clock(10.0, 1.0, 100.0), noise.Clock(12.0, 3.0, 103.0))
    assert (load.seconds, load.cores, load.others) == (2.0, 1.0, 0.5)


def test_the_text_of_a_result_without_rivals_has_no_empty_table(result: dict[str, Any]) -> None:
    ours = [c for c in result["contenders"] if c["setting"] == "exact"]
    alone = {**result, "contenders": ours, "ratios": []}
    assert "\n\n\n" not in text.render(alone)


# -------------------------------------------------------------------------------------------------------------------- the benchmarks


@pytest.mark.opencl
@pytest.mark.slow
def test_the_performance_page_has_a_table_and_a_plot_for_every_network(tmp_path: Path) -> None:
    script = DIGITS.parents[2] / "benchmarks" / "performance.py"
    out = tmp_path / "page.md"
    arguments = ["--quick", "--out", str(out), "--raw", str(tmp_path / "raw.json"), "--networks"]
    for networks in ("alexnet2-cifar", f"alexnet2-cifar,{DIGITS}"):  # the second goes on where the first ended
        done = subprocess.run([sys.executable, str(script), *arguments, networks], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "alexnet2-cifar: measured before" in done.stderr
    assert "digits: measured" not in done.stderr
    page = out.read_text()
    for name in ("alexnet2-cifar", "digits"):
        assert f"## {name}" in page
        ElementTree.parse(tmp_path / "page" / f"{name}.svg")
    assert "these numbers mean nothing" in page
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    assert all(line.count("|") >= 3 for line in lines)


@pytest.mark.parametrize(
    ("name", "mmac"), [("vgg16-cifar", 313.5), ("alexnet2-cifar", 38.65), ("mobilenetv2-32", 87.98), ("mobilenetv2-224", 300.8)]
)
def test_the_built_networks_have_the_size_of_the_published_ones(name: str, mmac: float) -> None:
    import onnx_ir as ir

    networks = runpy.run_path(str(DIGITS.parents[2] / "benchmarks" / "networks.py"))
    graph = Network.from_model(ir.from_proto(networks["BUILT"][name]()), name).at_batch(1)
    assert sum(graph.macs(op) for op in graph.operators) / 1e6 == pytest.approx(mmac, rel=1e-3)
