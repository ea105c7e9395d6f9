"""Contracts for plugins: subclass one in your tests, give it what you offer, and pytest runs what every one of its kind owes.

::

    from mobiprox_core.testing import TechniqueContract

    class TestMyTechnique(TechniqueContract):
        @pytest.fixture
        def technique(self) -> MyTechnique:
            return MyTechnique()

`CONTRACTS` has the contract of every kind. ``mobiprox plugins test`` runs them without a line of code. Needs pytest. `graphs` builds
small graphs; `strategies` holds hypothesis strategies (and needs hypothesis).
"""

from collections.abc import Mapping

import pytest

_MODULES = (
    "backend",
    "dataset",
    "distribution",
    "executor",
    "exporter",
    "frontend",
    "heuristic",
    "meter",
    "metric",
    "offer",
    "strategy",
    "technique",
)

# Before the modules are imported: a failed assert of the kit then shows its values, as one in a test file does.
pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES))

from . import graphs  # noqa: E402
from .backend import BackendContract  # noqa: E402
from .contract import Contract  # noqa: E402
from .dataset import DatasetContract  # noqa: E402
from .distribution import DistributionContract  # noqa: E402
from .executor import ExecutorContract  # noqa: E402
from .exporter import ExporterContract  # noqa: E402
from .frontend import FrontendContract  # noqa: E402
from .heuristic import HeuristicContract  # noqa: E402
from .meter import MeterContract  # noqa: E402
from .metric import MetricContract  # noqa: E402
from .strategy import StrategyContract  # noqa: E402
from .technique import TechniqueContract  # noqa: E402

CONTRACTS: Mapping[str, type[Contract]] = {
    contract.kind: contract
    for contract in (
        FrontendContract,
        DatasetContract,
        MetricContract,
        TechniqueContract,
        HeuristicContract,
        BackendContract,
        StrategyContract,
        MeterContract,
        ExporterContract,
        ExecutorContract,
    )
}
"""Kind -> what every offer of it owes."""

__all__ = [
    "CONTRACTS",
    "BackendContract",
    "Contract",
    "DatasetContract",
    "DistributionContract",
    "ExecutorContract",
    "ExporterContract",
    "FrontendContract",
    "HeuristicContract",
    "MeterContract",
    "MetricContract",
    "StrategyContract",
    "TechniqueContract",
    "graphs",
]
