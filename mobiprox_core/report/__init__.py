"""The report: a run's result in, one self-contained HTML file out."""

from __future__ import annotations

from .page import render

__all__ = ["render"]
