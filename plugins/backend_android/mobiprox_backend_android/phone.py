"""A phone as a place to work at: a folder whose files are known by their digests, the runtime in it, and patience with the link."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from mobiprox_core.errors import DeviceError, UsageError

from .condition import COMMAND, Condition, parse
from .link import Done, Link, LinkLost, Refused, Stream

T = TypeVar("T")

DEFAULT_FOLDER = "/data/local/tmp/mobiprox"
FOLDERS = ("objects", "bundles", "cache", "outputs", "running")
MADE = ".made-by-mobiprox"
"""All that is ever made in the folder: these, and a file that says that the folder itself is ours to remove."""

ATTEMPTS = 5
"""How often in a row one piece of work is tried again after a lost link."""

POLL_S = 0.25

MOST_BYTES = 1 << 30
"""What is kept on a phone at once: plans and data sets that may be needed again."""

EXPLAINED = {
    "unauthorized": ("does not trust this computer yet", "unlock it and accept the question about USB debugging"),
    "authorizing": ("is being asked whether it trusts this computer", "unlock it and accept the question about USB debugging"),
    "offline": ("is known, but does not answer", "reconnect the cable, or: adb reconnect offline"),
    "absent": ("is not connected", "connect it and switch on USB debugging; 'adb devices' lists what is there"),
    "no": ("may not be opened by this user", "on Linux, add udev rules for it and join the group plugdev"),
    "recovery": ("is in recovery mode", "restart it"),
    "sideload": ("is in sideload mode", "restart it"),
    "bootloader": ("is in its boot loader", "restart it"),
}
"""State as the adb server says -> what it means, and what to do."""


def unusable(serial: str, state: str) -> DeviceError:
    what, mend = EXPLAINED.get(state, (f"is in the state '{state}'", "restart it"))
    return DeviceError(f"the phone '{serial}' {what}", mend=mend)


def check_folder(path: str) -> str:
    """A folder on the phone, as it may stand in every command. Raises UsageError."""
    parts = PurePosixPath(path).parts
    if (
        not path.startswith("/")
        or len(parts) < 2
        or ".." in parts
        or any(ord(c) < 32 or ord(c) == 127 for c in path)
        or len(path.encode()) > 800
    ):
        raise UsageError(
            f"{path!r} is no folder to work in", where="remote_dir", mend=f"an absolute path below the root, e.g. {DEFAULT_FOLDER}"
        )
    return str(PurePosixPath(path))


@dataclass
class Phone:
    """One phone. folder: where it is worked in. wait_s: how long a phone may be away. events: what happened to it, for the report."""

    link: Link
    folder: str
    wait_s: float = 120.0
    events: list[str] = field(default_factory=list)
    _there: dict[str, int] = field(default_factory=dict)  # path -> bytes, what was used last at the end
    _boot: str = ""
    _runtime: tuple[bytes, str] | None = None

    @property
    def serial(self) -> str:
        return self.link.serial

    # -- coming and going

    def greet(self) -> None:
        """Raises DeviceError where the phone cannot be worked with."""
        state = self.link.state()
        if state != "device":
            raise unusable(self.serial, state)
        if "shell_v2" not in self.link.features():
            raise DeviceError(f"'{self.serial}' is too old: it does not tell exit codes", mend="Android 7 or later is needed")
        self._boot = self.boot()

    def boot(self) -> str:
        """What changes when the phone starts anew; empty where it does not tell."""
        return self.link.script("cat /proc/sys/kernel/random/boot_id 2>/dev/null").out.strip()

    def wait(self, why: str) -> bool:
        """Until the phone is there again, at most `wait_s`. Whether it was started anew. Raises DeviceError."""
        began = time.monotonic()
        self._there.clear()
        while True:
            state = "absent"
            try:
                state = self.link.state()
                if state == "device" and self._is_up():
                    boot = self.boot()
                    break
                if state in ("offline", "absent"):
                    self.link.revive()
            except LinkLost:
                pass
            if state in ("unauthorized", "authorizing") or time.monotonic() - began > self.wait_s:
                what, mend = EXPLAINED.get(state, ("does not come back", "look at it"))
                raise DeviceError(
                    f"{why}; after {time.monotonic() - began:.0f} s '{self.serial}' still {what}",
                    mend=f"{mend}; then take the run up again with --resume (wait_s says how long to wait)",
                )
            time.sleep(POLL_S)
        restarted = boot != self._boot
        self._boot = boot
        self.events.append(f"{why}; {'restarted' if restarted else 'connected'} again after {time.monotonic() - began:.1f} s")
        return restarted

    def _is_up(self) -> bool:
        """Whether it answers and has finished starting; systems that are not Android have no such property."""
        return self.link.script("getprop sys.boot_completed 2>/dev/null || echo 1").out.strip() == "1"

    def patiently(self, work: Callable[[], T]) -> T:
        """Work that may be done again from its beginning: tried anew where the link is lost. Raises DeviceError in the end."""
        for attempt in range(ATTEMPTS):
            try:
                return work()
            except LinkLost as lost:
                if attempt == ATTEMPTS - 1:
                    raise DeviceError(f"{lost}; that was the {ATTEMPTS}th time in a row", mend="try another cable or port") from lost
                self.wait(str(lost))
        raise AssertionError

    # -- files

    def place(self, *names: str) -> str:
        """A path in the folder."""
        return "/".join((self.folder, *names))

    def prepare(self) -> None:
        """Make the folder. Raises Refused."""
        self._made()
        self.end_stale()

    def _made(self) -> None:
        own, mark = shlex.quote(self.folder), shlex.quote(self.place(MADE))
        folders = shlex.join([self.place(name) for name in FOLDERS])
        done = self.link.script(f"test -d {own} || {{ mkdir -p {own} && : > {mark}; }}; mkdir -p {folders}")
        if done.code:
            raise Refused(
                f"'{self.serial}' has no place to work in: {done.said}",
                mend="choose a folder that the shell user may write: remote_dir: ...",
            )

    def put(self, content: bytes, executable: bool = False) -> str:
        """Path of a file with this content; it travels only if it is not there."""
        path = self.place("objects", hashlib.sha256(content).hexdigest())
        if path in self._there:
            self._there[path] = self._there.pop(path)
            return path
        self._make_room(len(content))
        if self.link.size(path) != len(content):
            self._made()
            try:
                self.link.push(content, f"{path}.part", 0o755 if executable else 0o644)
            except Refused:
                self.link.shell("rm", "-f", f"{path}.part")
                raise
            if self.link.size(f"{path}.part") != len(content):
                raise LinkLost(f"'{self.serial}' did not get all of a file")
            self._checked(
                f"{'chmod 755' if executable else 'true'} {shlex.quote(path + '.part')} && mv {shlex.quote(path + '.part')} {shlex.quote(path)}"
            )
        self._there[path] = len(content)
        return path

    def put_bundle(self, folder: Path) -> str:
        """Path of a folder on the phone with the files of a bundle."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        digest = hashlib.sha256(
            json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in files.items()}).encode()
        ).hexdigest()
        target = self.place("bundles", digest[:32])
        if target in self._there:
            return target
        steps = []
        self._make_room(sum(map(len, files.values())))
        for name, content in files.items():
            path = PurePosixPath(target) / name
            steps += [f"mkdir -p {shlex.quote(str(path.parent))}", f"ln -sf {shlex.quote(self.put(content))} {shlex.quote(str(path))}"]
        self._checked(" && ".join(steps))
        self._there[target] = 0
        return target

    def _make_room(self, wanted: int) -> None:
        """Forget what was not used for long, where all of it together grows beyond bounds."""
        kept = sum(self._there.values()) + wanted
        old = []
        for path, size in self._there.items():
            if kept <= MOST_BYTES:
                break
            if size:
                old.append(path)
                kept -= size
        if old:
            self.drop(*old, *(path for path, size in self._there.items() if not size))

    def within(self, path: str) -> str:
        """A path in the folder as the runtime may be told it."""
        return path.removeprefix(self.folder + "/")

    def drop(self, *paths: str) -> None:
        """Remove files or folders of ours."""
        assert all(path.startswith(self.folder + "/") for path in paths)
        if paths:
            self.link.shell("rm", "-rf", *paths)
            for path in paths:
                self._there.pop(path, None)

    def forget(self) -> None:
        """Remove all files, so that they are pushed again."""
        self.drop(self.place("objects"), self.place("bundles"))
        self._there.clear()
        self._made()

    def clean(self) -> None:
        """Remove all that was ever made here, and the folder itself unless it was there before."""
        self.end_stale()
        self.drop(*(self.place(name) for name in FOLDERS))
        mark = shlex.quote(self.place(MADE))
        self.link.script(f"test -f {mark} && rm -f {mark} && rmdir {shlex.quote(self.folder)}")

    def _checked(self, script: str) -> Done:
        done = self.link.script(script)
        if done.code:
            raise Refused(f"'{self.serial}': {done.said}", mend="is there room, and may the shell user write there? remote_dir: ...")
        return done

    # -- the runtime

    def install(self, content: bytes) -> None:
        """Remember the runtime; it is pushed when it is needed, and again after the phone has lost it."""
        self._runtime = content, hashlib.sha256(content).hexdigest()

    def runtime(self) -> str:
        """Path of the runtime on the phone."""
        assert self._runtime is not None
        return self.put(self._runtime[0], executable=True)

    def devices(self, library: str | None) -> list[dict[str, Any]]:
        """What the runtime finds. Raises DeviceError; a list is complete only with its last record."""
        done = self.link.shell(self.runtime(), "--devices", *(["--library", library] if library else []))
        events = records(done.out)
        if done.code or not events or events[-1].get("ok") is not True:
            reason = events[-1].get("error") if events else None
            raise DeviceError(
                f"the runtime finds no OpenCL on '{self.serial}': {reason or done.said} (ended with {done.code})",
                mend="name the phone's OpenCL library with 'library', if it has one",
            )
        return [event for event in events if event["event"] == "device"]

    def serve(self, bundle: str, name: str, *arguments: str) -> Stream:
        """Start the runtime with a bundle, in the folder. name: of this one; an earlier one of that name ends."""
        self.end_stale(name)
        words = [self.runtime(), "--serve", bundle, "--cache", self.place("cache"), *arguments]
        return self.link.open(f"cd {shlex.quote(self.folder)} && echo $$ > running/{name} && exec {shlex.join(words)}")

    def end_stale(self, name: str = "*") -> None:
        """End a runtime that an earlier connection left behind, or all of them."""
        running, own = shlex.quote(self.place("running")), shlex.quote(self.folder)
        self.link.script(
            f"for file in {running}/{name}; do "
            'test -f "$file" || continue; pid=$(cat "$file"); case "$pid" in ""|*[!0-9]*) continue;; esac; '
            f'tr "\\000" " " < "/proc/$pid/cmdline" 2>/dev/null | grep -qF {own} && kill -9 "$pid"; rm -f "$file"; done'
        )

    # -- what it is, and how it is

    def properties(self) -> dict[str, str]:
        """Model, Android's version, processors; of systems that are not Android, what `uname` says."""
        text = self.link.script(
            "for p in ro.product.manufacturer ro.product.model ro.build.version.release ro.product.cpu.abilist; "
            'do echo "$p=$(getprop $p 2>/dev/null)"; done; echo "machine=$(uname -m)"'
        ).out
        return dict(re.findall(r"^([\w.]+)=(.*?)\s*$", text, re.MULTILINE))

    def condition(self) -> Condition:
        return parse(self.link.script(COMMAND).out)


def records(text: str) -> list[dict[str, Any]]:
    """Lines of JSON, up to the first that is none."""
    found = []
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            break
        if not isinstance(event, dict) or "event" not in event:
            break
        found.append(event)
    return found


def choose(known: dict[str, str], wanted: str | None) -> str:
    """A serial: the one asked for, or the only one. Raises DeviceError that says what is there."""
    listing = ", ".join(f"{serial} ({state})" for serial, state in known.items())
    if wanted is not None:
        if wanted not in known:
            raise DeviceError(f"no phone is called '{wanted}'", mend=f"there are: {listing}" if known else EXPLAINED["absent"][1])
        return wanted
    usable = [serial for serial, state in known.items() if state == "device"]
    if len(usable) == 1:
        return usable[0]
    if usable:
        raise DeviceError(f"{len(usable)} phones are connected", mend=f"choose with 'serial', one or a list: {listing}")
    if len(known) == 1:
        raise unusable(*next(iter(known.items())))
    if known:
        raise DeviceError("no phone can be used", mend=f"there are: {listing}")
    raise DeviceError("no phone is connected", mend=EXPLAINED["absent"][1])
