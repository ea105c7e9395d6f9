"""From options to a device: which phones, which OpenCL device of theirs, and whether it computes rightly."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import DeviceError, UsageError
from mobiprox_core.interfaces import Device, DeviceReport, Options

from .link import Link, LinkLost, is_served, states
from .phone import DEFAULT_FOLDER, EXPLAINED, POLL_S, Phone, check_folder, choose, unusable
from .runtime import abis_of, runtime_for

if TYPE_CHECKING:
    from adbutils import AdbClient  # type: ignore[import-untyped]

    from .device import AndroidDevice

log = logging.getLogger(__name__)

SETTLE_S = 2.0
"""How long a phone may be offline that is about to be used."""


def _client() -> AdbClient:
    """The adb server that ANDROID_ADB_SERVER_HOST and ANDROID_ADB_SERVER_PORT name, else that of this machine."""
    from adbutils import AdbClient

    return AdbClient(socket_timeout=60)


def reports() -> Sequence[DeviceReport]:
    """Every phone that the adb server knows. Looking starts no server, and nothing is put on a phone."""
    client = _client()
    if not is_served(client):
        return [
            DeviceReport(
                "android", 0, "none", problem="no adb server runs, so no phone is known", mend="connect a phone, then: adb start-server"
            )
        ]
    try:
        known = states(client)
    except LinkLost as lost:
        return [DeviceReport("android", 0, "none", problem=str(lost), mend="adb kill-server, then: adb start-server")]
    if not known:
        return [DeviceReport("android", 0, "none", problem="no phone is connected", mend=EXPLAINED["absent"][1])]
    return [_report(Link(client, serial), index, state) for index, (serial, state) in enumerate(known.items())]


def _report(link: Link, index: int, state: str) -> DeviceReport:
    try:
        if state != "device":
            raise unusable(link.serial, state)
        phone = Phone(link, DEFAULT_FOLDER)
        phone.greet()
        about = phone.properties()
        runtime_for(abis_of(about.get("ro.product.cpu.abilist", ""), about.get("machine", "")), None, link.serial, build=False)
    except DeviceError as fault:
        return DeviceReport("android", index, link.serial, problem=fault.what, mend=fault.mend)
    except LinkLost as lost:
        return DeviceReport("android", index, link.serial, problem=str(lost), mend=EXPLAINED["offline"][1])
    return DeviceReport("android", index, f"{model(about)} ({link.serial})")


def model(about: dict[str, str]) -> str:
    """What people call the phone."""
    maker, name = about.get("ro.product.manufacturer", ""), about.get("ro.product.model", "")
    if not name:
        return f"Linux on {about.get('machine') or 'an unknown processor'}"
    return name if name.lower().startswith(maker.lower()) else f"{maker} {name}"


def open_device(options: Options) -> Device:
    """One phone, or several as one. Raises DeviceError, saying what is there, where they cannot be used."""
    folder = check_folder(options.get("remote_dir", DEFAULT_FOLDER))
    client = _client()
    try:
        known = dict(states(client))
    except LinkLost as lost:
        raise DeviceError(f"no adb server can be reached: {lost}", mend="adb start-server") from lost
    wanted = options.get("serial")
    device = options.get("device", "gpu")
    if wanted is None and isinstance(device, int):
        if device >= len(known):
            raise DeviceError(f"there is no phone {device}", mend="'mobiprox devices' lists them")
        wanted = list(known)[device]
    named = wanted if isinstance(wanted, list) else [wanted]
    for serial in named:
        if serial is not None and serial not in known:  # one on the network can be connected
            with suppress(LinkLost):
                link = Link(client, serial)
                link.revive()
                known[serial] = link.state()
    known = {serial: state for serial, state in known.items() if state != "absent"}
    serials = [choose(known, serial) for serial in named]
    if len(set(serials)) < len(serials):
        raise UsageError(f"a phone is named twice: {', '.join(serials)}", where="serial", mend="name each once")
    with ThreadPoolExecutor(len(serials)) as pool:
        opened: list[AndroidDevice | DeviceError] = list(pool.map(lambda serial: _opened(client, serial, folder, options), serials))
    faults = [one for one in opened if isinstance(one, DeviceError)]
    devices = [one for one in opened if not isinstance(one, DeviceError)]
    try:
        if faults:
            raise faults[0]
        from .fleet import Fleet
        from .trial import check

        whole: Device = devices[0] if len(devices) == 1 else Fleet(devices)
        check(whole)
    except BaseException:
        for one in devices:
            one.close()
        raise
    return whole


def _opened(client: AdbClient, serial: str, folder: str, options: Options) -> AndroidDevice | DeviceError:
    """A phone with the runtime on it and its device described; a fault is returned, for others may be open."""
    phone = Phone(Link(client, serial), folder, float(options.get("wait_s", 120)))
    prepared = False
    try:
        _met(phone)
        about = phone.patiently(phone.properties)
        abis = abis_of(about.get("ro.product.cpu.abilist", ""), about.get("machine", ""))
        phone.install(runtime_for(abis, options.get("runner"), serial).read_bytes())
        phone.patiently(phone.prepare)
        prepared = True
        check_power(phone, options.get("power", "any"))
        found = phone.patiently(lambda: phone.devices(options.get("library")))
        return _described(phone, found, model(about), options)
    except DeviceError as fault:
        try:
            if prepared and not options.get("keep", False):
                phone.clean()
        except LinkLost as lost:
            log.warning("%s; %s stays on it", lost, folder)
        return fault


def _met(phone: Phone) -> None:
    """Raises DeviceError; but who connects a phone and starts at once need not start twice."""
    if phone.link.state() == "offline":
        with suppress(LinkLost):
            phone.link.revive()
        end = time.monotonic() + SETTLE_S
        while phone.link.state() != "device":
            if time.monotonic() > end:
                raise unusable(phone.serial, "offline")
            time.sleep(POLL_S)
    try:
        phone.greet()
    except LinkLost as lost:
        phone.wait(str(lost))
        phone.greet()


def check_power(phone: Phone, power: str) -> None:
    """Raises DeviceError where the phone is not powered as the experiment says."""
    if power == "any":
        return
    now = phone.patiently(phone.condition)
    if now.charging is None:
        raise DeviceError(f"'{phone.serial}' does not tell whether it charges", mend="use power: any")
    if now.charging and power == "battery":
        raise DeviceError(
            f"'{phone.serial}' is charging, and the experiment wants it on its battery",
            mend="use adb over Wi-Fi (adb tcpip 5555, unplug, adb connect ADDRESS), or power: any",
        )
    if not now.charging and power == "charger":
        raise DeviceError(
            f"'{phone.serial}' is on its battery, and the experiment wants it on a charger", mend="plug it in, or use power: any"
        )


def _described(phone: Phone, found: Sequence[dict[str, Any]], name: str, options: Options) -> AndroidDevice:
    from mobiprox_backend_native.served import info_of

    from .device import AndroidDevice

    wanted, threads = options.get("device", "gpu"), options.get("threads")
    listing = "; ".join(f"{d['name']} ({d['kind']})" for d in found) or "none"
    if isinstance(wanted, int):
        wanted = "gpu"
    fitting = (
        [d for d in found if d["kind"] == wanted] if wanted in ("gpu", "cpu") else [d for d in found if wanted.lower() in d["name"].lower()]
    )
    if len(fitting) > 1:  # PoCL offers the CPU twice: with all threads, and with the calling one only
        fitting = [d for d in fitting if (d["compute_units"] == 1) == (threads == 1)] or fitting
    if not fitting:
        raise DeviceError(f"'{phone.serial}' has no OpenCL device '{wanted}'", mend=f"choose with 'device', there are: {listing}")
    if len(fitting) > 1 and wanted not in ("gpu", "cpu"):
        raise DeviceError(f"'{wanted}' means several OpenCL devices of '{phone.serial}'", mend=f"there are: {listing}")
    info = info_of(fitting[0], options.get("isa", "auto"), threads)
    return AndroidDevice(
        phone,
        replace(info, name=f"{name}: {info.name}"),
        info.name,
        library=options.get("library"),
        max_temperature_c=float(options.get("max_temperature_c", 42)),
        cool_down_s=float(options.get("cool_down_s", 60)),
        keep=bool(options.get("keep", False)),
    )
