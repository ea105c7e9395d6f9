"""Trains the network of this example and writes digits.onnx beside this file.

Needs torch and mobiprox-data-digits; takes about a minute on two cores:  python train.py [--epochs 40]
"""

from __future__ import annotations

import argparse
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import torch
from mobiprox_data_digits.digits import Digits
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent
NOISE = 0.6
"""Greatest standard deviation of the noise while training; the stream goes beyond."""

MAPS = (16, 32, 48, 64, 96, 96)
"""Output channels of the convolutions; the resolution is halved after the second, fourth and fifth."""


def network() -> nn.Sequential:
    """Six 3x3 convolutions and a dense layer: float32[N, 1, 32, 32] to logits float32[N, 10], 20.3 million multiply-adds."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (before, after) in enumerate(zip((1, *MAPS), MAPS, strict=False), 1):
        layers[f"conv{i}"] = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers[f"norm{i}"] = nn.BatchNorm2d(after)
        layers[f"relu{i}"] = nn.ReLU()
        if i in (2, 4, 5):
            layers[f"pool{i}"] = nn.MaxPool2d(2)
    return nn.Sequential(layers | {"mean": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "fc": nn.Linear(MAPS[-1], 10)})


def distorted(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Turned, scaled and moved a little, then under noise of a strength drawn per image up to NOISE."""
    n = len(images)
    angle, zoom = (torch.rand(2, n, generator=rng) - 0.5) * torch.tensor([[0.5], [0.3]])
    shift = (torch.rand(n, 2, generator=rng) - 0.5) * 0.3
    cos, sin = torch.cos(angle) * (1 + zoom), torch.sin(angle) * (1 + zoom)
    transform = torch.stack([torch.stack([cos, -sin, shift[:, 0]], 1), torch.stack([sin, cos, shift[:, 1]], 1)], 1)
    moved = functional.grid_sample(images, functional.affine_grid(transform, list(images.shape), align_corners=False), align_corners=False)
    strength = torch.rand(n, 1, 1, 1, generator=rng) * NOISE
    return moved + strength * torch.randn(moved.shape, generator=rng)


def trained(epochs: int) -> nn.Sequential:
    """One-cycle SGD on split `train`; the last weights are kept, no choice is made on any other split."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    samples = Digits().load("train", {}, HERE)
    images, labels = torch.from_numpy(samples.inputs), torch.from_numpy(samples.labels)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batches = math.ceil(len(images) / 50)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * batches)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for batch in torch.randperm(len(images), generator=rng).chunk(batches):
            loss = functional.cross_entropy(model(distorted(images[batch], rng)), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"epoch {epoch + 1}: loss {total / len(images):.3f}", flush=True)
    return model.eval()


def export(model: nn.Sequential, path: Path) -> None:
    """ONNX with batch normalisation folded, batch axis `n`, and nodes called conv1, relu1, pool1, ..., fc."""
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 32, 32),),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        verbose=False,
    )
    assert program is not None
    exported = program.model_proto
    short = {"Conv": "conv", "Relu": "relu", "MaxPool": "pool", "Gemm": "fc", "ReduceMean": "mean", "Reshape": "flat"}
    seen: dict[str, int] = {}
    for node in exported.graph.node:
        name = short[node.op_type]
        seen[name] = seen.get(name, 0) + 1
        node.name = name if name in ("fc", "mean", "flat") else f"{name}{seen[name]}"
        del node.metadata_props[:]
    for value in (*exported.graph.input, *exported.graph.output, *exported.graph.value_info):
        del value.metadata_props[:]
    del exported.graph.metadata_props[:], exported.metadata_props[:]
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, path)


def accuracy(model: nn.Sequential, split: str, strength: float = 0) -> float:
    """On one split, under noise of a given standard deviation."""
    samples = Digits().load(split, {}, HERE)
    noise = np.random.default_rng(1).standard_normal(samples.inputs.shape).astype(np.float32)
    with torch.no_grad():
        logits = model(torch.from_numpy(samples.inputs + np.float32(strength) * noise))
    return float((logits.argmax(1).numpy() == samples.labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    model = trained(parser.parse_args().epochs)
    for split in Digits.splits:
        print(f"{split}: accuracy {accuracy(model, split):.2%}")
    for strength in (0.2, 0.4, 0.6, 0.8, 1.0):
        print(f"test under noise {strength}: accuracy {accuracy(model, 'test', strength):.2%}")
    export(model, HERE / "digits.onnx")


if __name__ == "__main__":
    main()
