"""The native runtime for a phone's processor: a prebuilt one, or built with the NDK."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobiprox_core.cache import cache_folder
from mobiprox_core.errors import DeviceError

MACHINES = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86"}
"""ELF machine -> Android's name of the processor."""

BUILT = ("arm64-v8a", "armeabi-v7a", "x86_64")
"""What the runtime is built for."""

KERNELS = {"aarch64": "arm64-v8a", "armv7l": "armeabi-v7a", "armv8l": "armeabi-v7a", "x86_64": "x86_64"}
"""`uname -m` -> the same, for systems without Android's properties."""

PLATFORM = "android-24"


def abis_of(properties: str, machine: str) -> list[str]:
    """What a phone runs, best first. properties: ro.product.cpu.abilist, may be empty; machine: `uname -m`."""
    return [abi for abi in properties.strip().split(",") if abi] or [KERNELS.get(machine.strip(), machine.strip())]


def runtime_for(abis: Sequence[str], prebuilt: str | None, serial: str, build: bool = True) -> Path:
    """The file `mbx-run` for a phone. Raises DeviceError where a prebuilt one does not fit, or none can be built.

    build: without, only what it would be built with is looked for, and that is returned.
    """
    if prebuilt is not None:
        path = Path(prebuilt)
        made_for = machine_of(path)
        if made_for not in abis:
            raise DeviceError(
                f"the runtime {path} is for {made_for}; '{serial}' runs {', '.join(abis)}",
                mend="build it for that processor, or leave 'runner' out",
            )
        return path
    abi = next((abi for abi in abis if abi in BUILT), None)
    if abi is None:
        raise DeviceError(f"'{serial}' runs {', '.join(abis)}; the runtime is built for {', '.join(BUILT)}")
    ndk = find_ndk(os.environ)
    if ndk is None:
        raise DeviceError(
            f"the runtime for '{serial}' ({abi}) needs the Android NDK to be built, and none is found",
            mend="install it and set ANDROID_NDK_HOME to its folder, or build mbx-run elsewhere and name it with 'runner'",
        )
    toolchain = ndk / "build" / "cmake" / "android.toolchain.cmake"
    if not build:
        return toolchain
    from mobiprox_backend_native.build import build_runner

    return build_runner(
        cache_folder() / "native", {"CMAKE_TOOLCHAIN_FILE": str(toolchain), "ANDROID_ABI": abi, "ANDROID_PLATFORM": PLATFORM}
    )


def machine_of(path: Path) -> str:
    """What processor an executable is for. Raises DeviceError for a file that is none."""
    try:
        head = path.open("rb").read(20)
    except OSError as error:
        raise DeviceError(f"the runtime {path} cannot be read: {error.strerror}") from error
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise DeviceError(f"{path} is not a program", mend="name an mbx-run that was built for the phone")
    (machine,) = struct.unpack("<H", head[18:20])
    return MACHINES.get(machine, f"machine {machine}")


def find_ndk(environment: Mapping[str, str]) -> Path | None:
    """The folder of an NDK: the one that the environment names, else the newest of the SDK's."""
    named = [Path(environment[name]) for name in ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_NDK") if environment.get(name)]
    sdks = [Path(environment[name]) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if environment.get(name)]
    sdks += [Path.home() / "Android" / "Sdk", Path.home() / "Library" / "Android" / "sdk"]
    side_by_side = [ndk for sdk in sdks for ndk in sorted(sdk.glob("ndk/*"), key=_version, reverse=True)]
    every = [*named, *side_by_side, *(sdk / "ndk-bundle" for sdk in sdks)]
    return next((ndk for ndk in every if (ndk / "build" / "cmake" / "android.toolchain.cmake").is_file()), None)


def _version(folder: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", folder.name)]
