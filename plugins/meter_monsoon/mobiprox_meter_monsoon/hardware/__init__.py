"""The monitor itself, through its maker's package."""

from __future__ import annotations

import contextlib
import io
from importlib import import_module
from typing import Any

from mobiprox_core.errors import DeviceError


def engine(model: str, serial: int | None) -> Any:
    """A sampling engine on the monitor. Raises DeviceError where there is none, or it cannot be opened."""
    maker = import_module("Monsoon.HVPM") if model == "HVPM" else import_module("Monsoon.LVPM")
    monitor = maker.Monsoon()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            monitor.setup_usb(serial)
    except Exception as error:
        raise DeviceError(
            f"the monitor cannot be opened: {error or type(error).__name__}",
            mend="it needs libusb and the right to open USB devices (on Linux, a udev rule for vendor 2ab9)",
        ) from error
    if monitor.Protocol.DEVICE is None:  # the package prints that it found none, and goes on
        which = f" with the serial number {serial}" if serial else ""
        raise DeviceError(f"no {model}{which} is connected", mend="connect it by USB and switch it on")
    sampling = import_module("Monsoon.sampleEngine").SampleEngine(monitor)
    sampling.ConsoleOutput(False)
    return sampling
