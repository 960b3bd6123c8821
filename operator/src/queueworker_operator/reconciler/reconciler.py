"""One look at one QueueWorker: observe, decide, apply, report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.connection import refuse_local_hosts
from queueworker_operator.cluster.port import Cluster, ClusterError, ConflictError, GoneError, Key, Resource
from queueworker_operator.conditions import Facts
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Queues
from queueworker_operator.reconciler.applying import DRIFT_FIGHT, DRIFT_SECONDS, Applier
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.observing import Observer
from queueworker_operator.reconciler.reporting import Reporter, build_status
from queueworker_operator.reconciler.settings import ReconcilerSettings
from queueworker_operator.scaling.decide import decide, is_paused, pause_source, refuse
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.history import unwritten
from queueworker_operator.scaling.observation import Observation, Problem, QueueObservation

FIRST_READ_SECONDS = 5.0
SHORTEST_SECONDS = 0.05
CONFLICTS = 5
"""Conflicts in a row after which the key waits as after a failure."""


class Reconciler:
    """`reconcile(key)` for the loop. The store holds what the watches brought, by key."""

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
    ) -> None:
        """`now` is Unix seconds, `clock` that of the loop and the readers."""
        self._store = store
        self._cluster = cluster
        self._queues = queues
        self._metrics = metrics
        self._settings = settings
        self._now = now
        self._clock = clock
        self._memories: dict[Key, Memory] = {}
        self._observer = Observer(cluster, queues, settings, now=now, clock=clock)
        self._reporter = Reporter(cluster, clock=clock)

    def workers_changed(self, key: Key) -> None:
        """Take note that the workers are no longer as they were seen."""
        memory = self._memories.get(key)
        if memory is not None:
            memory.workers_stale = True

    def decision(self, key: Key) -> Decision | None:
        """Return the last decision on a key."""
        memory = self._memories.get(key)
        return memory.decision if memory is not None else None

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
            memory.workers_stale = True
            memory.conflicts += 1
            if memory.conflicts > CONFLICTS:
                raise
            return 0.0
        memory.conflicts = 0
        return again

    async def _look(self, resource: Resource, memory: Memory) -> float:
        problem = self._spec_problem(resource)
        if problem is not None or resource.spec is None:
            self._queues.unsubscribe(resource.key)
            return await self._refuse(resource, memory, problem or _invalid(""))
        await self._observer.secrets(resource, memory)
        queues = self._observer.queues(resource, resource.spec, memory)
        if queues is None:
            # The first reading, or the first failure, wakes the key.
            return FIRST_READ_SECONDS
        return await self._settle(resource, resource.spec, memory, queues)

    async def _settle(
        self, resource: Resource, spec: QueueWorkerSpec, memory: Memory, queues: tuple[QueueObservation, ...]
    ) -> float:
        now = self._now()
        paused = is_paused(resource.annotations)
        applier = Applier(self._cluster, resource, memory, now=now, clock=self._clock)
        seen_before = memory.workers_seen_at
        workers = await self._observer.workers(resource, memory)
        before = memory.history
        decision = decide(Observation(queues=queues, workers=workers), spec, before, now, paused_by_annotation=paused)
        steps = applier.steps(workers, decision)
        if steps and memory.workers_seen_at == seen_before:
            # What is written must rest on how the workers are, not on how they were.
            workers = await self._observer.workers(resource, memory, fresh=True)
            observation = Observation(queues=queues, workers=workers)
            decision = decide(observation, spec, before, now, paused_by_annotation=paused)
            steps = applier.steps(workers, decision)
        memory.history = unwritten(decision.history, before) if _changes(decision) else decision.history
        await applier.carry_out(steps, workers, decision)
        if applier.scaled:
            memory.history = decision.history
            self._scaled(resource.key, decision)
        await self._reporter.tell(resource, applier.done)
        facts = Facts(
            generation=resource.generation,
            apply_problem=self._apply_problem(memory),
            applied=memory.workers is not None and memory.workers.fingerprint == memory.fingerprint is not None,
            paused_by=pause_source(spec, by_annotation=paused),
        )
        return await self._report(resource, memory, Observation(queues=queues, workers=workers), decision, facts)

    async def _refuse(self, resource: Resource, memory: Memory, problem: Problem) -> float:
        workers = await self._observer.workers(resource, memory)
        observation = Observation(queues=(), workers=workers)
        decision = refuse(observation, memory.history, self._now(), problem=problem.message)
        memory.history = decision.history
        facts = Facts(generation=resource.generation, spec_problem=problem)
        return await self._report(resource, memory, observation, decision, facts)

    async def _report(
        self, resource: Resource, memory: Memory, observation: Observation, decision: Decision, facts: Facts
    ) -> float:
        now = self._now()
        memory.decision = decision
        seen = Observation(queues=observation.queues, workers=memory.workers or observation.workers)
        status = build_status(seen, replace(decision, history=memory.history), facts, memory, now=now)
        self._metrics.decided(*resource.key, seen, decision)
        self._metrics.conditions(*resource.key, status.conditions or ())
        if memory.history.fewer_reading is not None and not memory.history.confirmed:
            self._queues.wake_after_next_read(resource.key)
        pause = await self._reporter.report(resource, memory, status)
        waits = [*self._observer.due_in(resource.key, memory), *self._retries(memory)]
        if pause is not None:
            waits.append(pause)
        if decision.recheck_at is not None:
            waits.append(decision.recheck_at - now)
        return max(SHORTEST_SECONDS, min(waits))

    def _remember(self, resource: Resource) -> Memory:
        memory = self._memories.get(resource.key)
        if memory is None or memory.uid != resource.uid:
            self._forget(resource.key)
            memory = self._memories[resource.key] = Memory.of(resource, self._now())
        if memory.generation != resource.generation:
            memory.generation = resource.generation
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
        for refusal in memory.refusals.values():
            return refusal.problem
        last = memory.drift_corrected_at
        if memory.drift_fight and last is not None and self._now() - last < 2 * DRIFT_SECONDS:
            return Problem(reason=ConditionReason.DRIFT_FIGHT, message=DRIFT_FIGHT)
        return None

    def _retries(self, memory: Memory) -> Iterator[float]:
        at = self._clock()
        yield from (refusal.again_at - at for refusal in memory.refusals.values())
        if memory.workers is not None and memory.workers.drifted and memory.drift_corrected_at is not None:
            yield max(1.0, memory.drift_corrected_at + DRIFT_SECONDS - self._now())

    def _scaled(self, key: Key, decision: Decision) -> None:
        if decision.desired != decision.current:
            self._metrics.scaled(*key, decision)

    def _drop(self, resource: Resource) -> None:
        if (known := self._store.get(resource.key)) is not None and known.uid == resource.uid:
            del self._store[resource.key]
            self._forget(resource.key)

    def _forget(self, key: Key) -> None:
        self._queues.unsubscribe(key)
        if self._memories.pop(key, None) is not None:
            self._metrics.forget(*key)


def _invalid(text: str) -> Problem:
    return Problem(reason=ConditionReason.SPEC_INVALID, message=text)


def _changes(decision: Decision) -> bool:
    return decision.write and decision.desired != decision.current
