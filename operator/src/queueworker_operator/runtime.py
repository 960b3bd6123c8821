"""The operator's own loop on worker processes of this host: the engine of `queueworker up` and of the demo."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from prometheus_client import CollectorRegistry

from queueworker_operator.api.v1alpha1 import QueueWorkerStatus
from queueworker_operator.cluster.local import LocalCluster, LocalSettings, log_to_stderr
from queueworker_operator.cluster.local_process import LocalWorker, Patience
from queueworker_operator.cluster.port import Key
from queueworker_operator.documents import Documents
from queueworker_operator.loop import Loop
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Pace, Queues, Reading
from queueworker_operator.reconciler import Reconciler, ReconcilerSettings
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import WorkersObservation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One QueueWorker at one moment; None is unknown."""

    key: Key
    queues: tuple[str, ...]
    desired: int | None
    replicas: int
    """Processes that run and are not ending."""
    ready: int
    ending: int
    """Processes that finish their jobs and end then."""
    backlog: int | None
    active: int | None
    delayed: int | None
    oldest_age_seconds: float | None
    reason: str
    message: str
    problem: str | None
    """Why nobody works on it, or nobody knows: a queue that cannot be read, a target, a worker that is not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """How the local runtime runs."""

    modules: Sequence[str] = ()
    """Modules with processors, for QueueWorkers without a command of their own."""
    environment: Mapping[str, str] | None = field(default=None, repr=False)
    """What the workers inherit; this process's own environment where it is None."""
    pace: Pace = field(default_factory=Pace)
    patience: Patience = field(default_factory=Patience)
    log: Callable[[str, str], None] = log_to_stderr
    """Gets every line that a worker writes, after the worker's name."""


class LocalRuntime:
    """Runs QueueWorkers on this host. `start`, then `rows` as often as you like, `stop` in the end.

    ```
    async with LocalRuntime(documents, settings) as runtime:
        await runtime.wait()
    ```
    """

    def __init__(self, documents: Documents, settings: RuntimeSettings | None = None) -> None:
        self._documents = documents
        self._settings = settings or RuntimeSettings()
        self._store = {resource.key: resource for resource in documents.resources}
        self._directory = TemporaryDirectory(prefix="queueworker-up-")
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> LocalRuntime:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begin to look at all QueueWorkers."""
        settings, directory = self._settings, Path(self._directory.name)
        inherited = {} if settings.environment is None else {"environment": settings.environment}
        local = LocalSettings(
            directory=directory, modules=settings.modules, log=settings.log, patience=settings.patience, **inherited
        )
        self.cluster = LocalCluster(self._documents.objects, local, changed=self._workers_changed)
        self._queues: Queues[Key] = Queues(
            wake=self._queue_spoke, clock=time.monotonic, random=random.random, pace=settings.pace
        )
        self._reconciler = Reconciler(
            store=self._store,
            cluster=self.cluster,
            queues=self._queues,
            metrics=Metrics(CollectorRegistry(), clock=time.monotonic),
            settings=ReconcilerSettings(tls_directory=directory, allow_local_redis=True),
            now=time.time,
            clock=time.monotonic,
            tell_in=lambda key, seconds: self._telling.wake_in(key, seconds),
        )
        self._loop: Loop[Key] = Loop(self._reconciler, clock=time.monotonic, random=random.random)
        self._telling: Loop[Key] = Loop(self._reconciler.tell, clock=time.monotonic, random=random.random)
        self._task = asyncio.create_task(self._run(), name="loops")
        for key in self._store:
            self._loop.wake(key)

    async def wait(self) -> None:
        """Wait until the loop ends, which it does only by an error; raises that."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def rows(self) -> list[Row]:
        """Return every QueueWorker as it is at this moment, in the order of the files."""
        return [self._row(key) for key in self._store]

    def status(self, key: Key) -> QueueWorkerStatus | None:
        """Return the status that the operator wrote last."""
        return self.cluster.status(key)

    def decision(self, key: Key) -> Decision | None:
        """Return the last decision on a QueueWorker."""
        return self._reconciler.decision(key)

    def workers(self, key: Key) -> tuple[LocalWorker, ...]:
        """Return the workers of a QueueWorker, those that are ending too."""
        return self.cluster.workers(key)

    async def stop(self) -> None:
        """Scale no more, drain all workers, and wait until they have ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self._queues.close()
            await self.cluster.close()
        self._directory.cleanup()

    def hurry(self) -> None:
        """Let workers that are draining give back their jobs at once."""
        self.cluster.hurry()

    async def _run(self) -> None:
        tasks = [asyncio.create_task(loop.run()) for loop in (self._loop, self._telling)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _queue_spoke(self, key: Key) -> None:
        self._loop.wake(key, urgent=self._reconciler.is_urgent(key))

    def _workers_changed(self, key: Key) -> None:
        self._loop.wake_in(key, self._reconciler.workers_changed(key))

    def _row(self, key: Key) -> Row:
        spec = self._store[key].spec
        workers = self.cluster.look(self._store[key])
        decision = self._reconciler.decision(key)
        readings = self._queues.readings(key)
        known = [reading.snapshot for reading in readings if reading.snapshot is not None and reading.problem is None]
        whole = bool(known) and len(known) == len(readings)
        ages = [snapshot.oldest_age_seconds for snapshot in known if snapshot.oldest_age_seconds is not None]
        return Row(
            key=key,
            queues=tuple(queue.name for queue in spec.queues) if spec is not None else (),
            desired=decision.desired if decision is not None else None,
            replicas=workers.present,
            ready=workers.ready,
            ending=sum(worker.stopping for worker in self.cluster.workers(key)),
            backlog=sum(snapshot.backlog for snapshot in known) if whole else None,
            active=sum(snapshot.active for snapshot in known) if whole else None,
            delayed=sum(snapshot.delayed for snapshot in known) if whole else None,
            oldest_age_seconds=max(ages, default=None) if whole else None,
            reason=decision.reason if decision is not None else "",
            message=decision.message if decision is not None else "",
            problem=_problem(readings, workers),
        )


def _problem(readings: Sequence[Reading], workers: WorkersObservation) -> str | None:
    """Return what is wrong; of several the cause of the others first."""
    unread = [reading.problem for reading in readings if reading.tried]
    problems = [workers.target_problem, *unread, workers.pod_problem]
    return next((problem.message for problem in problems if problem is not None), None)
