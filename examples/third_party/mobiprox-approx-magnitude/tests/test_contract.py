import pytest
from mobiprox_approx_magnitude.plugin import Magnitude

from mobiprox_core.testing import TechniqueContract


class TestMagnitude(TechniqueContract):
    @pytest.fixture
    def technique(self):
        return Magnitude()
