"""What all contracts have in common: the kind they are for, and that nobody leaves a promise out without saying why."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import pytest


class Contract:
    """A contract is a class of tests that a plugin's own tests subclass; fixtures say what is tested.

    A promise that a plugin cannot keep stays visible: its test is overridden with ``@pytest.mark.xfail(reason=..., strict=True)`` and calls
    ``super()``. Any other override is refused when the class is made.
    """

    kind: ClassVar[str] = ""
    """The kind of offer, as `plugins.KINDS` names it."""

    subject: ClassVar[str] = ""
    """The fixture that gives what is offered."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name, value in vars(cls).items():
            promised = name.startswith("test_") and any(name in vars(base) for base in cls.__mro__[1:] if issubclass(base, Contract))
            if promised and not _excused(value):
                raise TypeError(
                    f"{cls.__qualname__}.{name} takes the place of a test of the contract; "
                    "a known deviation is @pytest.mark.xfail(reason='...', strict=True), with super() called"
                )


def missing(contract: str, fixture: str, what: str) -> NoReturn:
    """Ends a test: the class that subclasses a contract has not said what is tested. Told without a traceback, the mend is all there is to it."""
    pytest.fail(f"{contract} needs a fixture `{fixture}` that returns {what}", pytrace=False)


def _excused(test: Any) -> bool:
    marks = getattr(test, "pytestmark", ())
    return any(mark.name == "xfail" and str(mark.kwargs.get("reason", "")).strip() for mark in marks)
