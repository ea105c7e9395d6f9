from pathlib import Path

import numpy as np
import pytest
from mobiprox_frontend_npz.plugin import Npz

from mobiprox_core.testing import FrontendContract


class TestNpz(FrontendContract):
    @pytest.fixture
    def frontend(self) -> Npz:
        return Npz()

    @pytest.fixture
    def options(self) -> dict[str, str]:
        return {"path": "net.npz"}

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        rng = np.random.default_rng(0)
        arrays = {
            "weight0": rng.normal(size=(6, 5)),
            "bias0": rng.normal(size=5),
            "weight1": rng.normal(size=(5, 3)),
            "bias1": rng.normal(size=3),
        }
        np.savez(tmp_path / "net.npz", **arrays)
        return tmp_path
