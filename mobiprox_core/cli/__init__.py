"""The command line. stdout is the result, stderr progress and errors; the exit code tells the class of an error (errors.ExitCode).

Everything heavy is imported inside the commands: `mobiprox --help`, `plugins list` and `check` load no numpy, torch, onnx or pyopencl.
"""

from __future__ import annotations

import atexit
import gc

from . import bench, bundles, devices, exchange, experiments, explaining, export, init, plugins
from .base import main

__all__ = ["bench", "bundles", "devices", "exchange", "experiments", "explaining", "export", "init", "main", "plugins"]

atexit.register(gc.freeze)  # else Python looks for garbage among all that was imported before it ends: 9 ms of 150 for a short command
