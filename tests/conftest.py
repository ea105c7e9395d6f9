"""Fixtures that several tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobiprox_core import plugins

os.environ.setdefault("MOBIPROX_TUNING_S", "0")  # tests that do not mean it do not wait for it


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for distributions; only those made in it are there to be found."""
    monkeypatch.delenv(plugins.ALLOW_LIST, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    real = plugins.metadata.entry_points

    def only_here(**filters: str) -> list[object]:
        return [entry for entry in real(**filters) if entry.dist is not None and Path(str(entry.dist.locate_file(""))) == tmp_path]

    monkeypatch.setattr(plugins.metadata, "entry_points", only_here)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_module"):
            del sys.modules[name]
