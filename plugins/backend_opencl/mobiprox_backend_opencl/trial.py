"""The canary: run as a program of its own, it builds and runs a small network that uses every kind of kernel and checks the result.

``python -m mobiprox_backend_opencl.trial INDEX network|operators DEVICE_INFO_JSON``: how to launch comes second. Exit status 0 if all is well, else a message on stderr.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import MobiproxError

if TYPE_CHECKING:
    from mobiprox_core.graph import Graph
    from mobiprox_core.plan import DeviceInfo


def digest() -> str:
    """Of everything that a verdict depends on beside the device: the kernels and how they are put together."""
    from importlib.resources import files

    core = files("mobiprox_core")
    texts = sorted((f.name, f.read_text()) for f in (core / "kernels").iterdir() if f.name.endswith(".cl"))
    here = files(__package__) / "trial.py"
    return hashlib.sha256(repr((texts, (core / "program.py").read_text(), here.read_text())).encode()).hexdigest()


def network() -> Graph:
    """Convolutions in several tiles, depthwise, pooling, activations, sums, softmax: a few thousand multiply-adds."""
    import numpy as np

    from mobiprox_core.graph import Activation, Graph, Operator, TensorSpec

    rng = np.random.default_rng(0)

    def conv(name: str, source: str, inputs: int, outputs: int, kernel: int, group: int = 1, **more: object) -> Operator:
        weight = rng.standard_normal((outputs, inputs // group, kernel, kernel)).astype(np.float32) / np.float32(
            np.sqrt(inputs / group) * kernel
        )
        pad = kernel // 2
        attributes = {"strides": (1, 1), "pads": (pad, pad, pad, pad), "dilations": (1, 1), "group": group}
        bias = rng.standard_normal(outputs).astype(np.float32)
        return Operator(name, "conv", (source,), name, attributes, {"weight": weight, "bias": bias}, **more)  # type: ignore[arg-type]

    pool = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "count_include_pad": False}
    operators = (
        conv("c1", "x", 3, 32, 3, activation=Activation("relu")),
        conv("c2", "c1", 32, 32, 3, residual="c1", activation=Activation("tanh")),
        conv("c3", "c2", 32, 19, 1, activation=Activation("sigmoid")),
        conv("c4", "c3", 19, 19, 3, group=19, activation=Activation("hard_swish")),
        Operator("p1", "pool", ("c4",), "p1", {"op": "max", **pool}),
        Operator("p2", "pool", ("p1",), "p2", {"op": "average", **pool, "kernel": (4, 4)}),
        Operator("flat", "view", ("p2",), "flat", {"op": "reshape"}),
        Operator(
            "fc",
            "dense",
            ("flat",),
            "fc",
            constants={"weight": rng.standard_normal((10, 19)).astype(np.float32), "bias": np.zeros(10, np.float32)},
        ),
        Operator("y", "softmax", ("fc",), "y", {"axis": 1, "log": False}),
    )
    shapes = {
        "x": (2, 3, 8, 8),
        "c1": (2, 32, 8, 8),
        "c2": (2, 32, 8, 8),
        "c3": (2, 19, 8, 8),
        "c4": (2, 19, 8, 8),
        "p1": (2, 19, 4, 4),
        "p2": (2, 19, 1, 1),
        "flat": (2, 19),
        "fc": (2, 10),
        "y": (2, 10),
    }
    tensors = {name: TensorSpec(name, shape) for name, shape in shapes.items()}
    return Graph("trial", 2, (tensors["x"],), (tensors["y"],), operators, tensors)


PROBES = {
    "avx512_vnni": (
        "int16",
        "r = __builtin_ia32_vpdpbusd512((int16)(7), (int16)(0xc8c8c8c8), (int16)(0x9c9c9c9c));",  # 4 of 200 and of -100
        [7 - 4 * 200 * 100] * 16,
    ),
    "avx512_bf16": (
        "float16",
        "r = __builtin_ia32_dpbf16ps_512((float16)(0.5f), (int16)(0x3f803f80), (int16)(0x40003f80));",  # 1, 1 and 1, 2
        [0.5 + 1.0 + 2.0] * 16,
    ),
}
"""What each feature of a CPU must be able to do: the type of a result, its computation, and its value."""


def try_features(handle: Any, info: DeviceInfo) -> None:
    """Run an instruction of every feature that the kernels may use, compiled as they are. Raises SystemExit where one is wrong."""
    import numpy as np
    import pyopencl as cl

    from mobiprox_core.program import preamble

    context = cl.Context([handle])
    queue = cl.CommandQueue(context)
    for feature in info.features:
        if feature not in PROBES:
            continue
        kind, work, expected = PROBES[feature]
        result = np.zeros(16, np.float32 if kind.startswith("float") else np.int32)
        text = (
            f"UNIT void probe(global {kind} *out) {{ {kind} r; {work} *out = r; }}\nkernel void run(global {kind} *out) {{ probe(out); }}"
        )
        buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, result.nbytes)
        cl.Program(context, f"{preamble(info)}\n{text}").build().run(queue, (1,), None, buffer)
        cl.enqueue_copy(queue, result, buffer)
        if result.tolist() != expected:
            raise SystemExit(f"wrong results with {feature}")


def main() -> None:
    import numpy as np

    from mobiprox_core import reference
    from mobiprox_core.lowering import lower
    from mobiprox_core.plan import DeviceInfo

    from .devices import caller_of
    from .finding import find
    from .runner import OpenCLDevice

    index, by_operator, told = int(sys.argv[1]), sys.argv[2] == "operators", json.loads(sys.argv[3])
    info = DeviceInfo(**{**told, "features": tuple(told["features"])})
    try_features(find()[index].handle, info)
    graph = network()
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)
    (expected,) = reference.run(graph, [x])
    plan = lower(graph, info, {}, {})
    found = find()
    runner = OpenCLDevice(found[index].handle, info, by_operator, caller_of(found[index], found)).load(plan)
    for _ in range(3):
        worst = float(np.abs(np.asarray(runner.run(x)) - expected).max())
        if not worst < 1e-4:
            raise SystemExit(f"wrong results (largest difference {worst:.2g})")


if __name__ == "__main__":
    try:
        main()
    except MobiproxError as fault:  # in one line, build log included
        raise SystemExit(" ".join(fault.what.split())) from fault
