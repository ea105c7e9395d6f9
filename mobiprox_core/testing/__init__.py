"""Contracts for plugins: subclass one in your tests, give it your technique or strategy, and pytest runs what every one owes.

::

    from mobiprox_core.testing import TechniqueContract

    class TestMyTechnique(TechniqueContract):
        @pytest.fixture
        def technique(self) -> MyTechnique:
            return MyTechnique()

Needs pytest. `graphs` builds small graphs; `strategies` holds hypothesis strategies (and needs hypothesis).
"""

import pytest

# Before the modules are imported: a failed assert of the kit then shows its values, as one in a test file does.
pytest.register_assert_rewrite(f"{__name__}.strategy", f"{__name__}.technique", f"{__name__}.offer")

from . import graphs  # noqa: E402
from .strategy import StrategyContract  # noqa: E402
from .technique import TechniqueContract  # noqa: E402

__all__ = ["StrategyContract", "TechniqueContract", "graphs"]
