"""Where things are kept that can be made again: verdicts on devices, compiled programs, statistics."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/mobiprox``, else under ``~/.cache``; created."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobiprox"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
