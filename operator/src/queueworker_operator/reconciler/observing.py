"""Look at the Secrets, the queues and the workers of a QueueWorker: reads alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from queueworker.keys import QueueKeys
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.connection import connection_settings
from queueworker_operator.cluster.port import Cluster, ClusterError, Key, Resource
from queueworker_operator.conditions.evaluate import FAILURES
from queueworker_operator.queues import Queues, Reading
from queueworker_operator.reconciler import secrets
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.settings import ReconcilerSettings
from queueworker_operator.scaling.observation import Ownership, Problem, QueueObservation, WorkersObservation


class Observer:
    """Reads what a decision rests on, and no more often than it may have changed."""

    def __init__(
        self,
        cluster: Cluster,
        queues: Queues[Key],
        settings: ReconcilerSettings,
        *,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`now` is Unix seconds, `clock` that of the loop and the readers."""
        self._cluster = cluster
        self._queues = queues
        self._settings = settings
        self._now = now
        self._clock = clock

    async def secrets(self, resource: Resource, memory: Memory) -> None:
        """Read the Secrets again if it is time; raises ClusterUnavailableError."""
        refused = self._login_refused(resource.key)
        if secrets.due_in(memory, login_refused=refused, now=self._clock()) <= 0:
            await secrets.read(self._cluster, resource, memory, now=self._clock())

    def queues(self, resource: Resource, spec: QueueWorkerSpec, memory: Memory) -> tuple[QueueObservation, ...] | None:
        """Return the queues as they were read; None as long as one of them was not tried yet."""
        keys = tuple(QueueKeys(spec.prefix, queue.name) for queue in spec.queues)
        try:
            settings = connection_settings(
                spec.redis, memory.secrets, directory=self._settings.tls_directory, for_operator=True
            )
        except ClusterError as error:
            self._queues.unsubscribe(resource.key)
            known = memory.secrets_problem or Problem(reason=error.reason, message=str(error))
            return tuple(
                QueueObservation(name=q.name, concurrency=q.concurrency, problem=known, failures=FAILURES)
                for q in spec.queues
            )
        self._queues.subscribe(resource.key, settings, keys)
        readings = self._queues.readings(resource.key)
        if not all(reading.tried for reading in readings):
            return None
        offset = self._now() - self._clock()
        return tuple(
            _queue_observation(queue.name, queue.concurrency, reading, offset=offset)
            for queue, reading in zip(spec.queues, readings, strict=True)
        )

    async def workers(self, resource: Resource, memory: Memory, *, fresh: bool = False) -> WorkersObservation:
        """Return the workers, as they were seen where nothing says that they changed; `fresh`: look at any rate."""
        if fresh or memory.workers is None or self._look_due_in(memory) <= 0:
            memory.workers_stale = True
        if memory.workers_stale or memory.workers is None:
            # An event that comes during the request makes it stale again.
            memory.workers_stale = False
            try:
                memory.saw(await self._cluster.observe(memory.with_memory(resource)), self._clock())
            except BaseException:
                memory.workers_stale = True
                raise
        return memory.workers or WorkersObservation()

    def due_in(self, key: Key, memory: Memory) -> Iterator[float]:
        """Yield in how many seconds something is to be read again."""
        yield self._look_due_in(memory)
        yield secrets.due_in(memory, login_refused=self._login_refused(key), now=self._clock())

    def _look_due_in(self, memory: Memory) -> float:
        workers = memory.workers
        settled = (
            workers is not None
            and workers.ownership is Ownership.OURS
            and workers.rollout_complete
            and workers.ready >= workers.replicas
        )
        period = self._settings.resync if settled else self._settings.unsettled
        return memory.workers_seen_at + period - self._clock()

    def _login_refused(self, key: Key) -> bool:
        problems = [reading.problem for reading in self._queues.readings(key)]
        return any(problem is not None and problem.reason is ConditionReason.REDIS_AUTH_FAILED for problem in problems)


def _queue_observation(name: str, concurrency: int, reading: Reading, *, offset: float) -> QueueObservation:
    """Return a reading as the decision sees it; `offset` makes Unix seconds of the reader's clock."""
    known = reading.problem is None
    return QueueObservation(
        name=name,
        concurrency=concurrency,
        snapshot=reading.snapshot if known else None,
        problem=reading.problem,
        failures=reading.failures,
        failing_since=None if reading.failing_since is None else reading.failing_since + offset,
    )
