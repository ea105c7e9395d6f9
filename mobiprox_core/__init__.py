"""Mobiprox: one trained network that glides between accuracy and cost at run time.

The public API is imported from here, lazily: ``import mobiprox_core as mobiprox``.
"""

from __future__ import annotations

__version__ = "0.1.0"
