"""Networks with random weights, as ONNX: for timing, weights need only be of the right shape.

Layer lists: VGG16 and AlexNet2 for CIFAR-10 as in the Mobiprox paper's model zoo; MobileNetV2 (Sandler et al., CVPR 2018) at 224 x 224,
and with stride 1 in the first two stages at 32 x 32. Batch normalisation is folded, as any engine would fold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Builder:
    """Appends layers to a chain; `shape` is (channels, rows, columns) of its end, or (features,)."""

    def __init__(self, name: str, channels: int, size: int, seed: int = 0) -> None:
        self.name = name
        self.shape: tuple[int, ...] = (channels, size, size)
        self.end = "input"
        self._input: list[str | int | None] = ["n", channels, size, size]
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(seed)

    def conv(self, filters: int, kernel: int, stride: int = 1, group: int = 1, activation: str = "") -> None:
        """Padded so that stride 1 keeps the size. activation: an ONNX operator, or "Relu6"."""
        channels, rows, columns = self.shape
        weight = self._weight((filters, channels // group, kernel, kernel))
        pads = [kernel // 2] * 4
        self._node("Conv", weight, self._bias(filters), kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads, group=group)
        self.shape = (filters, -(-rows // stride), -(-columns // stride))
        if activation == "Relu6":
            self._node("Clip", self._constant(np.float32(0)), self._constant(np.float32(6)))
        elif activation:
            self._node(activation)

    def pool(self, kind: str, size: int) -> None:
        self._node(kind, kernel_shape=[size] * 2, strides=[size] * 2)
        self.shape = (self.shape[0], self.shape[1] // size, self.shape[2] // size)

    def add(self, other: str) -> None:
        self._node("Add", other)

    def dense(self, features: int, activation: str = "") -> None:
        if len(self.shape) == 3:
            self._node("Flatten")
            self.shape = (int(np.prod(self.shape)),)
        self._node("Gemm", self._weight((features, self.shape[0])), self._bias(features), transB=1)
        self.shape = (features,)
        if activation:
            self._node(activation)

    def model(self) -> onnx.ModelProto:
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, self._input)]
        outputs = [helper.make_tensor_value_info(self.end, TensorProto.FLOAT, ["n", *self.shape])]
        graph = helper.make_graph(self._nodes, self.name, inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model

    def _node(self, kind: str, *more: str, **attributes: Any) -> None:
        name = f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, [self.end, *more], [f"{name}_out"], name, **attributes))
        self.end = f"{name}_out"

    def _constant(self, values: np.ndarray | np.float32) -> str:
        name = f"constant{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def _weight(self, shape: tuple[int, ...]) -> str:
        """Scaled so that activations neither grow nor fade (He et al., 2015)."""
        return self._constant(self._rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:])))

    def _bias(self, length: int) -> str:
        return self._constant(0.1 * self._rng.standard_normal(length))


def vgg16_cifar() -> onnx.ModelProto:
    net = Builder("vgg16-cifar", 3, 32)
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            net.conv(filters, 3, activation="Relu")
        net.pool("MaxPool", 2)
    net.dense(512, "Relu")
    net.dense(10)
    return net.model()


def alexnet2_cifar() -> onnx.ModelProto:
    net = Builder("alexnet2-cifar", 3, 32)
    for filters in (32, 64, 128):
        net.conv(filters, 3, activation="Tanh")
        net.conv(filters, 3, activation="Tanh")
        net.pool("MaxPool", 2)
    net.dense(10)
    return net.model()


def mobilenetv2(size: int) -> onnx.ModelProto:
    """size: 224 for ImageNet's network, 32 for CIFAR-10's."""
    small = size == 32
    net = Builder(f"mobilenetv2-{size}", 3, size)
    net.conv(32, 3, 1 if small else 2, activation="Relu6")
    stages = ((1, 16, 1, 1), (6, 24, 2, 1 if small else 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, filters, count, first_stride in stages:
        for index in range(count):
            before, channels, stride = net.end, net.shape[0], first_stride if index == 0 else 1
            if expansion > 1:
                net.conv(expansion * channels, 1, activation="Relu6")
            net.conv(net.shape[0], 3, stride, group=net.shape[0], activation="Relu6")
            net.conv(filters, 1)
            if stride == 1 and filters == channels:
                net.add(before)
    net.conv(1280, 1, activation="Relu6")
    net.pool("AveragePool", net.shape[1])
    net.dense(10 if small else 1000)
    return net.model()


BUILT: Mapping[str, Callable[[], onnx.ModelProto]] = MappingProxyType(
    {
        "vgg16-cifar": vgg16_cifar,
        "alexnet2-cifar": alexnet2_cifar,
        "mobilenetv2-32": lambda: mobilenetv2(32),
        "mobilenetv2-224": lambda: mobilenetv2(224),
    }
)
