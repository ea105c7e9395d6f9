"""Bundles to start and to switch, with settings chosen at random: for timing, levels need only be of the right number and size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
from networks import mobilenetv2

from mobiprox_core import bundle as bundles
from mobiprox_core import plugins
from mobiprox_core.configuration import EXACT_CONFIGURATION, Configuration
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import ClassConfidence, LevelCalibration
from mobiprox_core.labelling import with_labels
from mobiprox_core.lowering import lower
from mobiprox_core.measurement import OperatingPoint
from mobiprox_core.network import Network
from mobiprox_core.session import legal_settings


def mobilenetv2_bundle(folder: Path, levels: int, seed: int = 0) -> Path:
    """MobileNetV2 at 32x32 for the default device, with a strategy; every level but the exact one sets every operator that has settings."""
    registry = plugins.load()
    network = Network.from_model(onnx_ir.from_proto(mobilenetv2(32)), "mobilenetv2-32")
    graph = network.at_batch(1)
    techniques = {name: registry.get("technique", name) for name in ("perforation", "filter_sampling")}
    device = registry.get("backend", "opencl").open({})
    rng = np.random.default_rng(seed)
    legal = {op.name: legal_settings(op, graph, techniques) for op in graph.operators}

    def level() -> Configuration:
        return Configuration({name: settings[rng.integers(min(1, len(settings) - 1), len(settings))] for name, settings in legal.items()})

    chosen = [EXACT_CONFIGURATION, *(level() for _ in range(levels - 1))]
    unknown = ClassConfidence(0, 0, None, None)
    costs = np.linspace(1, 0.5, levels)
    calibration = tuple(LevelCalibration(float(cost), None, 1 + i / 10, unknown, (unknown,) * 10) for i, cost in enumerate(costs))
    points = tuple(OperatingPoint(configuration, 0.0, float(cost)) for configuration, cost in zip(chosen, costs, strict=True))
    plan = with_labels(lower(graph, device.info, techniques, {}, chosen), [level.temperature for level in calibration])
    bundles.write(bundles.Bundle(plan, Choice("opencl", {}), points, calibration, Choice("naive", {})), folder)
    device.close()
    return folder
