import pytest
from mobiprox_approx_nearest.plugin import Nearest

from mobiprox_core.testing import TechniqueContract


class TestNearest(TechniqueContract):
    @pytest.fixture
    def technique(self) -> Nearest:
        return Nearest()
