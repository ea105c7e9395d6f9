"""How many inputs run at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir
from small import small_network

from mobiprox_core.batches import sized
from mobiprox_core.network import Network
from mobiprox_core.plan import DeviceInfo


def test_batches_are_as_large_as_the_device_has_room_for() -> None:
    graph = Network.from_model(onnx_ir.from_proto(small_network(np.random.default_rng(0))), "small").at_batch(1)
    each = 4 * sum(int(np.prod(graph.shape(op.output))) for op in graph.operators)
    cpu = DeviceInfo("cpu", "3.0", "PoCL")
    assert sized(graph, cpu) == 32
    assert sized(graph, replace(cpu, kind="gpu")) == 128
    assert sized(graph, replace(cpu, max_alloc_bytes=4 * 8 * each)) == 8
    assert sized(graph, replace(cpu, max_alloc_bytes=1)) == 1
