"""Live: a session on a stream of inputs, as they come.

::

    with Session.open("runs/a/bundle") as session, open("talk.wav", "rb") as file:
        for answer in live(session, Keywords().stream(file)):
            print(session.classes[answer.prediction.label], answer.late)

A stream is pairs (seconds since the start at which the input is complete, float32 input). No input is ever dropped: what comes late is
answered late, and said to be late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import DataError, UsageError

if TYPE_CHECKING:
    from .graph import Shape
    from .interfaces import Floats
    from .session import Prediction, Session

Stream = Iterable[tuple[float, "Floats"]]


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What became of one input. time_s: when it was complete. delay_s: from then to the answer, its preparation included.

    late: the delay is longer than the time since the input before, so that a stream of such inputs falls behind for ever.
    """

    time_s: float
    prediction: Prediction
    delay_s: float
    late: bool

    def to_json(self) -> dict[str, Any]:
        own = self.prediction
        return {
            "time_s": self.time_s,
            "label": own.label,
            "confidence": own.confidence,
            "level": own.level,
            "latency_ms": own.latency_ms,
            "relative_cost": own.relative_cost,
            "delay_s": self.delay_s,
            "late": self.late,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stream came to. cost: the sum over inputs, one run of the exact network each would be `inputs`."""

    inputs: int = 0
    late: int = 0
    longest_delay_s: float = 0.0
    cost: float = 0.0
    drifts: int = 0

    def after(self, answer: Answer, drifts: int = 0) -> Summary:
        return Summary(
            self.inputs + 1,
            self.late + answer.late,
            max(self.longest_delay_s, answer.delay_s),
            self.cost + answer.prediction.relative_cost,
            self.drifts + drifts,
        )

    @property
    def saved(self) -> float:
        """Share of the exact network's cost."""
        return 1 - self.cost / self.inputs if self.inputs else 0.0

    def __str__(self) -> str:
        return (
            f"{self.inputs} inputs at {1 - self.saved:.0%} of the exact cost; {self.late} late,"
            f" longest delay {1e3 * self.longest_delay_s:.0f} ms; latencies drifted {self.drifts} time(s)"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            "late": self.late,
            "longest_delay_s": self.longest_delay_s,
            "relative_cost": 1 - self.saved,
            "drifts": self.drifts,
        }


def nothing_known() -> Mapping[str, Any]:
    """The surroundings of a program that knows none."""
    return {}


def live(
    session: Session,
    stream: Stream,
    around: Callable[[], Mapping[str, Any]] = nothing_known,
    paced: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Answer]:
    """Infer every input when it is due. around: what the strategy may know of this moment, by the names of `Observation`.

    paced: wait for the time of each input, as for a recording; without, inputs are due when the stream gives them, and none is late.
    """
    start, before = clock(), 0.0
    inputs = iter(stream)
    while True:
        asked = clock() - start
        found = next(inputs, None)
        if found is None:
            return
        due, values = found
        ready = clock() - start
        if not paced:
            due = ready
        elif ready < due:
            sleep(due - ready)
        ahead = max(0.0, min(ready, due) - asked) if paced else 0.0  # prepared before it was complete, as no microphone could
        prediction = session.infer(values, **around())
        delay = clock() - start - due + ahead
        yield Answer(due, prediction, delay, paced and before < due and delay > due - before)
        before = due


def arrays(source: BinaryIO, shape: Shape, period_s: float) -> Iterator[tuple[float, Floats]]:
    """Inputs of a .npy file, float[N, *shape], or else raw little-endian float32 numbers until the end; one every `period_s`.

    Raises DataError where they do not fit the shape of one input.
    """
    import numpy as np

    size = int(np.prod(shape))
    head = source.read(min(6, 4 * size))
    name = getattr(source, "name", "the source")
    if head == b"\x93NUMPY":
        source.seek(0)
        try:
            values = np.load(source, allow_pickle=False)
        except ValueError as error:
            raise DataError(f"cannot be read: {error}", where=str(name), mend="save an array of numbers with numpy.save") from error
        if values.shape[1:] != tuple(shape) or values.dtype.kind not in "fiu":
            raise DataError(f"holds {values.dtype}{list(values.shape)}; wanted is [N, {', '.join(map(str, shape))}]", where=str(name))
        yield from ((period_s * (i + 1), one.astype(np.float32)) for i, one in enumerate(values))
        return
    count = 0
    while content := head + source.read(4 * size - len(head)):
        if len(content) < 4 * size:
            raise DataError(f"ends within input {count}", where=str(name), mend=f"one input is {size} numbers of float32")
        head, count = b"", count + 1
        yield period_s * count, np.frombuffer(content, "<f4").reshape(shape)


def surroundings(
    power: Path = Path("/sys/class/power_supply"), heat: Path = Path("/sys/class/thermal/thermal_zone0/temp")
) -> dict[str, Any]:
    """The hour, and what Linux knows of battery, charger and temperature."""
    now = time.localtime()
    found: dict[str, Any] = {"hour": now.tm_hour + now.tm_min / 60}
    for battery in sorted(power.glob("*/capacity"))[:1]:
        if (left := _text(battery)).isdecimal():
            found["battery"] = int(left) / 100
            found["charging"] = _text(battery.with_name("status")) in ("Charging", "Full")
    if (degrees := _text(heat)).lstrip("-").isdecimal():
        found["temperature_c"] = int(degrees) / 1000
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a live stream comes from: ``FILE``, ``-`` (standard input), or ``DATASET:FILE`` with what prepares raw signals."""

    dataset: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> Source:
        """Raises UsageError for signals that nobody prepares."""
        dataset, colon, path = text.partition(":")
        if colon and dataset.isidentifier() and len(dataset) > 1:
            return cls(dataset, path)
        if Path(text).suffix in (".wav", ".csv"):
            raise UsageError(
                f"'{text}' holds signals, and a network takes what is made of them",
                where="--source",
                mend=f"name the data set that prepares them, e.g. {'keywords' if text.endswith('.wav') else 'har'}:{text}",
            )
        return cls(None, text)
