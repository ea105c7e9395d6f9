"""The engines, as they work inside a worker process. Each is what a user of it would write, with its own defaults but for the threads.

Every engine is handed the same ONNX file: Mobiprox's simplified model (constants folded) with its batch size fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from ..configuration import Configuration
from ..errors import LoweringError, MobiproxError, UsageError
from ..plugins import did_you_mean
from .converted import Mnn, Ncnn
from .task import Engine, Task

if TYPE_CHECKING:
    from ..graph import Graph
    from ..interfaces import Device, Floats, Statistics
    from ..network import Network

OURS = "mobiprox"

QUANTISED = 0.5
"""What a quantised engine may be off, relative to the greatest element of an output: enough to tell whether it ran at all."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Another engine. modules: what must be importable; install: how to get it.

    tolerance: greatest difference of an output from the exact one, relative to the greatest element: float32, unless it quantises. Those that do
    are only used where they are asked for.
    """

    name: str
    modules: tuple[str, ...]
    install: str
    load: Callable[[Task], Engine]
    tolerance: float = 1e-3

    @property
    def is_exact(self) -> bool:
        return self.tolerance < QUANTISED

    @property
    def is_installed(self) -> bool:
        return all(find_spec(module) is not None for module in self.modules)


class OnnxRuntime:
    """ONNX Runtime on the CPU: all graph optimisations, spinning on."""

    def __init__(self, task: Task) -> None:
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = task.threads or 0
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(task.model, options, providers=["CPUExecutionProvider"])
        self._feed = dict(zip((spec.name for spec in self._session.get_inputs()), task.inputs, strict=True))
        self.about = {"version": onnxruntime.__version__, "threads": task.threads, "provider": self._session.get_providers()[0]}

    def run(self) -> tuple[Floats, ...]:
        return tuple(self._session.run(None, self._feed))


def quantised(task: Task, folder: str) -> str:
    """The task's model after ONNX Runtime's static quantisation: QDQ, weights per channel, activations in eight bits; the file that holds it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static  # type: ignore[import-untyped]
    from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

    prepared, result = (str(Path(folder) / f"{what}.onnx") for what in ("prepared", "quantised"))
    quant_pre_process(task.model, prepared, skip_symbolic_shape=True)
    (name,) = (
        spec.name for spec in import_module("onnxruntime").InferenceSession(prepared, providers=["CPUExecutionProvider"]).get_inputs()
    )
    assert task.calibrate is not None
    starts = range(0, len(task.calibrate) - task.batch + 1, task.batch)
    feeds = iter([{name: task.calibrate[start : start + task.batch]} for start in starts])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Floats] | None:
            return next(feeds, None)

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(prepared, result, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    return result


def on_quantised(load: Callable[[Task], Engine]) -> Callable[[Task], Engine]:
    """The engine on the quantised model."""

    def quantise_and_load(task: Task) -> Engine:
        with TemporaryDirectory(prefix="mobiprox-bench-") as folder:
            return load(replace(task, model=quantised(task, folder)))

    return quantise_and_load


class OpenVino:
    """OpenVINO on the CPU: float32, tuned for latency."""

    def __init__(self, task: Task) -> None:
        openvino = import_module("openvino")
        wanted = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if task.threads is not None:
            wanted["INFERENCE_NUM_THREADS"] = str(task.threads)
        compiled = openvino.Core().compile_model(task.model, "CPU", wanted)
        self._request = compiled.create_infer_request()
        self._inputs = list(task.inputs)
        self._count = len(compiled.outputs)
        self.about = {"version": openvino.__version__, "threads": task.threads, "device": "CPU"}

    def run(self) -> tuple[Floats, ...]:
        results = self._request.infer(self._inputs, share_inputs=True)
        return tuple(results[i] for i in range(self._count))


class Torch:
    """PyTorch in eager mode, on the CPU."""

    def __init__(self, task: Task) -> None:
        import torch

        from .eager import Eager

        if task.threads is not None:
            torch.set_num_threads(task.threads)
        self._network = Eager(_graph(task))
        self._inputs = task.inputs
        self.about = {"version": torch.__version__, "threads": torch.get_num_threads(), "mode": "eager"}

    def run(self) -> tuple[Floats, ...]:
        return self._network.run(*self._inputs)


class Mobiprox:
    """Ours, through a backend plugin."""

    def __init__(self, task: Task) -> None:
        from .. import plugins
        from ..lowering import lower
        from ..tuning import tuned

        registry = plugins.load()
        techniques = {name: registry.get("technique", name) for name in registry.names("technique")}
        self._device = registry.get("backend", task.backend).open(task.options or {})
        graph, levels = _graph(task), [Configuration.from_json(c) for c in task.configurations]
        statistics = calibration(task, self._device)
        ways = tuned(graph, self._device, techniques, levels, statistics=statistics)
        begin = perf_counter()
        plan = lower(graph, self._device.info, techniques, {}, levels, statistics=statistics, ways=ways)
        self._runner = self._device.load(plan)
        self._inputs = task.inputs
        self.about = {
            "threads": self._device.info.threads,
            "device": asdict(self._device.info),
            "load_s": perf_counter() - begin,
            "arena_bytes": 4 * plan.arena_elements,
            "memory_bytes": dict(plan.notes["memory_bytes"]),
            "program": str(getattr(self._device, "programs", "")),
            "operators": [{"name": op.name, "kind": op.kind, "settings": [str(v.setting) for v in op.variants]} for op in plan.operators],
            "levels": plan.levels,
        }

    def run(self) -> tuple[Floats, ...]:
        outputs = self._runner.run(*self._inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    def choose(self, variants: Sequence[int]) -> None:
        """The variant of every operator that runs from now on."""
        self._runner.select(variants)

    def operators(self, seconds: float) -> list[list[float]]:
        """Milliseconds of every operator under each of its variants: medians over about `seconds` each. Empty where nothing is launched."""
        import numpy as np

        exact = [0] * len(self._runner.plan.operators)
        results: list[list[float]] = []
        for index, op in enumerate(self._runner.plan.operators):
            if not any(variant.launches for variant in op.variants):
                results.append([])
                continue
            choices = [[*exact[:index], variant, *exact[index + 1 :]] for variant in range(len(op.variants))]
            times = self._runner.time([index], choices, seconds * len(choices))
            results.append([float(np.median(t)) for t in times])
        return results

    def peak(self) -> float:
        """GFLOP/s of the device, see `peak`."""
        from . import peak

        return peak.measure(self._device)


RIVALS: Mapping[str, Rival] = {
    rival.name: rival
    for rival in (
        Rival("onnxruntime", ("onnxruntime",), "pip install onnxruntime", OnnxRuntime),
        Rival("torch", ("torch",), "pip install torch", Torch),
        Rival("openvino", ("openvino",), "pip install openvino", OpenVino),
        Rival("ncnn", ("ncnn", "pnnx"), "pip install ncnn pnnx", Ncnn),
        Rival("mnn", ("MNN", "_tools"), "pip install MNN", Mnn),
        Rival("onnxruntime-int8", ("onnxruntime",), "pip install onnxruntime", on_quantised(OnnxRuntime), QUANTISED),
        Rival("openvino-int8", ("openvino", "onnxruntime"), "pip install openvino onnxruntime", on_quantised(OpenVino), QUANTISED),
    )
}


def installed(quantised: bool = False) -> tuple[str, ...]:
    """The rivals that can be loaded here: the exact ones, and those that quantise where they are wanted too."""
    return tuple(name for name, rival in RIVALS.items() if (rival.is_exact or quantised) and rival.is_installed)


def check_installed(names: Sequence[str]) -> None:
    """Raises UsageError for a rival that is unknown, or that is not installed."""
    for name in names:
        if name not in RIVALS:
            likely = did_you_mean(name, RIVALS)
            mend = f"did you mean '{likely}'?" if likely else f"there are: {', '.join(RIVALS)}"
            raise UsageError(f"no engine is called '{name}'", where="--against", mend=mend)
        if not RIVALS[name].is_installed:
            raise UsageError(f"the engine '{name}' is not installed", where="--against", mend=RIVALS[name].install)


def load(name: str, task: Task) -> Engine:
    """The network in an engine, warm. Raises LoweringError where a rival does not take it."""
    if name == OURS:
        return Mobiprox(task)
    try:
        engine = RIVALS[name].load(task)
        engine.run()
    except MobiproxError:
        raise
    except Exception as error:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise LoweringError(f"{name} cannot run '{Path(task.model).stem}': {first}", mend=f"leave {name} out of --against") from error
    return engine


def calibration(task: Task, device: Device) -> Callable[[str], Statistics | None]:
    """The statistics of the task's calibration inputs; nothing is computed before somebody asks."""
    from ..statistics import Calibration

    assert task.calibrate is not None
    return Calibration(_network(task), device, task.calibrate)


def _graph(task: Task) -> Graph:
    return _network(task).at_batch(task.batch)


def _network(task: Task) -> Network:
    import onnx_ir as ir

    from ..network import Network

    return Network.from_model(ir.load(task.model), Path(task.model).stem)
