"""The native runner gives the bits that the Python runner gives, on the same plans and the same device."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mobiprox_backend_native.build import host_environment
from mobiprox_backend_opencl import trial
from mobiprox_backend_opencl.devices import find, open_device
from mobiprox_backend_opencl.runner import OpenCLDevice, OpenCLRunner
from native_bundles import LEVELS, TECHNIQUES, infer, run, write_bundle

from mobiprox_core import plugins
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration
from mobiprox_core.experiment import Choice
from mobiprox_core.graph import Graph
from mobiprox_core.interfaces import Device
from mobiprox_core.lowering import lower
from mobiprox_core.network import Network
from mobiprox_core.session import Session, legal_settings
from mobiprox_core.testing import graphs

pytestmark = pytest.mark.opencl

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("MOBIPROX_DATA") or ROOT.parent / "shared" / "data")
ALL_LEVELS = (EXACT_CONFIGURATION, *LEVELS)


def shaped(shape: str) -> OpenCLDevice:
    if shape == "gpu":  # 4-wide blocks, work-groups, no waiting: what a phone's GPU is given, run by the CPU
        first = next(d for d in find() if d.is_cpu)
        info = replace(open_device({"device": first.index}).info, kind="gpu", isa="generic", block=4, vector=4)
        return OpenCLDevice(first.handle, info, by_operator=True)
    return open_device(SHAPES[shape])


SHAPES = {"network": {}, "one thread": {"threads": 1}, "operators": {"launch": "operators"}, "generic": {"isa": "generic"}, "gpu": {}}


def expected(runner: OpenCLRunner, levels: int, batches: Sequence[np.ndarray]) -> np.ndarray:
    """float32, flat: level by level, batch by batch."""
    outputs = []
    for level in range(levels):
        runner.set_level(level)
        outputs += [np.asarray(runner.run(x)).ravel() for x in batches]
    return np.concatenate(outputs)


@pytest.fixture(scope="module")
def trial_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    device = open_device({})
    plan = lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS)
    return write_bundle(tmp_path_factory.mktemp("trial") / "bundle", plan, ALL_LEVELS, 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_level_has_the_bits_of_the_python_runner(shape: str, runner: Path, tmp_path: Path) -> None:
    device = shaped(shape)
    plan = lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS)
    bundle = write_bundle(tmp_path / "bundle", plan, ALL_LEVELS, 10, options=SHAPES[shape])
    batches = [np.random.default_rng(seed).standard_normal((2, 3, 8, 8)).astype(np.float32) for seed in range(3)]
    wanted = expected(device.load(plan), len(ALL_LEVELS), batches)
    chosen = ["--device", device.info.name] if shape == "gpu" else []
    np.testing.assert_array_equal(infer(runner, bundle, np.stack(batches), *chosen), wanted)
    np.testing.assert_array_equal(infer(runner, bundle, np.stack(batches), "--copy-memory", *chosen), wanted)
    assert not run(runner, "--info", bundle, "--copy-memory", *chosen)[0]["shared_memory"]
    info = run(runner, "--info", bundle, *chosen)[0]
    assert (info["device"], info["threads"]) == (device.info.name, device.info.threads)
    assert info["launch"] == ("operators" if shape in ("operators", "gpu") else "network")


def test_any_choice_of_variants_can_be_run(runner: Path, trial_bundle: Path) -> None:
    device = open_device({})
    plan = lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS)
    variants = tuple(len(operator.variants) - 1 for operator in plan.operators)
    assert variants not in plan.levels
    python = device.load(plan)
    python.select(variants)
    x = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)
    found = infer(runner, trial_bundle, x, "--variants", ",".join(map(str, variants)))
    np.testing.assert_array_equal(found, np.asarray(python.run(x)).ravel())


# ----------------------------------------------------------------------------------------------------------------- trained networks


def single_settings(graph: Graph, count: int) -> tuple[Configuration, ...]:
    """Levels that set one thing each, spread over operators and techniques, then all of them together."""
    every = [Configuration({op.name: setting}) for op in graph.operators for setting in legal_settings(op, graph, TECHNIQUES)[1:]]
    step = max(1, len(every) // count)
    chosen = every[::step][:count]
    together = {name: setting for level in chosen for name, setting in level.settings.items()}
    return (EXACT_CONFIGURATION, *chosen, Configuration(together))


def network_bundle(
    model: Path, folder: Path, device: Device, levels: int, strategy: Choice | None = None, labels: bool = False
) -> tuple[Path, Graph, tuple[Configuration, ...]]:
    network = Network.from_model(plugins.load().get("frontend", "onnx").load({"path": model.name}, model.parent), model.stem)
    graph = network.at_batch(1)
    chosen = single_settings(graph, levels)
    plan = lower(graph, device.info, TECHNIQUES, {}, chosen[1:])
    python = device.load(plan)
    inputs = noise(graph, 40)
    outputs = []
    for level in range(len(chosen)):
        python.set_level(level)
        outputs.append(np.stack([first(python.run(*x)).reshape(-1) for x in inputs]))
    write_bundle(folder, plan, chosen, outputs[0].shape[1], strategy=strategy, outputs=np.stack(outputs), labels=labels)
    return folder, graph, chosen


def first(output: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    return output[0] if isinstance(output, tuple) else output


def noise(graph: Graph, count: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(5)
    return [[rng.standard_normal(spec.shape).astype(np.float32) for spec in graph.inputs] for _ in range(count)]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    strategy = Choice("confidence", {"increase": "exponential"})
    return network_bundle(
        ROOT / "examples" / "digits" / "digits.onnx", tmp_path_factory.mktemp("digits") / "bundle", open_device({}), 6, strategy
    )[0]


def test_the_digits_network_gives_the_same_bits_at_every_level(runner: Path, digits: Path) -> None:
    from mobiprox_core import bundle as bundles

    read = bundles.read(digits)
    python = open_device({}).load(read.plan)
    batches = list(np.random.default_rng(1).random((5, *read.plan.inputs[0].shape), dtype=np.float32))
    np.testing.assert_array_equal(infer(runner, digits, np.stack(batches)), expected(python, len(read.plan.levels), batches))


def test_weights_that_are_stored_as_halves_are_the_same_to_the_bit(runner: Path, tmp_path: Path) -> None:
    graph = graphs.dense(features=64, outputs=10)
    op = graph["op"]
    weight = op.constants["weight"] * np.geomspace(1e-7, 1, 10, dtype=np.float32)[:, None]  # small ones have fewer bits, or none
    halves = replace(op, constants={**op.constants, "weight": weight.astype(np.float16).astype(np.float32)})
    device = open_device({})
    plan = lower(replace(graph, operators=(halves,)), device.info, {}, {})
    folder = write_bundle(tmp_path / "bundle", plan, [Configuration({})], 10)
    assert "F16" in (folder / "weights.safetensors").read_bytes()[:2000].decode(errors="replace")
    batches = [batch[0] for batch in noise(graph, 3)]
    np.testing.assert_array_equal(infer(runner, folder, np.stack(batches)), expected(device.load(plan), 1, batches))


@pytest.fixture(scope="module")
def labelled_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, its plan computing label and confidence."""
    strategy = Choice("confidence", {"increase": "exponential"})
    folder = tmp_path_factory.mktemp("labelled") / "bundle"
    return network_bundle(ROOT / "examples" / "digits" / "digits.onnx", folder, open_device({}), 6, strategy, labels=True)[0]


EXPONENTIAL = {"increase": "exponential"}


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        *((name, EXPONENTIAL) for name in ("naive", "state", "confidence", "kalman")),
        ("cascade", {"level": 3, "threshold": 0.5}),
        ("guarded", {"max_loss_pp": 90, "level": 2, "audit": 0.3}),
        ("rules", {"rules": [{"when": "label < 5", "exactly": 2}], "then": {"naive": {}}}),
    ],
)
@pytest.mark.parametrize("kind", ["digits", "labelled_digits"])
def test_a_stream_walks_the_same_levels_as_a_session(
    strategy: str, options: dict[str, Any], kind: str, runner: Path, request: pytest.FixtureRequest
) -> None:
    """Where an input runs again, its last run counts."""
    bundle = request.getfixturevalue(kind)
    with Session.open(bundle) as session:
        shape = session.bundle.plan.inputs[0].shape
        x = np.random.default_rng(3).random((30, *shape[1:]), dtype=np.float32)
        x = np.repeat(x[::6], 6, axis=0)  # the same input six times, so that strategies have something to agree on
        session.strategy = plugins.load().get("strategy", strategy).create(options, session.bundle.calibration)
        wanted = [session.infer(sample) for sample in x]
    x.tofile(bundle.parent / "stream.bin")
    chosen = ("--strategy", strategy, "--strategy-options", json.dumps(options))
    for memory in ((), ("--copy-memory",)):
        lines = run(runner, "--trace", bundle, bundle.parent / "stream.bin", *chosen, *memory)
        steps = list({line["step"]: line for line in lines if line["event"] == "step"}.values())
        assert [step["level"] for step in steps] == [p.level for p in wanted]
        assert [step["label"] for step in steps] == [p.label for p in wanted]
        assert len({p.level for p in wanted}) > (2 if options is EXPONENTIAL else 1)
        np.testing.assert_allclose([step["confidence"] for step in steps], [p.confidence for p in wanted], rtol=1e-12)


def test_a_label_that_is_none_is_refused(runner: Path, tmp_path: Path) -> None:
    """Its kernels are what the bundle says they are; what comes out of them is not taken on trust."""
    from mobiprox_core import bundle as bundles

    bundle, *_ = network_bundle(ROOT / "examples" / "digits" / "digits.onnx", tmp_path / "bundle", open_device({}), 1, labels=True)
    read = bundles.read(bundle)
    source = read.plan.source.replace("answer[0] = best;", "answer[0] = 10;")
    bundles.write(replace(read, plan=replace(read.plan, source=source)), bundle)
    np.zeros(read.plan.inputs[0].shape, dtype=np.float32).tofile(tmp_path / "x.bin")
    assert (
        "the plan computed the label 10; there are 10 classes" in run(runner, "--trace", bundle, tmp_path / "x.bin", status=1)[-1]["error"]
    )


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("model", sorted(DATA.glob("*.onnx")) or [None], ids=lambda path: path.stem if path else "none")
def test_every_trained_network_gives_the_same_bits(model: Path | None, runner: Path, tmp_path: Path) -> None:
    if model is None:
        pytest.skip("needs the evaluation data: set MOBIPROX_DATA")
    from mobiprox_core import bundle as bundles
    from mobiprox_core.errors import MobiproxError

    device = open_device({})
    try:
        network = Network.from_model(plugins.load().get("frontend", "onnx").load({"path": model.name}, model.parent), model.stem)
    except MobiproxError as error:
        pytest.skip(f"is not read: {error.what}")
    graph = network.at_batch(1)
    chosen = single_settings(graph, 4)
    plan = lower(graph, device.info, TECHNIQUES, {}, chosen[1:])
    python = device.load(plan)
    batches = [x[0] for x in noise(graph, 2)]
    wanted = expected(python, len(chosen), batches)
    bundle = write_bundle(tmp_path / "bundle", plan, chosen, 10)
    assert bundles.read(bundle).plan.levels == plan.levels
    np.testing.assert_array_equal(infer(runner, bundle, np.stack(batches)), wanted)


# ------------------------------------------------------------------------------------------------------------- time, cache, messages


def test_switching_levels_takes_less_than_a_microsecond(runner: Path, trial_bundle: Path) -> None:
    lines = run(runner, "--profile", trial_bundle, "--rounds", "2", "--seconds", "0")
    rounds = [line for line in lines if line["event"] == "round"]
    assert [line["round"] for line in rounds] == [0, 1]
    assert all(len(line["level_ms"]) == 4 and min(map(min, line["level_ms"])) > 0 for line in rounds)
    [switch] = [line for line in lines if line["event"] == "switch"]
    assert 0 < switch["ns"] < 1000


def test_every_operator_is_timed_under_every_variant(runner: Path, trial_bundle: Path) -> None:
    from mobiprox_core import bundle as bundles

    plan = bundles.read(trial_bundle).plan
    lines = [line for line in run(runner, "--operators", trial_bundle, "--rounds", "2", "--seconds", "0") if line["event"] == "operator"]
    found = [(line["name"], line["setting"]) for line in lines]
    assert found == [(operator.name, str(variant.setting)) for operator in plan.operators for variant in operator.variants]
    for line in lines:
        is_view = not plan.operators[line["index"]].variants[line["variant"]].launches
        assert all((ms == 0) == is_view for ms in line["ms"])
    only = [
        line
        for line in run(runner, "--operators", trial_bundle, "--rounds", "1", "--seconds", "0", "--only", "1,3")
        if line["event"] == "operator"
    ]
    assert {line["index"] for line in only} == {1, 3}


def test_the_second_start_takes_the_compiled_program_and_a_damaged_one_is_made_again(
    runner: Path, trial_bundle: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()

    def start() -> bool:
        x = np.zeros((2, 3, 8, 8), dtype=np.float32)
        outputs.append(infer(runner, trial_bundle, x, "--cache", cache))
        return bool(run(runner, "--info", trial_bundle, "--cache", cache)[0]["cached_program"])

    outputs: list[np.ndarray] = []
    assert not run(runner, "--info", trial_bundle, "--cache", cache)[0]["cached_program"]
    assert start()
    [kept] = cache.iterdir()
    whole = kept.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], b"", b"something else"):
        kept.write_bytes(damaged)
        assert not run(runner, "--info", trial_bundle, "--cache", cache)[0]["cached_program"]
        assert kept.read_bytes()[:72] == whole[:72] or len(kept.read_bytes()) > 200
        assert start()
    assert all((other == outputs[0]).all() for other in outputs)
    assert list(cache.iterdir()) == [kept]


def test_devices_are_listed_as_python_lists_them(runner: Path) -> None:
    lines = [line for line in run(runner, "--devices") if line["event"] == "device"]
    wanted = [(d.name, d.runtime, d.driver, d.compute_units, "cl_khr_fp16" in d.extensions) for d in find()]
    assert [(line["name"], line["runtime"], line["driver"], line["compute_units"], line["fp16"]) for line in lines] == wanted


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--device", "no such thing"], "no OpenCL device called 'no such thing'"),
        (["--threads", "4096"], "thread"),
        (["--library", "/nowhere/libOpenCL.so"], "no OpenCL library can be loaded; tried: /nowhere/libOpenCL.so"),
        (["--strategy", "unheard"], "strategy 'unheard' is not part of this runtime"),
    ],
)
def test_what_cannot_be_opened_says_why(arguments: list[str], reason: str, runner: Path, digits: Path) -> None:
    assert reason in run(runner, "--info", digits, *arguments, status=1)[-1]["error"]


def test_a_gpu_is_not_silently_replaced_by_a_cpu(runner: Path, tmp_path: Path) -> None:
    plan = lower(trial.network(), shaped("gpu").info, TECHNIQUES, {}, LEVELS)
    bundle = write_bundle(tmp_path / "bundle", plan, ALL_LEVELS, 10)
    if any(not d.is_cpu for d in find()):
        pytest.skip("this machine has a GPU")
    assert "no OpenCL device of that kind" in run(runner, "--info", bundle, status=1)[-1]["error"]


def test_kernels_that_do_not_build_give_the_compilers_words(runner: Path, tmp_path: Path) -> None:
    plan = lower(trial.network(), open_device({}).info, TECHNIQUES, {}, LEVELS)
    bundle = write_bundle(tmp_path / "bundle", replace(plan, source=plan.source + "\nthis is no OpenCL\n"), ALL_LEVELS, 10)
    error = run(runner, "--info", bundle, status=1)[-1]["error"]
    assert "kernels/program.cl does not build on" in error
    assert "unknown type name" in error


def test_inputs_that_end_within_a_batch_are_refused(runner: Path, trial_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "inputs.bin").write_bytes(bytes(4 * 100))
    lines = run(runner, "--infer", trial_bundle, tmp_path / "inputs.bin", tmp_path / "outputs.bin", status=1)
    assert "ends within a batch" in lines[-1]["error"]


def test_wrong_arguments_are_told_apart_from_failures(runner: Path) -> None:
    done = subprocess.run([runner, "--nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: mbx-run")


def test_running_is_clean_under_sanitizers(
    sanitized: Path, trial_bundle: Path, tmp_path: Path, digits: Path, labelled_digits: Path
) -> None:
    """Every command once. Leaks are not looked for: the OpenCL runtime's own are many."""
    x = np.random.default_rng(3).random((2, 2, 3, 8, 8), dtype=np.float32)
    x.tofile(tmp_path / "x.bin")
    np.zeros((3, 32 * 32), dtype=np.float32).tofile(tmp_path / "digits.bin")
    options = {"ASAN_OPTIONS": "detect_leaks=0"}
    run(sanitized, "--infer", trial_bundle, tmp_path / "x.bin", tmp_path / "y.bin", "--cache", tmp_path, **options)
    run(sanitized, "--infer", trial_bundle, tmp_path / "x.bin", tmp_path / "y.bin", "--cache", tmp_path, "--levels", "3,0", **options)
    run(sanitized, "--infer", trial_bundle, tmp_path / "x.bin", tmp_path / "y.bin", "--copy-memory", **options)
    run(sanitized, "--profile", trial_bundle, "--rounds", "1", "--seconds", "0", **options)
    run(sanitized, "--operators", trial_bundle, "--rounds", "1", "--seconds", "0", **options)
    for folder in (digits, labelled_digits):
        run(sanitized, "--trace", folder, tmp_path / "digits.bin", **options)
    run(sanitized, "--devices", **options)


# ------------------------------------------------------------------------------------------------------------------------- serving


def serve(runner: Path, bundle: Path, commands: list[dict[str, Any]], *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """The answers, one per command."""
    text = "".join(json.dumps(command) + "\n" for command in commands)
    lines = run(runner, "--serve", bundle, *arguments, stdin=text, **environment)
    assert len(lines) == len(commands) + 2
    return lines[1:-1]


@pytest.mark.parametrize("memory", [(), ("--copy-memory",)])
def test_a_served_session_does_what_a_python_runner_does(memory: tuple[str, ...], runner: Path, tmp_path: Path) -> None:
    device = open_device({})
    plan = lower(trial.network(), device.info, TECHNIQUES, {}, LEVELS, keep_activations=True)
    bundle = write_bundle(tmp_path / "bundle", plan, ALL_LEVELS, 10)
    python = device.load(plan)
    x = np.random.default_rng(3).standard_normal((2, 3, 8, 8)).astype(np.float32)
    x.tofile(tmp_path / "x")
    variants = [len(operator.variants) - 1 for operator in plan.operators]
    names = ["a", "b", "c", "d", "e"]
    files = [str(tmp_path / name) for name in names]
    answers = serve(
        runner,
        bundle,
        [
            {"do": "run", "inputs": str(tmp_path / "x"), "outputs": files[0]},
            {"do": "select", "variants": variants},
            {"do": "resume", "operator": 2, "outputs": files[1]},
            {"do": "tensor", "name": "c3", "outputs": files[2]},
            {"do": "time", "operators": [1, 2], "variants": [list(plan.levels[0]), list(plan.levels[3])], "seconds": 0},
            {"do": "time", "operators": None, "variants": [list(plan.levels[0])], "seconds": 0},
            {"do": "level", "level": 3},
            {"do": "run", "inputs": str(tmp_path / "x"), "outputs": files[3]},
            {"do": "select", "variants": variants},
            {"do": "time", "operators": [0], "variants": [list(plan.levels[0])], "seconds": 0},
            {"do": "run", "inputs": str(tmp_path / "x"), "outputs": files[4]},
        ],
        *memory,
    )
    assert [answer["event"] for answer in answers] == ["done"] * len(answers)
    wanted = [python.run(x)]
    python.select(variants)
    wanted += [python.resume(2), python.tensor("c3")]
    python.set_level(3)
    wanted += [python.run(x)]
    python.select(variants)
    wanted += [python.run(x)]
    for name, file, value in zip(names, files, wanted, strict=True):
        np.testing.assert_array_equal(np.fromfile(file, dtype=np.float32), np.asarray(value).ravel(), err_msg=name)
    assert [len(samples) for samples in answers[4]["ms"]] == [5, 5]
    assert len(answers[5]["ms"][0]) == 15
    assert min(map(min, answers[4]["ms"] + answers[5]["ms"])) > 0


def test_a_served_session_lives_on_after_wrong_commands(sanitized: Path, trial_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(bytes(100))
    np.zeros((2, 3, 8, 8), dtype=np.float32).tofile(tmp_path / "x")
    out = str(tmp_path / "out")
    wrong = [
        {"do": "dance"},
        {"do": "level", "level": 9},
        {"do": "level"},
        {"do": "select", "variants": [0]},
        {"do": "select", "variants": [99] * 9},
        {"do": "select", "variants": ["a"] * 9},
        {"do": "run", "inputs": str(tmp_path / "nowhere"), "outputs": out},
        {"do": "run", "inputs": str(tmp_path / "half"), "outputs": out},
        {"do": "run", "inputs": str(tmp_path / "x"), "outputs": str(tmp_path / "no" / "folder")},
        {"do": "resume", "operator": 99, "outputs": out},
        {"do": "tensor", "name": "nothing", "outputs": out},
        {"do": "time", "operators": [3, 1], "variants": [[0] * 9], "seconds": 0},
        {"do": "time", "operators": [12], "variants": [[0] * 9], "seconds": 0},
        {"do": "time", "operators": None, "variants": [[0] * 8], "seconds": 0},
        {"do": "time", "operators": None, "variants": [], "seconds": 0},
    ]
    answers = serve(
        sanitized, trial_bundle, [*wrong, {"do": "run", "inputs": str(tmp_path / "x"), "outputs": out}], ASAN_OPTIONS="detect_leaks=0"
    )
    assert [answer["event"] for answer in answers] == ["failed"] * len(wrong) + ["done"]
    assert all(answer["error"] for answer in answers[:-1])


def test_tensors_travel_inline_too(sanitized: Path, trial_bundle: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(4).standard_normal((2, 2, 3, 8, 8)).astype(np.float32)
    x.tofile(tmp_path / "x")
    serve(
        sanitized,
        trial_bundle,
        [{"do": "run", "inputs": str(tmp_path / "x"), "outputs": str(tmp_path / "y")}],
        ASAN_OPTIONS="detect_leaks=0",
    )
    wanted = (tmp_path / "y").read_bytes()
    commands = [
        ({"do": "run", "bytes": x.nbytes}, x.tobytes()),
        ({"do": "dance", "bytes": 3}, b"{\n}"),
        ({"do": "run", "bytes": 40}, bytes(40)),
    ]
    commands += [({"do": "resume", "operator": 0}, b""), ({"do": "tensor", "name": "c3"}, b""), ({"do": "run", "bytes": 1000}, bytes(10))]
    done = subprocess.run(
        [sanitized, "--serve", trial_bundle],
        input=b"".join(json.dumps(command).encode() + b"\n" + content for command, content in commands),
        capture_output=True,
        check=True,
        env=host_environment() | {"ASAN_OPTIONS": "detect_leaks=0"},
    )
    rest = done.stdout.partition(b"\n")[2]
    events = []
    for _ in commands:
        line, _, rest = rest.partition(b"\n")
        events.append(json.loads(line))
        size = int(events[-1].get("bytes", 0))
        content, rest = rest[:size], rest[size:]
        if len(events) == 1:
            assert content == wanted
    assert [e["event"] for e in events] == ["done", "failed", "failed", "done", "failed", "failed"]
    assert events[0]["batches"] == 2
    for event, reason in zip(events, ("", "'do' is one of", "end within a batch", "", "no such activation", "stdin ends"), strict=True):
        assert reason in event.get("error", "")
    assert json.loads(rest) == {"event": "end", "ok": True}
