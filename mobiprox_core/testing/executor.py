"""What every executor owes: what workers give is what a device here gives, each job once."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobiprox_core import plugins
from mobiprox_core.errors import MobiproxError
from mobiprox_core.experiment import Choice
from mobiprox_core.interfaces import Options
from mobiprox_core.lowering import lower
from mobiprox_core.plan import DeviceInfo, ExecutionPlan

from . import backend
from .contract import Contract, missing
from .offer import check_description, check_loads_lightly


class ExecutorContract(Contract):
    """Give the fixture `executor`, and `options` where it needs any. Workers use the first backend that has a device."""

    kind = "executor"
    subject = "executor"

    @pytest.fixture
    def executor(self) -> Any:
        missing("ExecutorContract", "executor", "your executor")

    @pytest.fixture
    def options(self) -> Options:
        return {}

    @pytest.fixture
    def workers(self, executor: Any, options: Options) -> Iterator[Any]:
        registry = plugins.load()
        usable = [name for name in registry.names("backend") if any(r.problem is None for r in registry.get("backend", name).devices())]
        if not usable:
            pytest.skip("no device at hand: install a backend")
        try:
            found = executor.open(options, Choice(usable[-1], {}))
        except MobiproxError as error:
            pytest.skip(f"no workers here: {error}")
        yield found
        found.close()

    def test_it_describes_itself(self, executor: Any, options: Options) -> None:
        check_description(executor, options)

    def test_it_loads_lightly(self, executor: Any) -> None:
        check_loads_lightly(executor)

    def test_workers_give_what_the_reference_gives_each_job_once(self, workers: Any) -> None:
        """Batches that are not full too, and runs that go on from an operator with what the run before left."""
        inputs = np.concatenate([backend.inputs(), -backend.inputs()])
        chosen: list[tuple[int, ...]] = []

        def plan_for(info: DeviceInfo) -> ExecutionPlan:
            plan = lower(backend.network(), info, {"damped": backend.Damped()}, {}, backend.LEVELS, keep_activations=True)
            chosen[:] = plan.levels
            return plan

        plan_for(DeviceInfo(name="generic", driver="", runtime=""))
        jobs = [
            SimpleNamespace(samples=samples, runs=((chosen[0], None), (chosen[1], 1), (chosen[2], None)))
            for samples in ((0, 1), (3, 2), (2,))
        ]
        found = dict(_once(workers.outputs(plan_for, inputs, jobs)))
        assert set(found) == {0, 1, 2}, "every job has an answer"
        for index, job in enumerate(jobs):
            x = inputs[list(job.samples)]
            x = np.concatenate([x, x])[:2]
            for level, output in enumerate(found[index]):
                wanted = backend.expected(backend.network(), level, x)[: len(job.samples)]
                assert output.dtype == np.float32
                assert output.shape == wanted.shape
                assert np.abs(output - wanted).max() <= backend.TOLERANCE * np.abs(wanted).max(), f"job {index}, level {level}"


def _once(answers: Any) -> Iterator[tuple[int, Any]]:
    seen = set()
    for index, outputs in answers:
        assert index not in seen, f"job {index} was answered twice"
        seen.add(index)
        yield index, outputs
