"""One phone through the adb server: commands with separate streams and true exit codes, files, and whether the phone is there.

Whatever goes wrong on the way there or back is a `LinkLost`; what a command itself says is its result. Nothing here retries.
"""

from __future__ import annotations

import shlex
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from mobiprox_core.errors import DeviceError

if TYPE_CHECKING:
    from adbutils import AdbClient, AdbConnection, AdbDevice  # type: ignore[import-untyped]

ANSWER_S = 60.0
"""How long a small command may stay silent before the link counts as lost."""

CHUNK = 1 << 16
"""Bytes of one piece of a pushed file; the most that the protocol allows."""

_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
"""Kinds of packets of the shell protocol, version 2."""


class LinkLost(Exception):
    """The phone went away, or nothing was heard of it for too long."""


class Refused(DeviceError):
    """The phone is there, and said no: a full disk, a folder that cannot be written."""


@contextmanager
def _on_the_way(serial: str, doing: str) -> Iterator[None]:
    """adbutils raises what it likes where a link breaks: its own errors, EOFError, OSError, and what its parsing comes to."""
    from adbutils import AdbError

    try:
        yield
    except (AdbError, OSError, EOFError, struct.error, AssertionError, ValueError, IndexError) as fault:
        silent = isinstance(fault, TimeoutError) or "timeout" in str(fault)
        raise LinkLost(f"'{serial}' {'did not answer' if silent else 'was lost'} while {doing}: {fault or type(fault).__name__}") from fault


@dataclass(frozen=True, slots=True)
class Done:
    """What a command came to. code: its exit status."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """The last line of what it complained about."""
        return (self.err.strip() or self.out.strip() or f"ended with {self.code}").splitlines()[-1]


class Stream:
    """A command that runs on the phone, its stdin and stdout still open; a `Pipe` of the native backend."""

    def __init__(self, serial: str, connection: AdbConnection) -> None:
        self.serial = serial
        self.code: int | None = None
        self.errors = b""
        self._connection = connection
        self._received = bytearray()

    def patience(self, seconds: float) -> None:
        """How long the command may stay silent from now on."""
        self._connection.conn.settimeout(seconds)

    def write(self, data: bytes) -> None:
        with _on_the_way(self.serial, "a command was sent"):
            for start in range(0, len(data), CHUNK):
                part = data[start : start + CHUNK]
                self._connection.conn.sendall(struct.pack("<BI", _STDIN, len(part)) + part)

    def readline(self) -> bytes:
        while (end := self._received.find(b"\n")) < 0:
            if not self._more():
                end = len(self._received) - 1
                break
        return self._take(end + 1)

    def read(self, count: int) -> bytes:
        while len(self._received) < count and self._more():
            pass
        return self._take(count)

    def finish(self) -> bytes:
        """Close the command's stdin, wait until it ends, and return what it still said."""
        with _on_the_way(self.serial, "a command was ended"):
            self._connection.conn.sendall(struct.pack("<BI", _CLOSE_STDIN, 0))
        while self._more():
            pass
        return self._take(len(self._received))

    def close(self) -> None:
        """Let go of it: the phone ends what it runs."""
        self._connection.close()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def _more(self) -> bool:
        """Take in one packet; False where the command has ended."""
        if self.code is not None:
            return False
        with _on_the_way(self.serial, "a command ran"):
            kind, size = struct.unpack("<BI", self._connection.read_exact(5))
            content = self._connection.read_exact(size)
            if kind == _STDOUT:
                self._received += content
            elif kind == _STDERR:
                self.errors = (self.errors + content)[-8000:]
            elif kind == _EXIT:
                self.code = content[0]
        return self.code is None


class Link:
    """A phone by its serial."""

    def __init__(self, client: AdbClient, serial: str) -> None:
        self.client = client
        self.serial = serial

    @property
    def _device(self) -> AdbDevice:
        return self.client.device(serial=self.serial)

    def state(self) -> str:
        """As the adb server says: device, unauthorized, offline, ...; absent where it knows no such phone."""
        return states(self.client).get(self.serial, "absent")

    def revive(self) -> None:
        """Ask the adb server to connect again, where the phone is one on the network: those on a cable come back by themselves."""
        host, _, port = self.serial.rpartition(":")
        if host and port.isdecimal():
            with _on_the_way(self.serial, "it was connected again"):
                self.client.disconnect(self.serial)
                self.client.connect(self.serial, timeout=3)

    def features(self) -> set[str]:
        with _on_the_way(self.serial, "it was asked what it can do"):
            return set(self._device.get_features().split(","))

    def open(self, script: str, silence_s: float = ANSWER_S) -> Stream:
        """Start a shell script. silence_s: how long it may say nothing."""
        with _on_the_way(self.serial, "a command was started"):
            connection = self._device.open_transport(timeout=silence_s)
            try:
                connection.send_command(f"shell,v2,raw:{script}")
                connection.check_okay()
            except BaseException:
                connection.close()
                raise
        return Stream(self.serial, connection)

    def script(self, script: str, silence_s: float = ANSWER_S) -> Done:
        """Run a shell script to its end."""
        stream = self.open(script, silence_s)
        try:
            out = stream.finish()
        finally:
            stream.close()
        assert stream.code is not None
        return Done(stream.code, out.decode(errors="replace"), stream.errors.decode(errors="replace"))

    def shell(self, *words: str, silence_s: float = ANSWER_S) -> Done:
        """Run one command; its words reach it as they are."""
        return self.script(shlex.join(words), silence_s)

    def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is no file."""
        with self._sync(b"STAT", path.encode(), "a file was looked for") as connection:
            if _exactly(connection, 4) != b"STAT":
                raise EOFError("no answer to STAT")
            mode, size, _ = struct.unpack("<III", _exactly(connection, 12))
        return int(size) if mode else None

    def push(self, content: bytes, path: str, mode: int = 0o644) -> None:
        """Write a file. Raises Refused with the phone's reason."""
        with self._sync(b"SEND", f"{path},{0o100000 | mode}".encode(), f"{len(content)} bytes were pushed") as connection:
            view = memoryview(content)
            try:
                for start in range(0, len(content), CHUNK):
                    part = view[start : start + CHUNK]
                    connection.conn.sendall(b"DATA" + struct.pack("<I", len(part)))
                    connection.conn.sendall(part)
                connection.conn.sendall(b"DONE" + struct.pack("<I", int(time.time())))
            except (BrokenPipeError, ConnectionResetError):
                pass  # a phone that refuses says so and hangs up
            verdict, length = struct.unpack("<4sI", _exactly(connection, 8))
            reason = b"" if verdict == b"OKAY" else _exactly(connection, length)
        if verdict != b"OKAY":
            _refuse(self.serial, f"does not take {path}", reason)

    def pull(self, path: str) -> bytes:
        """Read a file. Raises Refused with the phone's reason."""
        content, reason = bytearray(), None
        with self._sync(b"RECV", path.encode(), f"{path} was pulled") as connection:
            while True:
                kind, length = struct.unpack("<4sI", _exactly(connection, 8))
                if kind == b"DONE":
                    break
                part = _exactly(connection, length)
                if kind == b"FAIL":
                    reason = part
                    break
                if kind != b"DATA":
                    raise EOFError(f"{kind!r} within a file")
                content += part
        if reason is not None:
            _refuse(self.serial, f"does not give {path}", reason)
        return bytes(content)

    @contextmanager
    def _sync(self, request: bytes, argument: bytes, doing: str) -> Iterator[AdbConnection]:
        with _on_the_way(self.serial, doing), self._device.open_transport(timeout=ANSWER_S) as connection:
            connection.send_command("sync:")
            connection.check_okay()
            connection.conn.sendall(request + struct.pack("<I", len(argument)) + argument)
            yield connection


def _exactly(connection: AdbConnection, count: int) -> bytes:
    return bytes(connection.read_exact(count))


def _refuse(serial: str, what: str, reason: bytes) -> NoReturn:
    said = reason.decode(errors="replace") or "it gave no reason"
    full = "No space" in said
    raise Refused(
        f"'{serial}' {what}: {said}",
        mend="make room on the phone: adb shell df -h /data" if full else "choose a folder that the shell user may write: remote_dir: ...",
    )


def states(client: AdbClient) -> Mapping[str, str]:
    """Serial -> state of every phone that the adb server knows."""
    with _on_the_way("the adb server", "phones were listed"):
        return {found.serial: found.state for found in client.list()}


def is_served(client: AdbClient) -> bool:
    """Whether an adb server runs; asking starts none."""
    try:
        with socket.create_connection((client.host, client.port), timeout=0.5):
            return True
    except OSError:
        return False
