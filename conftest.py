"""What holds for the tests of core and of all plugins."""

from __future__ import annotations

from collections import defaultdict

import pytest

from mobiprox_core.testing import TechniqueContract

MANY = 6
"""A test of a technique's contract that comes in more cases than this is run on every third one; on all with ``make test-slow``."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before marks are looked at."""
    cases: dict[tuple[type, str], list[pytest.Item]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and item.cls is not None and issubclass(item.cls, TechniqueContract):
            cases[item.cls, item.originalname].append(item)
    for group in cases.values():
        for number, item in enumerate(group if len(group) > MANY else ()):
            if number % 3:
                item.add_marker(pytest.mark.slow)
