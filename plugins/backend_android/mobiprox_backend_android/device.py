"""Phones as devices: plans go there as bundles, and a runner goes on where a lost link, a restart or a crash interrupted it."""

from __future__ import annotations

import logging
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from mobiprox_backend_native.served import Ended, ServedRunner, answer, ask, check_plan, unmeasured

from mobiprox_core import bundle as bundles
from mobiprox_core.cache import cache_folder
from mobiprox_core.errors import DeviceError
from mobiprox_core.plan import DeviceInfo, ExecutionPlan

from .condition import Condition
from .link import LinkLost, Refused, Stream
from .phone import ATTEMPTS, Phone
from .quarantine import Quarantine

Floats = npt.NDArray[np.float32]
T = TypeVar("T")

LOAD_S = 600.0
"""How long a driver may compile."""

COMMAND_S = 120.0
"""How long a command may take, beyond the time that it is told to measure."""

NEVER_MS = 1e12
"""The latency of what crashes: finite, so that it can be written down, and slower than all that runs."""

BATCH_S = 10.0
"""How long one batch may take, beyond that."""

STRIKES = 2
"""So many times in a row must a phone restart or fall silent at one command, until the command counts as the cause."""

COOL_POLL_S = 2.0
FRESH_S = 1.0
"""A reading of the temperature that is not older counts as one of now."""

log = logging.getLogger(__name__)


class Crashed(Exception):
    """The runtime died of a command, or the phone did."""


class AndroidDevice:
    """An OpenCL device of a phone."""

    unproven = True

    def __init__(
        self,
        phone: Phone,
        info: DeviceInfo,
        own_name: str,
        *,
        library: str | None = None,
        max_temperature_c: float = 42.0,
        cool_down_s: float = 60.0,
        keep: bool = False,
    ) -> None:
        """own_name: of the OpenCL device on the phone; `info` has the phone's name in it too."""
        self.phone = phone
        self.info = info
        self.own_name = own_name
        self.library = library
        self.max_temperature_c = max_temperature_c
        self.cool_down_s = cool_down_s
        self.keep = keep
        self.conditions: list[tuple[Condition, Condition]] = []
        self.cooled_s = 0.0
        self.throttled = 0
        self.quarantined: list[str] = []
        self._latest: tuple[float, Condition] | None = None

    def load(self, plan: ExecutionPlan) -> AndroidRunner:
        """Push what the phone lacks, start the runtime there; it builds, allocates and warms everything."""
        check_plan(plan, self.info)
        return AndroidRunner(self, plan)

    def close(self) -> None:
        """Clean up on the phone."""
        if not self.keep:
            try:
                self.phone.clean()
            except LinkLost as lost:
                log.warning("%s; %s stays on it until the next run", lost, self.phone.folder)

    def shell(self, script: str) -> str:
        """What a script prints on the phone: for meters, who see by it that the energy is the phone's."""
        return self.phone.patiently(lambda: self.phone.link.script(script)).out

    def remarks(self) -> dict[str, Any]:
        """What whoever reads the numbers should know of how they came about."""
        warmest = [c.temperature_c for pair in self.conditions for c in pair if c.temperature_c is not None]
        charging = {c.charging for pair in self.conditions for c in pair} - {None}
        return {
            "phone": self.phone.serial,
            "measurements": len(self.conditions),
            "temperature_c": [min(warmest), max(warmest)] if warmest else None,
            "measurements while throttling": self.throttled,
            "seconds of cooling down": round(self.cooled_s, 1),
            "charging": sorted(charging) or None,
            "interruptions": list(self.phone.events),
            "left out because they crash": list(self.quarantined),
        }

    # -- temperature

    def cool(self) -> Condition:
        """The condition to measure in: waited for while the phone is too hot, at most `cool_down_s`."""
        if self._latest is not None and time.monotonic() - self._latest[0] < FRESH_S and self._latest[1].is_cool(self.max_temperature_c):
            return self._latest[1]
        began = time.monotonic()
        while not (now := self.condition()).is_cool(self.max_temperature_c):
            if time.monotonic() - began > self.cool_down_s:
                break
            time.sleep(min(COOL_POLL_S, self.cool_down_s))
        waited = time.monotonic() - began
        if waited > COOL_POLL_S:
            self.cooled_s += waited
        return now

    def condition(self) -> Condition:
        now = self.phone.patiently(self.phone.condition)
        self._latest = time.monotonic(), now
        return now

    def watched(self, work: Callable[[], T]) -> T:
        """A measurement between two readings of the temperature; made once more where the phone began to throttle in it."""
        for again in (True, False):
            before = self.cool()
            result = work()
            after = self.condition()
            if not after.throttling or not again or self.cool_down_s == 0:
                break
        self.conditions.append((before, after))
        self.throttled += bool(before.throttling or after.throttling)
        return result


class AndroidRunner(ServedRunner):
    """A plan on a phone. What the runtime there knew is told again after every interruption: the measurement in progress is all that is lost."""

    def __init__(self, device: AndroidDevice, plan: ExecutionPlan) -> None:
        super().__init__(plan)
        self.device, self.phone = device, device.phone
        self.quarantine = Quarantine(cache_folder() / "android", device.info, plan)
        self._stream: Stream | None = None
        self._told: Mapping[str, Any] | None = None  # the choice that the runtime knows
        self._past: list[tuple[Mapping[str, Any], Mapping[str, Any], bytes]] = []  # choices and commands that made the activations
        self._name = uuid.uuid4().hex
        self._folder = tempfile.TemporaryDirectory(prefix="mobiprox-")
        bundles.write(unmeasured(plan), Path(self._folder.name) / "bundle")
        try:
            self._persist({}, lambda: None)
        except Crashed as crash:
            self.close()
            raise DeviceError(
                f"the kernels of '{plan.name}' crash {device.info.name}: {crash}",
                mend="leave techniques out, one at a time, to find the one that its driver does not bear",
            ) from crash
        except BaseException:
            self.close()
            raise

    # -- what a runner does

    def run(self, *inputs: Floats) -> Floats | tuple[Floats, ...]:
        """As `ServedRunner.run`; numbers that are none (NaN) where the configuration is in quarantine."""
        return self._guarded(None, lambda: ServedRunner.run(self, *inputs))

    def resume(self, operator: int) -> Floats | tuple[Floats, ...]:
        """As `ServedRunner.resume`; numbers that are none (NaN) where the configuration is in quarantine."""
        return self._guarded(range(operator, len(self.plan.operators)), lambda: ServedRunner.resume(self, operator))

    def run_many(self, inputs: Floats) -> Floats | tuple[Floats, ...]:
        """Many batches, float32[k * batch, ...]: they are pushed once for all configurations, and the outputs pulled."""
        return self._guarded(None, lambda: self._run_many(inputs), len(inputs) // self.plan.batch)

    def time(self, operators: Sequence[int] | None, variants: Sequence[Sequence[int]], seconds: float) -> list[npt.NDArray[np.float64]]:
        """As `ServedRunner.time`, by the phone's clock, cool before and looked at after; NEVER_MS for what is in quarantine."""
        settings = [self.quarantine.settings(v, operators) for v in variants]
        sound = [i for i, s in enumerate(settings) if self.quarantine.holds(s) is None]
        found: dict[int, npt.NDArray[np.float64]] = {}
        while sound:
            chosen = [variants[i] for i in sound]
            try:
                samples = self.device.watched(lambda: ServedRunner.time(self, operators, chosen, seconds))  # noqa: B023
                found = dict(zip(sound, samples, strict=True))
                break
            except Crashed as crash:
                guilty = [i for i in sound if len(sound) == 1 or self._crashes(operators, variants[i])]
                if not guilty:
                    raise DeviceError(f"the phone '{self.phone.serial}' crashes now and then: {crash}") from crash
                for i in guilty:
                    self._condemn(settings[i], crash)
                sound = [i for i in sound if i not in guilty]
        rounds = min((len(samples) for samples in found.values()), default=1)
        return [found.get(i, np.full(rounds, NEVER_MS)) for i in range(len(variants))]

    def close(self) -> None:
        """End the runtime and remove the plan from the phone; what other plans may need stays until the device is closed."""
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                last = stream.finish()
                if b'"ok": true' not in last or stream.code:
                    self.phone.events.append(f"the runtime ended without its last record (exit status {stream.code})")
            except LinkLost:
                pass  # there is nothing left to lose
            finally:
                stream.close()
        self._folder.cleanup()

    # -- configurations that crash

    def _guarded(
        self, operators: Sequence[int] | None, work: Callable[[], Floats | tuple[Floats, ...]], batches: int = 1
    ) -> Floats | tuple[Floats, ...]:
        settings = self.quarantine.settings(self._variants, operators)
        if self.quarantine.holds(settings) is None:
            try:
                return work()
            except Crashed as crash:
                self._condemn(settings, crash)
        shapes = [(batches * slot.shape[0], *slot.shape[1:]) for slot in self.plan.outputs]
        nothing = tuple(np.full(shape, np.nan, dtype=np.float32) for shape in shapes)
        return nothing[0] if len(nothing) == 1 else nothing

    def _condemn(self, settings: Mapping[str, str], crash: Crashed) -> None:
        entry = self.quarantine.add(settings, str(crash))
        self.device.quarantined.append(str(entry))
        log.warning("left out from now on: %s; delete %s to try again", entry, self.quarantine.path)

    def _crashes(self, operators: Sequence[int] | None, variants: Sequence[int]) -> bool:
        try:
            ServedRunner.time(self, operators, [variants], 0.0)
        except Crashed:
            return True
        return False

    # -- commands

    def _ask(self, command: Mapping[str, Any], payload: bytes = b"") -> tuple[dict[str, Any], bytes]:
        if command["do"] in ("level", "select"):
            return {}, b""  # told together with the command that needs it
        choice = self._choice if command["do"] in ("run", "resume") else None
        result = self._persist(command, lambda: self._tell(choice, command, payload))
        if command["do"] == "run":
            self._past = []
        if choice is not None:
            # what an earlier command left from this operator on is gone
            kept = [past for past in self._past if past[1]["do"] == "run" or past[1]["operator"] < command["operator"]]
            self._past = [*kept, (choice, command, payload)]
        return result

    def _tell(
        self, choice: Mapping[str, Any] | None, command: Mapping[str, Any], payload: bytes = b"", batches: int = 1
    ) -> tuple[dict[str, Any], bytes]:
        assert self._stream is not None
        self._stream.patience(COMMAND_S + 2 * float(command.get("seconds", 0)) + BATCH_S * batches)
        if choice is not None and self._told != choice:
            ask(self._stream, choice)
            self._told = choice
        if command["do"] == "time":
            self._told = None
        return ask(self._stream, command, payload)

    def _persist(self, command: Mapping[str, Any], work: Callable[[], T]) -> T:
        """Work in a runtime that is in the state this one left it in, however often it has to be started. Raises Crashed, DeviceError."""
        strikes = 0
        for attempt in range(ATTEMPTS):
            try:
                if self._stream is None:
                    self._start()
                return work()
            except Ended as cut:
                stream, self._stream = self._stream, None
                assert stream is not None
                stream.close()
                raise Crashed(_death(stream, cut)) from cut
            except LinkLost as lost:
                stream, self._stream = self._stream, None
                if stream is not None:
                    stream.close()
                if attempt == ATTEMPTS - 1:
                    raise DeviceError(
                        f"{lost}; that was the {ATTEMPTS}th time in a row",
                        mend="try another cable or port, then take the run up again with --resume",
                    ) from lost
                restarted = self.phone.wait(str(lost))
                strikes += restarted or "did not answer" in str(lost)
                if strikes == STRIKES and command:
                    raise Crashed(f"the phone {'restarted' if restarted else 'fell silent'} {STRIKES} times at it") from lost
        raise AssertionError

    def _start(self, again: bool = False) -> None:
        """Start the runtime, see that it runs on what was asked for, and bring it to where the last one was.

        again: all files were pushed anew, because one was damaged.
        """
        device = self.device
        remote = self.phone.put_bundle(Path(self._folder.name) / "bundle")
        arguments = [
            "--device",
            device.own_name,
            "--threads",
            str(device.info.threads),
            *(["--library", device.library] if device.library else []),
        ]
        stream = self._stream = self.phone.serve(remote, self._name, *arguments)
        stream.patience(LOAD_S)
        try:
            info, _ = answer(stream)
        except DeviceError as fault:
            stream.close()
            self._stream = None
            if "SHA-256" in fault.what and not again:
                self.phone.forget()
                self._start(again=True)
                return
            raise DeviceError(f"'{self.plan.name}' does not start on '{self.phone.serial}': {fault.what}", mend=fault.mend) from fault
        asked = {"device": device.own_name, "kind": device.info.kind, "driver": device.info.driver}
        different = {key: (wanted, info[key]) for key, wanted in asked.items() if info[key] != wanted}
        if different:
            stream.close()
            self._stream = None
            words = "; ".join(f"{key} is '{got}', not '{wanted}'" for key, (wanted, got) in different.items())
            raise DeviceError(f"'{self.phone.serial}' does not run what was asked for: {words}", mend="choose its device with 'device'")
        self._told = None
        for choice, command, payload in self._past:
            self._tell(choice, command, payload)

    def _run_many(self, inputs: Floats) -> Floats | tuple[Floats, ...]:
        size = self.plan.batch * prod(self.plan.inputs[0].shape[1:])
        count, rest = divmod(inputs.size, size)
        if rest or len(self.plan.inputs) != 1 or inputs.dtype != np.float32:
            raise ValueError("run_many takes whole batches of float32 for a network with one input")
        content = np.ascontiguousarray(inputs).tobytes()
        wanted = [count * prod(slot.shape) for slot in self.plan.outputs]
        target = self.phone.place("outputs", uuid.uuid4().hex)

        def work() -> bytes:
            files = {"inputs": self.phone.within(self.phone.put(content)), "outputs": self.phone.within(target)}
            found, _ = self._tell(self._choice, {"do": "run", **files}, batches=count)
            pulled = self.phone.link.pull(target)
            self.phone.drop(target)
            if found.get("batches") != count or len(pulled) != 4 * sum(wanted):
                raise Refused(f"'{self.phone.serial}' gave {len(pulled)} bytes of outputs, not {4 * sum(wanted)}")
            return pulled

        pulled = self._persist({"do": "run"}, work)
        last = content[-4 * size :]
        self._past = [(self._choice, {"do": "run"}, last)]
        values = np.frombuffer(pulled, dtype=np.float32).reshape(count, -1)
        parts = np.split(values, np.cumsum([prod(slot.shape) for slot in self.plan.outputs])[:-1], axis=1)
        outputs = tuple(
            part.reshape(count * slot.shape[0], *slot.shape[1:]).copy() for part, slot in zip(parts, self.plan.outputs, strict=True)
        )
        return outputs[0] if len(outputs) == 1 else outputs


def _death(stream: Stream, cut: Ended) -> str:
    """How a runtime ended that gave no last record."""
    code = stream.code or 0
    how = f"killed by signal {code - 128}" if code > 128 else f"ended with {code} before its answer was whole"
    last = (stream.errors.decode(errors="replace").strip().splitlines() or [str(cut)])[-1]
    return f"the runtime was {how}: {last}" if code > 128 else f"the runtime {how}: {last}"
