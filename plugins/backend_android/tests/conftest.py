"""A phone for the tests: the test device, or a real one where MOBIPROX_TEST_ADB_SERIAL names it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from adb_device import Device, Server  # noqa: E402

REAL = os.environ.get("MOBIPROX_TEST_ADB_SERIAL")

Options = dict[str, Any]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test puts into quarantine stays there."""
    from mobiprox_backend_android import device

    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(device, "cache_folder", lambda: folder)


@pytest.fixture(scope="session")
def runtime() -> Path:
    """mbx-run for this machine; skips where it cannot be built."""
    from mobiprox_backend_native.build import build_runner

    from mobiprox_core.cache import cache_folder
    from mobiprox_core.errors import DeviceError

    try:
        return build_runner(cache_folder() / "native")
    except DeviceError as fault:
        pytest.skip(f"needs the native runtime: {fault.what.splitlines()[0]}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The adb server of the adbutils wheel, on a port of its own, until the tests end."""
    if REAL is not None:
        pytest.skip("needs the test device")
    server = Server(tmp_path_factory.mktemp("adb"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def adb(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here talks to the adb server of whoever runs the tests, but on a real phone."""
    if REAL is None:
        server: Server = request.getfixturevalue("server")
        monkeypatch.setenv("ANDROID_ADB_SERVER_HOST", "127.0.0.1")
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.port))
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)


Make = Callable[..., Device]


@pytest.fixture
def make(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes test devices that the adb server knows."""
    from mobiprox_backend_native.build import host_environment

    made: list[Device] = []

    def one(state: str = "device", abis: str = "x86_64", **faults: Any) -> Device:
        device = Device(tmp_path_factory.mktemp("phone"), host_environment(), abis)
        for name, value in faults.items():
            setattr(device, name, value)
        device.start()
        made.append(device)
        server.connect(device, state)
        return device

    yield one
    for device in made:
        device.stop()
        server.client.disconnect(device.serial)


@pytest.fixture
def phone(make: Make) -> Device:
    """A test device; tests that need one cannot run on a real phone."""
    if REAL is not None:
        pytest.skip("injects faults, which only the test device has")
    return make()


@pytest.fixture
def options(request: pytest.FixtureRequest) -> Options:
    """Options of the backend for the phone at hand, real or not. A real one is built for with the NDK."""
    if REAL is not None:
        named = {"runner": "MOBIPROX_TEST_ADB_RUNNER", "device": "MOBIPROX_TEST_ADB_DEVICE"}
        return {"serial": REAL} | {option: os.environ[name] for option, name in named.items() if name in os.environ}
    device: Device = request.getfixturevalue("phone")
    runtime: Path = request.getfixturevalue("runtime")
    return {"serial": device.serial, "device": "cpu", "runner": str(runtime), "wait_s": 10, "cool_down_s": 0.2}
