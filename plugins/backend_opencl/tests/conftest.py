"""Devices to run on: the default one, and the same runtime in other shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from mobiprox_backend_opencl.devices import find, open_device
from mobiprox_backend_opencl.runner import OpenCLDevice

SHAPES = ("network", "groups", "operators", "generic", "gpu", "second vendor", "second vendor as gpu")


@pytest.fixture(scope="session", params=SHAPES)
def device(request: pytest.FixtureRequest) -> Iterator[OpenCLDevice]:
    """One device per way of running: network kernel by the calling thread and helpers, by groups of one launch, one launch per operator, plain C without an instruction set, the shape of a GPU."""
    opened = shaped(request.param)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def open_shape() -> Callable[[str], OpenCLDevice]:
    """Opens a device of a shape."""
    return shaped


def shaped(shape: str) -> OpenCLDevice:
    if shape.startswith("second vendor"):
        return second_vendor(as_gpu=shape.endswith("gpu"))
    if shape == "gpu":  # 4-wide blocks, work-groups, no waiting: what a phone's GPU is given, run by the CPU
        first = next(d for d in find() if d.is_cpu)
        info = replace(open_device({"device": first.index}).info, kind="gpu", isa="generic", block=4, vector=4)
        return OpenCLDevice(first.handle, info, by_operator=True)
    if shape == "groups":  # what runtimes without a device on the calling thread are given
        opened = open_device({})
        return OpenCLDevice(opened.handle, opened.info, by_operator=False)
    options = {"generic": {"isa": "generic"}}.get(shape, {"launch": shape})
    return open_device(options)


def second_vendor(as_gpu: bool) -> OpenCLDevice:
    """The first device of another runtime than the default one's; as_gpu: given what a GPU is given."""
    default = open_device({})
    other = next((d for d in find() if d.is_cpu and d.runtime != default.info.runtime), None)
    if other is None:
        pytest.skip("no second OpenCL runtime; pip install 'mobiprox-backend-opencl[intel]' brings one")
    opened = open_device({"device": other.index})
    if not as_gpu:
        return opened
    info = replace(opened.info, kind="gpu", isa="generic", block=4, vector=4, features=())
    return OpenCLDevice(other.handle, info, by_operator=True)


@pytest.fixture(scope="session")
def cpu() -> Iterator[OpenCLDevice]:
    """The default device."""
    opened = open_device({})
    yield opened
    opened.close()
