"""8-bit integers."""

from __future__ import annotations

import pytest
from mobiprox_approx_int8.quantised import Quantised

from mobiprox_core.testing import TechniqueContract


class TestQuantisedContract(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Quantised:
        return Quantised()

    @pytest.fixture
    def options(self):
        return {"activations": [8, 7]}
