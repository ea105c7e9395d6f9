"""Engines with a file format of their own: their converter is run on the ONNX file first, in a process of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..interfaces import Floats
    from .task import Task

FIRST_LAYER = 2
"""The line of ncnn's .param file that its first layer is in."""


class Ncnn:
    """ncnn on the CPU: float32, converted by pnnx. ncnn knows no batches."""

    def __init__(self, task: Task) -> None:
        if task.batch != 1:
            raise ValueError(f"it takes one input at a time, not {task.batch}")
        ncnn, pnnx = import_module("ncnn"), import_module("pnnx")
        shapes = ",".join(f"[{','.join(map(str, x.shape))}]f32" for x in task.inputs)
        self._net = net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if task.threads is not None:
            net.opt.num_threads = task.threads
        with TemporaryDirectory(prefix="mobiprox-bench-") as folder:
            shutil.copy(task.model, Path(folder, "net.onnx"))  # pnnx writes beside what it reads
            parameters, weights = Path(folder, "net.ncnn.param"), Path(folder, "net.ncnn.bin")
            options = {"fp16": 0, "inputshape": shapes}
            _convert([pnnx.EXEC_PATH, "net.onnx", *(f"{option}={value}" for option, value in options.items())], weights)
            layers = [line.split()[0] for line in parameters.read_text().splitlines()[FIRST_LAYER:]]
            if unknown := sorted({layer for layer in layers if ncnn.layer_to_index(layer) < 0}):
                raise ValueError(f"it has no layer {', '.join(unknown)}")
            if net.load_param(str(parameters)) or net.load_model(str(weights)):
                raise ValueError("it does not load what its converter wrote")
        self._mat = ncnn.Mat
        self._inputs = task.inputs
        self._names = net.input_names(), net.output_names()
        self.about = {"version": ncnn.__version__, "threads": net.opt.num_threads, "converter": f"pnnx {version('pnnx')}"}

    def run(self) -> tuple[Floats, ...]:
        inputs, outputs = self._names
        with self._net.create_extractor() as extractor:
            for name, x in zip(inputs, self._inputs, strict=True):
                extractor.input(name, self._mat(x[0]))
            return tuple(np.array(extractor.extract(name)[1])[None] for name in outputs)


class Mnn:
    """MNN on the CPU: float32, weights laid out when it is loaded."""

    def __init__(self, task: Task) -> None:
        import onnx

        mnn, nn, self._expr = import_module("MNN"), import_module("MNN.nn"), import_module("MNN.expr")
        graph = onnx.load(task.model, load_external_data=False).graph
        inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
        wanted = {"backend": "CPU", "precision": "high", **({} if task.threads is None else {"numThread": task.threads})}
        with TemporaryDirectory(prefix="mobiprox-bench-") as folder:
            result = Path(folder, "net.mnn")
            # `MNN.tools.mnnconvert`, the command, is this call after it has installed packages and before it reports the call to its maker
            convert = "import sys, _tools; _tools.mnnconvert(sys.argv)"
            what = ["-f", "ONNX", "--modelFile", str(Path(task.model).resolve()), "--MNNModel", str(result), "--bizCode", "mobiprox"]
            _convert([sys.executable, "-c", convert, *what], result)
            self._runtime = nn.create_runtime_manager((wanted,))
            self._net = nn.load_module_from_file(str(result), inputs, outputs, runtime_manager=self._runtime, rearrange=True)
        self._inputs = task.inputs
        self.about = {"version": mnn.version(), "threads": task.threads}

    def run(self) -> tuple[Floats, ...]:
        planar = self._expr.NCHW
        results = self._net.forward([self._expr.const(x, list(x.shape), planar) for x in self._inputs])
        return tuple(np.array(self._expr.convert(y, planar).read()) for y in results)


def _convert(command: Sequence[str], result: Path) -> None:
    """Run a converter in the folder of what it is to write. Raises ValueError with its last words where it writes nothing."""
    done = subprocess.run(
        command, cwd=result.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    if not result.is_file():
        words = next((line.strip() for line in reversed(done.stdout.splitlines()) if line.strip()), f"it ended with code {done.returncode}")
        raise ValueError(f"its converter wrote nothing: {words}")
