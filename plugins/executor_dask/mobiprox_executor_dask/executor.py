"""The executor ``dask``: jobs go to the workers of a cluster that exists; what a lost worker had is done again by others.

Plans and inputs are sent to every worker once. Workers whose devices differ get a plan each, made for their device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mobiprox_core.errors import DeviceError

from . import worker

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from distributed import Client, Future

    from mobiprox_core.experiment import Choice
    from mobiprox_core.interfaces import Floats, Job, Options
    from mobiprox_core.plan import DeviceInfo, ExecutionPlan

    PlanFor = Callable[[DeviceInfo], ExecutionPlan]

TARGET = "mobiprox-target"
"""The resource that a worker declares which has the device that latencies are wanted of."""

ATTEMPTS = 4
"""How often a job is given out before it counts as impossible."""

LOOK_S = 2.0
"""How often it is looked whether workers are still there."""

CONNECT_S = 10


class Dask:
    name = "dask"
    summary = "profiling and measuring on the workers of a Dask cluster"
    options: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "scheduler": {"type": "string", "description": "address of the cluster's scheduler, such as tcp://10.0.0.1:8786"},
            "target": {
                "type": "string",
                "minLength": 1,
                "default": TARGET,
                "description": "resource declared by workers with the target device; where none declares it, latencies are measured here",
            },
        },
        "required": ["scheduler"],
    }

    def open(self, options: Options, backend: Choice) -> Cluster:
        """Raises DeviceError where there is no scheduler, or no worker that can open the backend."""
        from distributed import Client

        address = options["scheduler"]
        try:
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as fault:
            raise DeviceError(
                f"there is no Dask scheduler at {address}: {fault}", mend="start one: dask scheduler, then dask worker"
            ) from fault
        cluster = Cluster(client, backend, options.get("target", TARGET))
        try:
            cluster.groups()
        except DeviceError:
            client.close()
            raise
        return cluster


class Cluster:
    """The workers of one scheduler, with one backend."""

    def __init__(self, client: Client, backend: Choice, target: str) -> None:
        self.client = client
        self.device = (backend.name, dict(backend.options))
        self.target = target
        self._infos: dict[str, DeviceInfo | str] = {}

    def groups(self) -> dict[DeviceInfo, list[str]]:
        """Addresses of the workers that are there, by their device. Raises DeviceError where none can open it."""
        there = self.client.scheduler_info(n_workers=-1)["workers"]
        new = [address for address in there if address not in self._infos]
        if new:
            self._infos |= self.client.run(worker.info, self.device, workers=new, on_error="return")
        found: dict[DeviceInfo, list[str]] = {}
        for address in there:
            info = self._infos.get(address)
            if info is not None and not isinstance(info, str | BaseException):
                found.setdefault(info, []).append(address)
        if not found:
            reasons = sorted({str(info) for address, info in self._infos.items() if address in there})
            raise DeviceError(
                f"no worker of {self.client.scheduler.address} can open the backend '{self.device[0]}'"
                + "".join(f"; {r}" for r in reasons),
                mend="start workers where Mobiprox and this backend are installed in the same versions",
            )
        return found

    def outputs(self, plan_for: PlanFor, inputs: Floats, jobs: Sequence[Job]) -> Iterator[tuple[int, tuple[Floats, ...]]]:
        """(number of the job, outputs float32[n, K] of its runs), as they are done."""
        pending, fault = list(range(len(jobs))), None
        for _ in range(ATTEMPTS):
            futures: dict[Future, int] = {}
            groups = self.groups()
            size = sum(map(len, groups.values()))
            first = 0
            for info, addresses in groups.items():  # each kind of device gets its share
                share = pending[first : first + -(-len(pending) * len(addresses) // size)]
                first += len(share)
                plan, data = self.client.scatter([plan_for(info), inputs], workers=addresses, broadcast=True, hash=False)
                futures |= {
                    self.client.submit(worker.run, self.device, plan, plan.key, data, jobs[n], workers=addresses, pure=False, retries=1): n
                    for n in share
                }
            pending = []
            for future, number in self._finished(futures):
                if future.status == "finished":
                    yield number, future.result()
                else:
                    fault = future.exception() if future.status == "error" else None
                    pending.append(number)
            if not pending:
                return
        raise DeviceError(
            f"the cluster gave {len(pending)} jobs up after {ATTEMPTS} attempts: {fault}",
            mend="look at the workers' logs; --resume goes on from what was done",
        )

    def time(
        self,
        plan_for: PlanFor,
        sample: Floats,
        operators: Sequence[int] | None,
        variants: Sequence[Sequence[int]],
        seconds: float,
    ) -> list[npt.NDArray[np.float64]] | None:
        """As `Runner.time`, on a worker that declares the target device and does nothing else then; None where none declares it."""
        declared = {
            a for a, about in self.client.scheduler_info(n_workers=-1)["workers"].items() if self.target in about.get("resources", {})
        }
        for info, addresses in self.groups().items():
            chosen = [address for address in addresses if address in declared]
            if not chosen:
                continue
            plan, data = self.client.scatter([plan_for(info), sample], workers=chosen, broadcast=True, hash=False)
            future = self.client.submit(
                worker.time,
                self.device,
                plan,
                plan.key,
                data,
                operators,
                variants,
                seconds,
                workers=chosen,
                resources={self.target: 1},
                pure=False,
            )
            for done, _ in self._finished({future: 0}):
                if done.status != "finished":
                    raise DeviceError(f"the target device was lost: {done.status}", mend="start the worker again; --resume goes on")
            timed: list[npt.NDArray[np.float64]] = future.result()
            return timed
        return None

    def close(self) -> None:
        self.client.close()

    def _finished(self, futures: Mapping[Future, int]) -> Iterator[tuple[Future, int]]:
        """Futures that ended, well or not; those that wait for workers which are gone are given back as cancelled."""
        from distributed import wait

        left = dict(futures)
        while left:
            try:
                with self.client.as_current():
                    ended = wait(list(left), timeout=LOOK_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                ended = set()
            for future in ended:
                yield future, left.pop(future)
            if not ended and not set(self.client.scheduler_info(n_workers=-1)["workers"]) & set(self._infos):
                for future, number in left.items():
                    future.cancel()
                    yield future, number
                return
