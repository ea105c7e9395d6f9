"""One exception tree; each class carries the exit code of the command line.

::

    MobiproxError            1
      UsageError             2   a wrong argument, a file that is not there
      ExperimentError        3   one or many faults of an experiment file
        DataError            3   data or labels that do not fit the network
        BundleError          3   a bundle that is damaged or of another version
      PluginError            4   a plugin that is missing, broken or clashes
      LoweringError          5   a network that cannot be run
        UnsupportedOperator  5
        InfeasibleSetting    5   an answer, not a failure: a search skips it
      DeviceError            6   no device, a driver's fault, a failed kernel build
      TargetMissed           7   the run ended, but a stated target was not reached
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the `mobiprox` command returns to the shell."""

    DONE = 0
    BUG = 1
    USAGE = 2
    EXPERIMENT = 3
    PLUGIN = 4
    LOWERING = 5
    DEVICE = 6
    TARGET_MISSED = 7
    INTERRUPTED = 130


class MobiproxError(Exception):
    """What is wrong, where, and how to mend it.

    str(error) is ``where: what`` and, on a second, indented line, the mend.
    """

    exit_code = ExitCode.BUG

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.mend}" if self.mend else head


class UsageError(MobiproxError):
    """A command or call with arguments that cannot be meant."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a user's file; `where` is ``file:line: key.path``."""

    where: str
    what: str
    mend: str | None = None


class ExperimentError(MobiproxError):
    """Every fault of an experiment at once, in line order."""

    exit_code = ExitCode.EXPERIMENT

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        mend: str | None = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        super().__init__(what, where=where, mend=mend)
        self.faults = tuple(faults) or (Fault(where or "", what, mend),)

    def __str__(self) -> str:
        lines = []
        for fault in self.faults:
            lines.append(f"{fault.where}: {fault.what}" if fault.where else fault.what)
            if fault.mend:
                lines.append(f"  {fault.mend}")
        return "\n".join(lines)


class DataError(ExperimentError):
    """Inputs or labels that do not fit the network."""


class BundleError(ExperimentError):
    """A bundle that is damaged, hostile or of another version."""


class PluginError(MobiproxError):
    """A plugin that is missing, cannot be loaded, or clashes with another."""

    exit_code = ExitCode.PLUGIN


class LoweringError(MobiproxError):
    """A network or configuration that cannot be turned into an execution plan."""

    exit_code = ExitCode.LOWERING


class UnsupportedOperator(LoweringError):
    """An operator that we cannot lower; names the node, its type and what is supported."""


class InfeasibleSetting(LoweringError):
    """A setting that means nothing for this operator; searches skip it."""

    @classmethod
    def unfitted(cls, setting: object, where: str, mend: str = "give calibration inputs") -> InfeasibleSetting:
        """A setting that is fitted to calibration inputs, where there are none."""
        return cls(f"'{setting}' is fitted to calibration inputs, and there are none", where=where, mend=mend)


class DeviceError(MobiproxError):
    """No such device, or a driver that failed."""

    exit_code = ExitCode.DEVICE


class TargetMissed(MobiproxError):
    """All went well, but a target that the user stated was not reached."""

    exit_code = ExitCode.TARGET_MISSED
