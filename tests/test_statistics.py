"""Statistics of operators: what comes from the device is what the definition says, and what the disk does to them."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobiprox_core import plugins, statistics
from mobiprox_core.batches import parted
from mobiprox_core.graph import Operator
from mobiprox_core.interfaces import Device, Moments, Progress
from mobiprox_core.network import Network
from mobiprox_core.statistics import Calibration, Store
from mobiprox_core.testing.statistics import observe

pytestmark = pytest.mark.opencl

INPUTS = 70  # two whole batches and a part of one


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    opened = plugins.load().get("backend", "opencl").open({})
    yield opened
    opened.close()


def network(nodes: list[Any], shape: tuple[int, ...], **weights: tuple[int, ...]) -> Network:
    """nodes: (ONNX type, inputs, output, attributes). weights: shapes of random constants."""
    rng = np.random.default_rng(3)
    made = [helper.make_node(kind, reads.split(), [out], name=out, **attributes) for kind, reads, out, attributes in nodes]
    values = {name: rng.standard_normal(size).astype(np.float32) for name, size in weights.items()}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", ["n", *shape]), (nodes[-1][2], None)))
    graph = helper.make_graph(made, "test", [x], [y], [numpy_helper.from_array(v, name) for name, v in values.items()])
    return Network.from_model(ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)), "test")


def samples(net: Network, count: int = INPUTS, seed: int = 0) -> np.ndarray:
    """Far from zero, as raw features are: what is summed up must not drown in the mean."""
    shape = net.at_batch(1).inputs[0].shape[1:]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32) + np.float32(20)


AWKWARD = {
    "stride and uneven pads": network(
        [("Conv", "x w b", "y", {"strides": [2, 3], "pads": [0, 1, 2, 0]})], (3, 7, 8), w=(5, 3, 3, 3), b=(5,)
    ),
    "dilated": network([("Conv", "x w", "y", {"dilations": [2, 2], "pads": [2, 2, 2, 2]})], (4, 6, 6), w=(6, 4, 3, 3)),
    "grouped": network([("Conv", "x w b", "y", {"group": 3, "pads": [1, 1, 1, 1]})], (6, 5, 5), w=(9, 2, 3, 3), b=(9,)),
    "depthwise": network(
        [("Conv", "x w b", "y", {"group": 7, "pads": [1, 1, 1, 1], "strides": [2, 2]})], (7, 6, 6), w=(7, 1, 3, 3), b=(7,)
    ),
    "two filters a channel": network([("Conv", "x w", "y", {"group": 4})], (4, 5, 5), w=(8, 1, 3, 2)),
    "one-dimensional": network([("Conv", "x w b", "y", {"strides": [2], "pads": [2, 1]})], (5, 17), w=(6, 5, 4), b=(6,)),
    "pointwise": network([("Conv", "x w", "y", {})], (9, 4, 3), w=(5, 9, 1, 1)),
    "fused": network(
        [("Conv", "x w b", "c", {"pads": [1, 1, 1, 1]}), ("Add", "c x", "s", {}), ("Relu", "s", "y", {})], (4, 5, 5), w=(4, 4, 3, 3), b=(4,)
    ),
    "dense": network([("Flatten", "x", "f", {}), ("Gemm", "f w b", "y", {"transB": 1})], (3, 2, 2), w=(5, 12), b=(5,)),
    "dense over a sequence": network([("MatMul", "x w", "y", {})], (6, 11), w=(11, 4)),
    "reads what is only a view": network(
        [
            ("Relu", "x", "r", {}),
            ("Transpose", "r", "t", {"perm": [0, 2, 1]}),
            ("Concat", "t t", "c", {"axis": 1}),
            ("Conv", "c w", "y", {}),
        ],
        (6, 4),
        w=(3, 8, 3),
    ),
}


def same(found: Moments, expected: Moments, relative: float = 1e-5) -> None:
    assert found.rows == expected.rows
    np.testing.assert_allclose(found.mean, expected.mean, rtol=relative)
    for ours, theirs in ((found.target, expected.target), (found.cross, expected.cross), (found.scatter[0], expected.scatter[0])):
        assert np.abs(ours - theirs).max() <= relative * np.abs(theirs).max()


@pytest.mark.parametrize("name", AWKWARD)
def test_moments_are_those_of_the_patches_and_exact_outputs(name: str, device: Device, tmp_path: Path) -> None:
    net = AWKWARD[name]
    x = samples(net)
    found = Calibration(net, device, x, folder=tmp_path)
    graph = net.at_batch(INPUTS)
    [op] = [o.name for o in graph.operators if o.kind in ("conv", "dense")]
    same(found(op).moments(), observe(graph, [(x,)], op).moments(), 1e-4)  # float32 outputs of inputs around 20
    assert found(op).samples == INPUTS


@pytest.mark.parametrize("name", AWKWARD)
def test_outputs_are_the_exact_ones_before_residual_and_activation(name: str, device: Device, tmp_path: Path) -> None:
    net, x = AWKWARD[name], samples(AWKWARD[name])
    graph = net.at_batch(INPUTS)
    [op] = [o.name for o in graph.operators if o.kind in ("conv", "dense")]
    found, expected = Calibration(net, device, x, folder=tmp_path)(op), observe(graph, [(x,)], op).outputs()
    assert found.outputs().shape == expected.shape
    np.testing.assert_allclose(found.outputs(), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", AWKWARD)
def test_a_change_of_values_changes_means_by_what_each_filter_element_sees_of_it(name: str, device: Device, tmp_path: Path) -> None:
    """Values are drawn, so means are met to some per cent; how much padding an element sees is exact."""
    net = AWKWARD[name]
    x = samples(net)
    graph = net.at_batch(INPUTS)
    [op] = [o.name for o in graph.operators if o.kind in ("conv", "dense")]
    found, expected = Calibration(net, device, x, folder=tmp_path)(op), observe(graph, [(x,)], op)
    for role in ("input",) if graph[op].residual is None else ("input", "residual"):
        change = found.mean_change(role, lambda values: values * np.float32(1.5))
        np.testing.assert_allclose(change, expected.mean_change(role, lambda values: values * np.float32(1.5)), rtol=0.05)


def test_channels_are_drawn_from_some_inputs_where_there_are_very_many_values(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MOST_CHANNEL_VALUES", 12 * 10)
    found = Calibration(AWKWARD["dense"], device, samples(AWKWARD["dense"]), folder=tmp_path)
    assert found.channels("f", -1).shape == (12, 10)


def test_operators_without_weights_have_no_statistics(device: Device, tmp_path: Path) -> None:
    net = network([("MaxPool", "x", "y", {"kernel_shape": [2, 2]})], (3, 4, 4))
    assert Calibration(net, device, samples(net), folder=tmp_path)("y") is None


@pytest.fixture
def deep() -> Network:
    """Three convolutions, the last two behind others."""
    pads = {"pads": [1, 1, 1, 1]}
    return network(
        [("Conv", "x a", "c1", pads), ("Relu", "c1", "r", {}), ("Conv", "r b", "c2", pads), ("Conv", "c2 c", "c3", {})],
        (3, 8, 8),
        a=(4, 3, 3, 3),
        b=(5, 4, 3, 3),
        c=(6, 5, 3, 3),
    )


def test_later_operators_see_what_the_exact_network_gives_them(deep: Network, device: Device, tmp_path: Path) -> None:
    x = samples(deep)
    found = Calibration(deep, device, x, folder=tmp_path)
    for op in ("c3", "c1", "c2"):
        same(found(op).moments(), observe(deep.at_batch(INPUTS), [(x,)], op).moments(), 1e-4)


def test_few_positions_are_drawn_and_the_same_ones_every_time(
    deep: Network, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "MOST_ROWS", INPUTS * 10)
    x = samples(deep)
    whole = observe(deep.at_batch(INPUTS), [(x,)], "c2").moments()
    first, again, other = (
        Calibration(deep, device, x, folder=tmp_path / str(i), seed=seed)("c2").moments() for i, seed in enumerate((0, 0, 1))
    )
    assert first.rows == INPUTS * 10 < whole.rows
    np.testing.assert_array_equal(first.scatter[0], again.scatter[0])
    assert (first.mean != other.mean).any()
    np.testing.assert_allclose(first.mean, whole.mean, rtol=0.1, atol=0.1 * np.abs(whole.mean).max())


def test_moments_of_large_filters_are_taken_in_blocks_of_channels(
    deep: Network, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "WIDEST", 26)
    x = samples(deep)
    found = Calibration(deep, device, x, folder=tmp_path)("c3").moments()  # 5 channels of 9 elements
    whole = observe(deep.at_batch(INPUTS), [(x,)], "c3").moments()
    assert [s.shape for s in found.scatter] == [(1, 9, 9), (1, 18, 18), (1, 18, 18)]
    at = 0
    for block in found.scatter:
        expected = whole.scatter[0][:, at : at + block.shape[1], at : at + block.shape[1]]
        assert np.abs(block - expected).max() <= 1e-4 * np.abs(expected).max()
        at += block.shape[1]


@pytest.mark.parametrize(
    ("shape", "widths"), [((8, 341, 3, 3), [3069]), ((8, 342, 3, 3), [1539] * 2), ((8, 512, 3, 3), [2304] * 2), ((12, 26624), [1401] * 19)]
)
def test_blocks_are_even_and_smaller_for_very_large_filters(shape: tuple[int, ...], widths: list[int]) -> None:
    found = [b.stop - b.start for b in statistics.blocks(Operator("op", "conv", (), "", constants={"weight": np.empty(shape, np.float32)}))]
    assert sum(found) == int(np.prod(shape[1:]))
    np.testing.assert_allclose(found, widths, atol=1)


def test_memory_bounds_how_many_operators_a_pass_takes(
    deep: Network, device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = samples(deep)
    notes: list[str] = []

    def sink(progress: Progress) -> None:
        notes.append(progress.note)

    monkeypatch.setattr(statistics, "_PASS_BYTES", 8 * (27**2 + 36**2))
    found = Calibration(deep, device, x, folder=tmp_path, progress=sink)
    found.collect(["c1", "c2", "c3"])
    assert list(dict.fromkeys(notes)) == ["statistics of 2 operators", "statistics of 1 operators"]
    same(found("c3").moments(), observe(deep.at_batch(INPUTS), [(x,)], "c3").moments(), 1e-4)


def test_what_the_disk_knows_is_not_computed_again(deep: Network, device: Device, tmp_path: Path) -> None:
    x = samples(deep)
    notes: list[Progress] = []
    first = Calibration(deep, device, x, folder=tmp_path)("c2").moments()
    again = Calibration(deep, device, x, folder=tmp_path, progress=notes.append)("c2").moments()
    assert not notes
    np.testing.assert_array_equal(first.scatter[0], again.scatter[0])
    np.testing.assert_array_equal(first.cross, again.cross)


@pytest.mark.parametrize("change", ["inputs", "network", "seed"])
def test_other_content_is_another_place_on_disk(change: str, deep: Network, device: Device, tmp_path: Path) -> None:
    x = samples(deep)
    other = network([("Conv", "x a", "c1", {})], (3, 8, 8), a=(4, 3, 3, 3))
    changed = {"inputs": (deep, samples(deep, seed=1), 0), "network": (other, x, 0), "seed": (deep, x, 1)}[change]
    assert Calibration(deep, device, x, folder=tmp_path).digest != Calibration(*(changed[0], device, changed[1]), seed=changed[2]).digest


def test_what_a_technique_makes_is_made_once(deep: Network, device: Device, tmp_path: Path) -> None:
    made = []

    def work() -> dict[str, np.ndarray]:
        made.append(1)
        return {"answer": np.arange(3)}

    x = samples(deep)
    for _ in range(2):
        found = Calibration(deep, device, x, folder=tmp_path)
        for op in ("c1", "c2"):
            np.testing.assert_array_equal(found(op).once("mine, 1", work)["answer"], np.arange(3))
    assert len(made) == 2
    found("c1").once("mine, 2", work)
    assert len(made) == 3


# ------------------------------------------------------------------------------------------------------------------------- disk


ARRAYS = {"a": np.arange(1000.0), "b": np.ones((2, 3), np.float32)}


def equal(found: Any) -> bool:
    return found is not None and all(np.array_equal(found[name], ARRAYS[name]) for name in ARRAYS)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "gone"])
def test_a_damaged_file_counts_as_missing(damage: str, tmp_path: Path) -> None:
    Store(tmp_path).put("key", ARRAYS)
    [path] = tmp_path.iterdir()
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 255
    match damage:
        case "gone":
            path.unlink()
        case _:
            path.write_bytes({"cut": raw[: len(raw) // 2], "flipped": raw, "empty": b"", "text": b"hello"}[damage])
    store = Store(tmp_path)
    assert store.get("key") is None
    store.put("key", ARRAYS)
    assert equal(store.get("key"))


def test_where_nothing_can_be_written_memory_serves(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "folder")
    store.put("key", ARRAYS)
    assert equal(store.get("key"))


def test_the_oldest_files_go_when_there_is_too_much(tmp_path: Path) -> None:
    import os

    store = Store(tmp_path)
    for age, key in enumerate("abc"):
        store.put(key, ARRAYS)
        os.utime(tmp_path / f"{key}.npz", (1e9 - age, 1e9 - age))
    size = (tmp_path / "a.npz").stat().st_size
    store = Store(tmp_path, most_bytes=2 * size)
    assert [equal(store.get(key)) for key in "abc"] == [True, True, False]


def _write(folder: str, times: int) -> None:
    for _ in range(times):
        Store(Path(folder)).put("key", ARRAYS)


def test_several_processes_may_write_and_read_at_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("key", ARRAYS)
    writers = [get_context("spawn").Process(target=_write, args=(str(tmp_path), 30)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert equal(store.get("key"))
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert equal(store.get("key"))


def test_inputs_are_parted_into_fitted_and_held_out_ones() -> None:
    fitted, held = parted(103)
    assert sorted([*fitted, *held]) == list(range(103))
    assert len(held) == 20
    assert [list(part) for part in parted(2)] == [[0, 1], [0, 1]]
