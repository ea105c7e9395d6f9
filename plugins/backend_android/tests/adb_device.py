"""A phone for tests: the device side of the adb protocol on a local port, with the faults that phones have.

The shell runs commands of this machine with a few more programs in its path (`getprop`, `dumpsys`, ...) that answer as Android's do. Paths
below /data/local/tmp are paths below the device's own folder. What is spoken: CNXN, AUTH, OPEN, OKAY, WRTE, CLSE with flow control;
`shell:`, `shell,v2:`, `exec:`, `sync:` with STAT, LIST, SEND, RECV. Not spoken: `reverse:`, terminals, compression, TLS.
"""

from __future__ import annotations

import base64
import hashlib
import os
import queue
import re
import shlex
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (struct.unpack("<I", word)[0] for word in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))
VERSION, MOST_DATA = 0x01000001, 1 << 18
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
FEATURES = "shell_v2,cmd,fixed_push_mkdir"
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
SHARED = "/data/local/tmp"
SHA1_OF = bytes.fromhex("3021300906052b0e03021a05000414")

GETPROP = """#!/bin/sh
case "$1" in
ro.product.manufacturer) echo Mobiprox;; ro.product.model) echo "Test Device";; ro.build.version.release) echo 14;;
ro.product.cpu.abilist) echo "$TEST_ABIS";; sys.boot_completed) echo 1;; *) echo;;
esac
"""
CAT = """#!/bin/sh
[ "$1" = /proc/sys/kernel/random/boot_id ] && exec echo "$TEST_BOOT"
exec /bin/cat "$@"
"""
DUMPSYS = """#!/bin/sh
exec /bin/cat "$TEST_SHIMS/dumpsys.$1"
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
	callbacks: 1
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=99.0, mType=3, mName=skin, mStatus=0}}
HAL Ready: true
HAL connection:
	ThermalHAL 2.0 connected: yes
Current temperatures from HAL:
	Temperature{{mValue=55.1, mType=0, mName=cpu0, mStatus=0}}
	Temperature{{mValue={skin}, mType=3, mName=skin, mStatus=0}}
Current cooling devices from HAL:
	CoolingDevice{{mValue=0, mType=2, mName=cpu-0}}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  status: 2
  level: {level}
  scale: 100
  voltage: 4012
  temperature: 285
"""


class Device:
    """Listens from `start` until `stop`. Faults are attributes and methods; they may change while it is used."""

    def __init__(self, folder: Path, environment: Mapping[str, str], abis: str = "x86_64") -> None:
        self.files, self.shims = folder / "files", folder / "shims"
        for made in (self.files, self.shims):
            made.mkdir(parents=True)
        for name, text in (("getprop", GETPROP), ("cat", CAT), ("dumpsys", DUMPSYS)):
            (self.shims / name).write_text(text)
            (self.shims / name).chmod(0o755)
        self.set_condition()
        self.environment = {**environment, "PATH": f"{self.shims}:/usr/bin:/bin", "TEST_ABIS": abis, "TEST_SHIMS": str(self.shims)}
        self.port = _free_port()
        self.boot = uuid.uuid4().hex
        self.authorized = True
        self.trusts_who_asks = False  # as if the question were accepted at once
        self.answers = True  # without, the adb server says that it is offline
        self.bytes_per_s: float | None = None
        self.free_bytes: int | None = None
        self.exit_codes: dict[str, int] = {}  # pattern of a command -> what it exits with instead
        self.silent: str | None = None  # pattern of commands whose output is swallowed
        self.on_input: Callable[[bytes, subprocess.Popen[bytes]], None] = lambda line, process: None
        self.commands: list[str] = []
        self.pushed: list[tuple[str, int]] = []
        self.connections: list[Connection] = []
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.lock = threading.Lock()
        self._listener: socket.socket | None = None

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def set_condition(self, status: int = 0, skin: float = 31.5, usb: bool = True, level: int = 80) -> None:
        (self.shims / "dumpsys.thermalservice").write_text(THERMAL.format(status=status, skin=skin))
        (self.shims / "dumpsys.battery").write_text(BATTERY.format(usb=str(usb).lower(), level=level))

    def start(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def stop(self) -> None:
        self._hang_up()
        self.kill_all()

    def cut(self) -> None:
        """The cable comes out for a moment; what runs is left alone until it notices."""
        for connection in list(self.connections):
            connection.close()

    def reboot(self, seconds: float = 0.3, wipe: bool = False) -> None:
        """All processes end, and nothing answers for a while. wipe: what was in the shared folder is gone."""
        self._hang_up()
        self.kill_all()
        self.boot = uuid.uuid4().hex
        if wipe:
            subprocess.run(["rm", "-rf", self.files], check=True)
            self.files.mkdir()
        timer = threading.Timer(seconds, self.start)
        timer.daemon = True
        timer.start()

    def kill_all(self) -> None:
        with self.lock:
            running = list(self.processes)
        for process in running:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)

    def _hang_up(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, peer)
            self.connections.append(connection)
            threading.Thread(target=connection.listen, daemon=True).start()

    def real(self, path: str) -> str:
        """Where a path of the device is on this machine."""
        return path.replace(SHARED, str(self.files))


class Connection:
    """One adb server."""

    def __init__(self, device: Device, peer: socket.socket) -> None:
        self.device, self.peer = device, peer
        self.streams: dict[int, Stream] = {}
        self.token = os.urandom(20)
        self._sending = threading.Lock()
        self._last = 0

    def close(self) -> None:
        with suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)
        self.peer.close()
        with suppress(ValueError):
            self.device.connections.remove(self)
        for stream in list(self.streams.values()):
            stream.lose()

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        self._crawl(len(data))
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending, suppress(OSError):
            self.peer.sendall(head + data)

    def _crawl(self, size: int) -> None:
        if self.device.bytes_per_s:
            time.sleep(size / self.device.bytes_per_s)

    def listen(self) -> None:
        try:
            while True:
                command, first, second, size, _, _ = struct.unpack("<6I", self._exactly(24))
                data = self._exactly(size)
                self._crawl(size)
                self._handle(command, first, second, data)
        except (OSError, EOFError):
            self.close()

    def _exactly(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self.peer.recv(count - len(content))
            if not part:
                raise EOFError
            content += part
        return content

    def _handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN:
            if self.device.answers:
                self._greet() if self.device.authorized else self.send(AUTH, TOKEN, 0, self.token)
        elif command == AUTH:
            self._authorize(first, data)
        elif command == OPEN:
            self._last += 1
            stream = self.streams[self._last] = Stream(self, self._last, first)
            threading.Thread(target=stream.serve, args=(data.rstrip(b"\0").decode(),), daemon=True).start()
        elif second in self.streams:
            self.streams[second].told(command, data)
        elif command == WRTE:
            self.send(CLSE, 0, first)

    def _greet(self) -> None:
        about = f"ro.product.name=mobiprox;ro.product.model=Test_Device;ro.product.device=test;features={FEATURES}"
        self.send(CNXN, VERSION, MOST_DATA, f"device::{about}".encode())

    def _authorize(self, kind: int, data: bytes) -> None:
        known = any(verified(key, self.token, data) for key in self.device.__dict__.setdefault("keys", [])) if kind == SIGNATURE else False
        if kind == PUBLIC_KEY and self.device.trusts_who_asks:
            self.device.__dict__.setdefault("keys", []).append(data)
            known = True
        if known:
            self._greet()
        elif kind == SIGNATURE:
            self.token = os.urandom(20)
            self.send(AUTH, TOKEN, 0, self.token)


def verified(key: bytes, token: bytes, signature: bytes) -> bool:
    """Whether a token was signed with a key as Android writes it: length in words, n0inv, modulus, r^2, exponent (little endian)."""
    raw = base64.b64decode(key.split()[0])
    modulus, exponent = int.from_bytes(raw[8:264], "little"), struct.unpack("<I", raw[520:524])[0]
    padded = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(256, "big")
    return padded == b"\0\1" + b"\xff" * (256 - 3 - len(SHA1_OF) - len(token)) + b"\0" + SHA1_OF + token


class Stream:
    """One service that was opened."""

    def __init__(self, connection: Connection, own: int, other: int) -> None:
        self.connection, self.device = connection, connection.device
        self.own, self.other = own, other
        self.received: queue.Queue[bytes | None] = queue.Queue()
        self._buffer = b""
        self._may_send = threading.Semaphore(0)
        self._open = True

    # -- the protocol

    def told(self, command: int, data: bytes) -> None:
        if command == OKAY:
            self._may_send.release()
        elif command == WRTE:
            self.received.put(data)
        elif command == CLSE:
            self.lose()
            self.connection.streams.pop(self.own, None)

    def lose(self) -> None:
        self._open = False
        self.received.put(None)
        self._may_send.release()

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MOST_DATA):
            if not self._open:
                raise EOFError
            self.connection.send(WRTE, self.own, self.other, data[start : start + MOST_DATA])
            self._may_send.acquire()

    def read(self) -> bytes:
        """What came next; empty at the end."""
        data = self.received.get() if self._open or not self.received.empty() else None
        if data is None:
            return b""
        self.connection.send(OKAY, self.own, self.other)
        return data

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            part = self.read()
            if not part:
                raise EOFError
            self._buffer += part
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def close(self) -> None:
        if self._open:
            self.connection.send(CLSE, self.own, self.other)
        self.connection.streams.pop(self.own, None)

    # -- services

    def serve(self, service: str) -> None:
        kind, _, argument = service.partition(":")
        words = kind.split(",")
        served = words[0] in ("shell", "exec", "sync")
        if not served:
            self.connection.send(CLSE, 0, self.other)
            return
        self.connection.send(OKAY, self.own, self.other)
        try:
            if words[0] == "sync":
                self._sync()
            else:
                self._shell(argument, v2="v2" in words)
        except (EOFError, OSError):
            pass
        self.close()

    def _shell(self, command: str, v2: bool) -> None:
        device = self.device
        device.commands.append(command)
        process = subprocess.Popen(
            ["/bin/sh", "-c", device.real(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if v2 else subprocess.STDOUT,
            env={**device.environment, "TEST_BOOT": device.boot},
            cwd=device.files,
            start_new_session=True,
        )
        with device.lock:
            device.processes.add(process)
        swallow = device.silent is not None and re.search(device.silent, command)
        sending = threading.Lock()

        def pump(source: int, kind: int) -> None:
            with suppress(OSError, EOFError):
                while part := os.read(source, 1 << 16):
                    if not swallow:
                        with sending:
                            self.write(struct.pack("<BI", kind, len(part)) + part if v2 else part)

        pumps = [threading.Thread(target=pump, args=(process.stdout.fileno(), STDOUT), daemon=True)]
        if v2:
            pumps.append(threading.Thread(target=pump, args=(process.stderr.fileno(), STDERR), daemon=True))
        feeder = threading.Thread(target=self._feed, args=(process, v2), daemon=True)
        for thread in (*pumps, feeder):
            thread.start()
        for thread in pumps:
            thread.join()
        code = process.wait()
        with device.lock:
            device.processes.discard(process)
        code = 128 - code if code < 0 else code
        for pattern, other in device.exit_codes.items():
            code = other if re.search(pattern, command) else code
        if v2 and not swallow:
            self.write(struct.pack("<BIB", EXIT, 1, code & 255))

    def _feed(self, process: subprocess.Popen[bytes], v2: bool) -> None:
        with suppress(EOFError, OSError, ValueError):
            while True:
                if v2:
                    kind, size = struct.unpack("<BI", self.exactly(5))
                    part = self.exactly(size)
                    if kind == CLOSE_STDIN:
                        break
                    if kind != STDIN:
                        continue
                elif not (part := self.read()):
                    break
                self.device.on_input(part, process)
                process.stdin.write(part)
                process.stdin.flush()
        with suppress(OSError, ValueError):
            process.stdin.close()

    def _sync(self) -> None:
        while True:
            request, length = struct.unpack("<4sI", self.exactly(8))
            path = self.exactly(length).decode()
            if request == b"QUIT":
                return
            if request == b"STAT":
                self.write(b"STAT" + _about(self.device.real(path)))
            elif request == b"LIST":
                for name in sorted(os.listdir(self.device.real(path))) if os.path.isdir(self.device.real(path)) else []:
                    raw = name.encode()
                    self.write(b"DENT" + _about(os.path.join(self.device.real(path), name)) + struct.pack("<I", len(raw)) + raw)
                self.write(b"DONE" + bytes(16))
            elif request == b"RECV":
                self._send_file(self.device.real(path))
            elif request == b"SEND":
                self._take_file(path)
            else:
                self._fail(f"unknown command {request!r}")
                return

    def _fail(self, reason: str) -> None:
        self.write(b"FAIL" + struct.pack("<I", len(reason.encode())) + reason.encode())

    def _send_file(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                while part := file.read(1 << 16):
                    self.write(b"DATA" + struct.pack("<I", len(part)) + part)
        except OSError as error:
            self._fail(f"open failed: {error.strerror}")
            return
        self.write(b"DONE" + bytes(4))

    def _take_file(self, target: str) -> None:
        path, _, mode = target.rpartition(",")
        reason, size = "", 0
        file = None
        try:
            os.makedirs(os.path.dirname(self.device.real(path)), exist_ok=True)
            file = open(self.device.real(path), "wb")  # noqa: SIM115
        except OSError as error:
            reason = f"couldn't create file: {error.strerror}"
        while True:
            kind, length = struct.unpack("<4sI", self.exactly(8))
            if kind == b"DONE":
                break
            part = self.exactly(length)
            size += length
            if self.device.free_bytes is not None and size > self.device.free_bytes:
                reason = reason or "write failed: No space left on device"
            elif file is not None:
                file.write(part)
        if file is not None:
            file.close()
            os.chmod(self.device.real(path), stat.S_IMODE(int(mode)))
        if reason:
            self._fail(reason)
            return
        self.device.pushed.append((path, size))
        self.write(b"OKAY" + bytes(4))


def _about(path: str) -> bytes:
    try:
        found = os.stat(path)
    except OSError:
        return bytes(12)
    return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime) & 0xFFFFFFFF)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The adb server of the adbutils wheel on a port of its own, with keys of its own; it ends with `stop`."""

    def __init__(self, home: Path) -> None:
        from adbutils import AdbClient, adb_path

        home.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        self.log = (home / "adb.log").open("wb")
        quiet = {"ADB_LIBUSB": "0", "ADB_USB": "0", "ADB_MDNS": "0", "ADB_MDNS_OPENSCREEN": "0", "HOME": str(home)}
        self.process = subprocess.Popen(
            [adb_path(), "-P", str(self.port), "nodaemon", "server"],
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.client = AdbClient(host="127.0.0.1", port=self.port, socket_timeout=30)
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=0.2):
                return
            time.sleep(0.02)
        raise RuntimeError(f"the adb server does not start: {(home / 'adb.log').read_text()}")

    def connect(self, device: Device, state: str = "device") -> None:
        """As `adb connect`, until the server knows the phone in that state."""
        from adbutils import AdbTimeout

        with suppress(AdbTimeout):  # one that does not answer
            self.client.connect(device.serial, timeout=1)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if any(found.serial == device.serial and found.state == state for found in self.client.list()):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{device.serial} is not '{state}': {self.client.list()}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def quoted(text: str) -> str:
    return shlex.quote(text)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
