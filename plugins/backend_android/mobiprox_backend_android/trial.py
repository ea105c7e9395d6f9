"""A small network with a known answer, run on a phone before anything is timed there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobiprox_core import reference
from mobiprox_core.errors import DeviceError
from mobiprox_core.graph import Activation, Graph, Operator, TensorSpec
from mobiprox_core.lowering import lower

if TYPE_CHECKING:
    from mobiprox_core.interfaces import Device

TOLERANCE = 1e-4
"""Greatest difference from the reference; its outputs lie between 0 and 1."""


def network() -> Graph:
    """Convolutions with and without groups, a residual, both kinds of pooling, a dense layer, softmax."""
    rng = np.random.default_rng(0)

    def conv(name: str, source: str, shape: tuple[int, int, int, int], group: int = 1, residual: str | None = None) -> Operator:
        weight = rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
        pad = shape[2] // 2
        attributes = {"strides": (1, 1), "pads": (pad, pad, pad, pad), "dilations": (1, 1), "group": group}
        constants = {"weight": weight, "bias": rng.standard_normal(shape[0]).astype(np.float32)}
        return Operator(name, "conv", (source,), name, attributes, constants, residual=residual, activation=Activation("relu"))

    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "count_include_pad": False}
    weight = rng.standard_normal((10, 21)).astype(np.float32)
    operators = (
        conv("c1", "x", (21, 3, 3, 3)),
        conv("c2", "c1", (21, 21, 3, 3), residual="c1"),
        conv("c3", "c2", (21, 1, 3, 3), group=21),
        Operator("p1", "pool", ("c3",), "p1", {"op": "max", **pool}),
        Operator("p2", "pool", ("p1",), "p2", {"op": "average", **pool, "kernel": (4, 4)}),
        Operator("flat", "view", ("p2",), "flat", {"op": "reshape"}),
        Operator("fc", "dense", ("flat",), "fc", constants={"weight": weight, "bias": np.zeros(10, np.float32)}),
        Operator("y", "softmax", ("fc",), "y", {"axis": 1, "log": False}),
    )
    shapes: dict[str, tuple[int, ...]] = {
        "x": (1, 3, 8, 8),
        "c1": (1, 21, 8, 8),
        "c2": (1, 21, 8, 8),
        "c3": (1, 21, 8, 8),
        "p1": (1, 21, 4, 4),
    }
    shapes |= {"p2": (1, 21, 1, 1), "flat": (1, 21), "fc": (1, 10), "y": (1, 10)}
    tensors = {name: TensorSpec(name, shape) for name, shape in shapes.items()}
    return Graph("trial", 1, (tensors["x"],), (tensors["y"],), operators, tensors)


def check(device: Device) -> None:
    """Raises DeviceError where a device computes something else than the reference."""
    graph = network()
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (expected,) = reference.run(graph, [x])
    runner = device.load(lower(graph, device.info, {}, {}))
    try:
        for _ in range(2):
            worst = float(np.abs(np.asarray(runner.run(x)) - expected).max())
            if not worst < TOLERANCE:
                raise DeviceError(
                    f"'{device.info.name}' computes wrongly: its results differ from the reference by {worst:.2g}",
                    mend="nothing is timed on it; update the phone, or choose another 'device' or 'library'",
                )
    finally:
        runner.close()
