"""One look at one QueueWorker: observe, decide, apply; what was seen is handed on to be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.connection import refuse_local_hosts
from queueworker_operator.cluster.port import Cluster, ClusterError, ConflictError, GoneError, Key, Resource
from queueworker_operator.conditions import Facts
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Queues
from queueworker_operator.reconciler import drift
from queueworker_operator.reconciler.look import Look
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.observing import Observer
from queueworker_operator.reconciler.rush import Rush
from queueworker_operator.reconciler.settings import ReconcilerSettings
from queueworker_operator.reconciler.settling import Settler
from queueworker_operator.reconciler.steps import Step, can_apply, is_unfinished
from queueworker_operator.reconciler.telling import Teller
from queueworker_operator.scaling.decide import refuse
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import (
    Observation,
    Ownership,
    Problem,
    QueueObservation,
    WorkersObservation,
)
from queueworker_operator.scaling.overrides import is_paused, pause_source

FIRST_READ_SECONDS = 5.0
SHORTEST_SECONDS = 0.05
CONFLICTS = 5
"""Conflicts in a row after which the key waits as after a failure."""


class Reconciler:
    """`reconcile(key)` for the loop, and `tell(key)` for a second one. The store holds what the watches brought."""

    def __init__(
        self,
        *,
        store: MutableMapping[Key, Resource],
        cluster: Cluster,
        queues: Queues[Key],
        metrics: Metrics,
        settings: ReconcilerSettings,
        now: Callable[[], float],
        clock: Callable[[], float],
        tell_in: Callable[[Key, float], None],
        dropped: Callable[[Key], None] = lambda key: None,
    ) -> None:
        """`now` is Unix seconds, `clock` that of the loop and the readers.

        `tell_in` lets the second loop call `tell` with the key after so many seconds at the latest. `dropped` is called
        with a QueueWorker that was taken out of the store, as it is gone and no watch had told of that.
        """
        self._store = store
        self._queues = queues
        self._metrics = metrics
        self._settings = settings
        self._now = now
        self._clock = clock
        self._tell_in = tell_in
        self._dropped = dropped
        self._memories: dict[Key, Memory] = {}
        self._observer = Observer(cluster, queues, settings, now=now, clock=clock)
        self._rush = Rush()
        self._settler = Settler(cluster, self._observer, metrics, rush=self._rush, now=now, clock=clock)
        self.tell = Teller(cluster, metrics, self._memories, rush=self._rush, drop=self._drop, now=now, clock=clock)

    def workers_changed(self, key: Key) -> float:
        """Take note that the workers are no longer as they were seen; return in how many seconds to look at them.

        What the controllers do with those that are being created can wait while others are to be.
        """
        memory, at = self._memories.get(key), self._clock()
        if memory is None:
            return 0.0
        memory.workers_stale = True
        return self._rush.pause(at) if _is_new(memory.workers) and self._rush.is_on(at) else 0.0

    def decision(self, key: Key) -> Decision | None:
        """Return the last decision on a key."""
        memory = self._memories.get(key)
        return memory.decision if memory is not None else None

    def progress(self) -> int:
        """Return how many first looks and first decisions were made."""
        return sum(1 if memory.decision is None else 2 for memory in self._memories.values())

    def is_urgent(self, key: Key) -> bool:
        """Whether jobs wait for the first worker: then the key is looked at before all others."""
        memory = self._memories.get(key)
        if memory is not None and memory.workers is not None:
            none = memory.workers.replicas == 0
        else:
            resource = self._store.get(key)
            none = resource is not None and resource.status is not None and resource.status.replicas == 0
        return none and any(reading.busy for reading in self._queues.readings(key))

    async def __call__(self, key: Key) -> float | None:
        """Look once; return in how many seconds to look again at the latest, None when the key is gone.

        Raises ClusterUnavailableError, and ConflictError where it happens over and over.
        """
        resource = self._store.get(key)
        if resource is None or resource.deleting:
            self._forget(key)
            return None
        memory = self._remember(resource)
        try:
            again = await self._look(resource, memory)
        except GoneError:
            # A watch that is opened anew after an outage does not tell what was deleted meanwhile.
            self._drop(resource)
            return None
        except ConflictError:
            memory.workers_stale = memory.workers_doubtful = True
            memory.conflicts += 1
            if memory.conflicts > CONFLICTS:
                raise
            return 0.0
        memory.conflicts = 0
        return again

    async def _look(self, resource: Resource, memory: Memory) -> float:
        if memory.spec_problem is not None or resource.spec is None:
            self._queues.unsubscribe(resource.key)
            return await self._refuse(resource, memory, memory.spec_problem or _invalid(""))
        await self._observer.secrets(resource, memory)
        queues = self._observer.queues(resource, resource.spec, memory)
        if queues is None:
            # The first reading, or the first failure, wakes the key.
            return FIRST_READ_SECONDS
        return await self._settle(resource, resource.spec, memory, queues)

    async def _settle(
        self, resource: Resource, spec: QueueWorkerSpec, memory: Memory, queues: tuple[QueueObservation, ...]
    ) -> float:
        observation, decision = await self._settler.settle(resource, spec, memory, queues)
        facts = Facts(
            generation=resource.generation,
            apply_problem=self._apply_problem(memory),
            applied=_is_applied(memory),
            paused_by=pause_source(spec, by_annotation=is_paused(resource.annotations)),
        )
        if memory.history.fewer_reading is not None and not memory.history.confirmed:
            self._queues.wake_after_next_read(resource.key)
        self._hand_on(resource, memory, observation, decision, facts)
        due = self._observer.due_in(resource.key, memory, observation.queues)
        return self._again_in(decision, [*due, *self._retries(resource, memory)])

    async def _refuse(self, resource: Resource, memory: Memory, problem: Problem) -> float:
        workers = await self._observer.workers(resource, memory)
        observation = Observation(queues=(), workers=workers)
        decision = refuse(observation, memory.history, self._now(), problem=problem.message)
        memory.history = decision.history
        memory.decision = decision
        facts = Facts(generation=resource.generation, spec_problem=problem)
        self._hand_on(resource, memory, observation, decision, facts)
        due = self._observer.due_in(resource.key, memory, ())
        # Only the workers are read: what else is due stays so, and would call for the next look at once, for ever.
        return self._again_in(decision, [wait for wait in due if wait > 0])

    def _hand_on(
        self, resource: Resource, memory: Memory, observation: Observation, decision: Decision, facts: Facts
    ) -> None:
        """Let the look be told."""
        seen = Observation(queues=observation.queues, workers=memory.workers or observation.workers)
        self._metrics.decided(*resource.key, seen, decision, news_at=self._observer.news_at(resource.key))
        look = Look(resource=resource, observation=seen, decision=decision, facts=facts)
        self._tell_in(resource.key, self.tell.due_in(memory, look))

    def _again_in(self, decision: Decision, waits: Iterable[float]) -> float:
        """Return in how many seconds to look again, where something is to be done after each of `waits`."""
        recheck = [] if decision.recheck_at is None else [decision.recheck_at - self._now()]
        return max(SHORTEST_SECONDS, min([*waits, *recheck]))

    def _remember(self, resource: Resource) -> Memory:
        memory = self._memories.get(resource.key)
        if memory is None or memory.uid != resource.uid:
            self._forget(resource.key)
            memory = self._memories[resource.key] = Memory.of(resource, self._now())
        if memory.generation != resource.generation:
            memory.generation = resource.generation
            memory.workers_stale = True
            memory.spec_problem = self._spec_problem(resource)
            memory.forget_secrets()
        return memory

    def _spec_problem(self, resource: Resource) -> Problem | None:
        if resource.spec is None:
            return _invalid(resource.spec_error or "spec: cannot be read")
        if self._settings.allow_local_redis:
            return None
        try:
            refuse_local_hosts(resource.spec.redis)
        except ClusterError as error:
            return Problem(reason=error.reason, message=str(error))
        return None

    def _apply_problem(self, memory: Memory) -> Problem | None:
        if memory.secrets_problem is not None:
            return memory.secrets_problem
        for step, refusal in memory.refusals.items():
            if step != Step.COSTS:
                return refusal.problem
        return drift.fight(memory, self._now())

    def _retries(self, resource: Resource, memory: Memory) -> Iterator[float]:
        at = self._clock()
        yield from (refusal.again_at - at for refusal in memory.refusals.values())
        if not can_apply(resource, memory):
            return
        if memory.workers is not None and is_unfinished(memory.workers):
            yield self._rush.pause(at)
        if (pause := drift.due_in(memory, self._now())) is not None:
            yield pause

    def _drop(self, resource: Resource) -> None:
        if (known := self._store.get(resource.key)) is not None and known.uid == resource.uid:
            del self._store[resource.key]
            self._forget(resource.key)
            self._dropped(resource.key)

    def _forget(self, key: Key) -> None:
        self._queues.unsubscribe(key)
        if self._memories.pop(key, None) is not None:
            self._metrics.forget(*key)


def _is_new(workers: WorkersObservation | None) -> bool:
    """Whether they are being created."""
    return workers is not None and (workers.ownership is Ownership.ABSENT or is_unfinished(workers))


def _is_applied(memory: Memory) -> bool:
    """Whether the template is up to the spec; what is not ours has none of ours."""
    workers: WorkersObservation | None = memory.workers
    if workers is not None and workers.ownership is Ownership.TARGET:
        return workers.target_problem is None
    return workers is not None and workers.fingerprint == memory.fingerprint is not None


def _invalid(text: str) -> Problem:
    return Problem(reason=ConditionReason.SPEC_INVALID, message=text)
