"""Look at the Secrets, the queues and the workers of a QueueWorker: reads alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.connection import connection_settings
from queueworker_operator.cluster.port import Cluster, ClusterError, Key, Resource
from queueworker_operator.conditions.reading import FAILURES
from queueworker_operator.queues import Queues, Reading
from queueworker_operator.reconciler import listing, secrets
from queueworker_operator.reconciler.budget import Budget
from queueworker_operator.reconciler.memory import LONG_AGO, Memory
from queueworker_operator.reconciler.settings import ReconcilerSettings
from queueworker_operator.scaling.observation import (
    HORIZON_SECONDS,
    Ownership,
    Problem,
    QueueObservation,
    WorkersObservation,
)

REFRESH_SECONDS = 2.0
"""How long a decision waits for a reading that it asked for."""
FRESH_SECONDS = 1.0
"""A scale-in rests on no reading that is older."""


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
        self._lists = Budget(listing.LISTS_PER_SECOND, clock, burst=listing.LISTS_AT_ONCE)

    async def secrets(self, resource: Resource, memory: Memory) -> None:
        """Read the Secrets again if it is time; raises ClusterUnavailableError where they are not known already."""
        if self._secrets_due_in(resource.key, memory) <= 0:
            await secrets.refresh(self._cluster, resource, memory, now=self._clock())

    def queues(self, resource: Resource, spec: QueueWorkerSpec, memory: Memory) -> tuple[QueueObservation, ...] | None:
        """Return the queues as they were read; None as long as one of them was not tried yet."""
        try:
            settings, keys = self._connection(spec, memory)
        except ClusterError as error:
            self._queues.unsubscribe(resource.key)
            known = memory.secrets_problem or Problem(reason=error.reason, message=str(error))
            return tuple(
                QueueObservation(name=q.name, concurrency=q.concurrency, problem=known, failures=FAILURES)
                for q in spec.queues
            )
        self._queues.subscribe(resource.key, settings, keys, horizon_seconds=_horizon(memory))
        readings = self._queues.readings(resource.key)
        if not all(reading.tried for reading in readings):
            return None
        offset = self._now() - self._clock()
        return tuple(
            _queue_observation(queue.name, queue.concurrency, reading, self._sharers(resource.key, own), offset=offset)
            for queue, own, reading in zip(spec.queues, keys, readings, strict=True)
        )

    async def queues_anew(
        self, resource: Resource, spec: QueueWorkerSpec, memory: Memory, *, details: bool
    ) -> tuple[QueueObservation, ...]:
        """Read the queues now and return them; what could not be read in time is unknown, its details alone or all."""
        asked_at = self._clock()
        await self._queues.refresh(resource.key, details=details, within=REFRESH_SECONDS)
        found = self.queues(resource, spec, memory) or ()
        readings = self._queues.readings(resource.key)
        if not readings:
            return found
        return tuple(
            _as_read(seen, reading, asked_at, details=details) for seen, reading in zip(found, readings, strict=True)
        )

    def queues_age(self, key: Key) -> float:
        """Return how many seconds ago the queue was read that was read longest ago."""
        at = [reading.read_at for reading in self._queues.readings(key)]
        return self._clock() - min((-math.inf if one is None else one for one in at), default=-math.inf)

    def news_at(self, key: Key) -> float | None:
        """Return when (by the clock) the newest happened of what was read; None where nothing was."""
        at = (reading.event_at for reading in self._queues.readings(key))
        return max((one for one in at if one is not None), default=None)

    async def workers(
        self, resource: Resource, memory: Memory, *, fresh: bool = False, pods: bool = False
    ) -> WorkersObservation:
        """Return the workers, as they were seen where nothing says that they changed.

        `fresh`: by a look of our own at any rate; `pods`: with the pods as they are now, unless a list of them failed a
        moment ago. The first look of all takes what the watch told: after a start that of a thousand QueueWorkers would
        else be a thousand requests. Raises ClusterUnavailableError where it is not the pods alone that are unknown.
        """
        seen_before = memory.workers is not None
        fresh = fresh or memory.workers_doubtful or (seen_before and self._look_due_in(memory) <= 0)
        paused = memory.pods.is_paused(self._clock())
        pods = pods and not paused
        if fresh or pods or memory.workers_stale or memory.workers is None:
            # An event that comes during the request makes it stale again.
            memory.workers_stale = memory.workers_doubtful = False
            try:
                seen = await self._cluster.observe(
                    memory.with_memory(resource), fresh=fresh, pods=None if paused else pods
                )
            except BaseException:
                memory.workers_stale = memory.workers_doubtful = True
                raise
            if fresh or pods:
                memory.pods.turn_at = LONG_AGO
            if pods:
                memory.pods.listed_at = self._clock()
            memory.saw(seen, self._clock(), now=self._now(), listed=None if paused else pods)
            return memory.workers or seen
        return memory.workers

    def pods_due_in(self, memory: Memory, queues: tuple[QueueObservation, ...]) -> float:
        """Return in how many seconds the pods are to be listed though no decision asks for them."""
        at = self._clock()
        due = listing.due_in(memory, queues, unsettled=self._settings.unsettled, at=at)
        return listing.turn_in(memory, due, self._lists, at=at)

    def due_in(self, key: Key, memory: Memory, queues: tuple[QueueObservation, ...]) -> Iterator[float]:
        """Yield in how many seconds something is to be read again."""
        yield self._look_due_in(memory)
        yield self._secrets_due_in(key, memory)
        yield self.pods_due_in(memory, queues)

    def _connection(self, spec: QueueWorkerSpec, memory: Memory) -> tuple[ConnectionSettings, tuple[QueueKeys, ...]]:
        if memory.connection is None:
            settings = connection_settings(
                spec.redis, memory.secrets, directory=self._settings.tls_directory, for_operator=True
            )
            memory.connection = settings, tuple(QueueKeys(spec.prefix, queue.name) for queue in spec.queues)
        return memory.connection

    def _sharers(self, key: Key, queue: QueueKeys) -> tuple[str, ...]:
        others = self._queues.sharers(key, queue)
        return tuple(other.name if other.namespace == key.namespace else str(other) for other in others)

    def _look_due_in(self, memory: Memory) -> float:
        workers, seen_at, at = memory.workers, memory.workers_seen_at, self._clock()
        if workers is not None and workers.ownership is Ownership.TARGET and workers.target_problem is None:
            due = seen_at + self._settings.target
        elif _is_settled(workers):
            due = memory.next_turn(seen_at, self._settings.resync)
        else:
            # With a list of the pods, as some are not ready.
            return listing.turn_in(memory, seen_at + self._settings.unsettled - at, self._lists, at=at)
        return due - at

    def _secrets_due_in(self, key: Key, memory: Memory) -> float:
        return secrets.due_in(memory, login_refused=self._login_refused(key), now=self._clock())

    def _login_refused(self, key: Key) -> bool:
        problems = [reading.problem for reading in self._queues.readings(key)]
        return any(problem is not None and problem.reason is ConditionReason.REDIS_AUTH_FAILED for problem in problems)


def _is_settled(workers: WorkersObservation | None) -> bool:
    if workers is None or workers.ownership is not Ownership.OURS:
        return False
    # Where there is no pod none can have a problem, and of the Deployment itself the watch tells.
    without_pods = workers.replicas == workers.present == 0
    return without_pods or (bool(workers.rollout_complete) and workers.ready >= workers.replicas)


def _horizon(memory: Memory) -> float:
    """Return how far ahead delayed jobs are to be counted, in whole seconds: every change is a new subscription."""
    decision = memory.decision
    seconds = HORIZON_SECONDS if decision is None else decision.inputs.start_up.horizon_seconds
    return float(math.ceil(seconds))


def _queue_observation(
    name: str, concurrency: int, reading: Reading, shared_with: tuple[str, ...], *, offset: float
) -> QueueObservation:
    """Return a reading as the decision sees it; `offset` makes Unix seconds of the reader's clock."""
    return QueueObservation(
        name=name,
        concurrency=concurrency,
        snapshot=reading.snapshot if reading.problem is None else None,
        problem=reading.problem,
        failures=reading.failures,
        failing_since=None if reading.failing_since is None else reading.failing_since + offset,
        details=reading.details,
        shared_with=shared_with,
    )


def _as_read(queue: QueueObservation, reading: Reading, asked_at: float, *, details: bool) -> QueueObservation:
    """Return the queue with what was read since it was asked for, with its `details` where they were asked for too."""
    if reading.problem is not None or reading.read_at is None or reading.read_at < asked_at:
        return _unread(queue)
    if details and (reading.details_at is None or reading.details_at < asked_at):
        # The counts hold nevertheless: each active job may be on a pod of its own then.
        return replace(queue, details=None)
    return queue


def _unread(queue: QueueObservation) -> QueueObservation:
    """Return the queue as unknown: an old reading must lower no number."""
    if queue.problem is not None:
        return queue
    problem = Problem(
        reason=ConditionReason.REDIS_UNREACHABLE,
        message=f"queue {queue.name} was not read again within {REFRESH_SECONDS:g} s, as a scale-in needs it",
    )
    return replace(queue, snapshot=None, problem=problem, failures=max(1, queue.failures))
