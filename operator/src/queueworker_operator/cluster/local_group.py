"""The workers of one QueueWorker on this host: as many as asked for, of the revision asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.local_launch import Launch
from queueworker_operator.cluster.local_process import LocalWorker, Patience
from queueworker_operator.manifests.names import selector
from queueworker_operator.scaling.observation import Ownership, Pod, Problem, WorkersObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What a worker is started from; the template of a Deployment."""

    fingerprint: str
    launch: Callable[[str], Launch]
    """From a worker's name to how it is started."""
    grace_seconds: float


class LocalGroup:
    """Keeps `replicas` workers of the newest revision alive; replaces others one by one, a new one ready first."""

    def __init__(
        self,
        *,
        name: str,
        uid: str,
        changed: Callable[[], None],
        log: Callable[[str, str], None],
        patience: Patience,
    ) -> None:
        self._name = name
        self._uid = uid
        self._changed = changed
        self._log = log
        self._patience = patience
        self._revisions: list[Revision] = []
        self._replicas = 0
        self._writes = 0
        self._workers: list[LocalWorker] = []

    @property
    def workers(self) -> tuple[LocalWorker, ...]:
        """All workers that have a process or will have one, those that are ending too."""
        return tuple(self._workers)

    @property
    def version(self) -> str:
        """Changes with every write of what is asked for."""
        return str(self._writes)

    def ask(self, *, replicas: int | None = None, revision: Revision | None = None) -> None:
        """Ask for another number or another revision."""
        self._writes += 1
        if revision is not None:
            self._revisions.append(revision)
        if replicas is not None:
            self._replicas = replicas
        self._settle()

    def observe(self) -> WorkersObservation:
        """Return the workers as they are."""
        staying = self._staying()
        ready = sum(worker.ready for worker in staying)
        current = [worker for worker in staying if worker.revision == len(self._revisions)]
        problem = next((worker.problem for worker in staying if worker.problem), None)
        return WorkersObservation(
            ownership=Ownership.OURS,
            replicas=self._replicas,
            ready=ready,
            present=len(staying),
            selector=selector(self._name),
            fingerprint=self._revisions[-1].fingerprint,
            rollout_complete=len(current) == len(staying),
            pod_problem=Problem(reason=ConditionReason.WORKERS_NOT_READY, message=problem) if problem else None,
            resource_version=self.version,
            uid=self._uid,
            pods=tuple(_pod(worker) for worker in self._workers),
        )

    def set_deletion_costs(self, costs: Mapping[str, int | None]) -> None:
        """Say who goes first in the next scale-in: the lowest cost; None is that of all others, 0."""
        for worker in self._workers:
            if worker.name in costs:
                worker.deletion_cost = costs[worker.name]

    async def drain(self) -> None:
        """End all workers gently and wait for them."""
        self._replicas = 0
        self._settle()
        await asyncio.gather(*(worker.gone() for worker in self._workers))

    def hurry(self) -> None:
        """Let workers that are ending give back their jobs now."""
        for worker in self._workers:
            if worker.stopping:
                worker.hurry()

    def _staying(self) -> list[LocalWorker]:
        return [worker for worker in self._workers if not worker.stopping]

    def _settle(self) -> None:
        newest = len(self._revisions)
        staying = self._staying()
        outdated = [worker for worker in staying if worker.revision != newest]
        current = [worker for worker in staying if worker.revision == newest]
        surge = 1 if outdated else 0
        for _ in range(min(self._replicas - len(current), self._replicas + surge - len(staying))):
            self._start(newest)
        for worker in self._surplus(outdated, current):
            worker.stop()

    def _surplus(self, outdated: list[LocalWorker], current: list[LocalWorker]) -> list[LocalWorker]:
        """Choose who ends: never more than leaves `replicas` of them ready, while a rollout is under way."""
        ready = sum(worker.ready for worker in current)
        kept = max(0, self._replicas - ready)
        leaving = _expendable_first(outdated)[: max(0, len(outdated) - kept)]
        return leaving + _expendable_first(current)[: max(0, len(current) - self._replicas)]

    def _start(self, revision: int) -> None:
        name = self._free_name()
        template = self._revisions[revision - 1]
        self._workers.append(
            LocalWorker(
                name=name,
                revision=revision,
                launch=lambda: template.launch(name),
                grace_seconds=template.grace_seconds,
                changed=self._worker_changed,
                log=self._log,
                patience=self._patience,
            )
        )

    def _free_name(self) -> str:
        taken = {worker.name for worker in self._workers}
        return next(name for n in range(1, len(taken) + 2) if (name := f"{self._name}-{n}") not in taken)

    def _worker_changed(self) -> None:
        self._workers = [worker for worker in self._workers if not worker.ended]
        self._settle()
        self._changed()


def _expendable_first(workers: list[LocalWorker]) -> list[LocalWorker]:
    """Order workers by deletion cost, then those that are not ready, then the youngest.

    A ReplicaSet looks at readiness before the cost; here the cost says who is idle, and an idle worker should go also
    where a busy one just failed its probe.
    """
    return sorted(reversed(workers), key=lambda worker: (worker.deletion_cost or 0, worker.ready))


def _pod(worker: LocalWorker) -> Pod:
    problem = Problem(reason=ConditionReason.WORKERS_NOT_READY, message=worker.problem) if worker.problem else None
    return Pod(
        name=worker.name,
        ready=worker.ready and not worker.stopping,
        terminating=worker.stopping,
        created_at=worker.created_at,
        scheduled_at=worker.created_at,
        ready_at=worker.ready_at,
        problem=problem,
        deletion_cost=worker.deletion_cost,
    )
