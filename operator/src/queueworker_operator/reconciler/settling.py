"""From what is seen to what is written: decide, look closer where a write would follow, decide again, write."""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.port import Cluster, Key, Resource
from queueworker_operator.metrics import Metrics
from queueworker_operator.reconciler import listing
from queueworker_operator.reconciler.applying import Applier
from queueworker_operator.reconciler.failpoints import Failpoint, reach
from queueworker_operator.reconciler.look import Applied
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.observing import FRESH_SECONDS, Observer
from queueworker_operator.reconciler.rush import Rush
from queueworker_operator.reconciler.steps import Step
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.history import unwritten
from queueworker_operator.scaling.observation import Observation, QueueObservation
from queueworker_operator.scaling.overrides import overrides_of


class Need(Flag):
    """What must be looked at again before a write."""

    WORKERS = auto()
    PODS = auto()
    QUEUES = auto()
    """The queues themselves;"""
    DETAILS = auto()
    """with their details."""


NOTHING = Need(0)
UNLISTED_SECONDS = 10.0
"""A scale-in that waits for a list of the pods is not told of sooner: servers are restarted now and then.

What the user says waits no longer than that; the ReplicaSet controller chooses by itself then.
"""
LONGEST_UNLISTED_SECONDS = 600.0
"""Any other scale-in waits no longer than that: more pods than needed are no state to stay in."""
_OF_THE_USER = frozenset({ScalingReason.PINNED, ScalingReason.FIXED_REPLICAS, ScalingReason.AT_MAXIMUM})


class Settler:
    """Brings one QueueWorker to what its queues ask for."""

    def __init__(
        self,
        cluster: Cluster,
        observer: Observer,
        metrics: Metrics,
        *,
        rush: Rush,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`now` is Unix seconds, `clock` that of the loop and the readers."""
        self._cluster = cluster
        self._observer = observer
        self._metrics = metrics
        self._rush = rush
        self._now = now
        self._clock = clock

    async def settle(
        self, resource: Resource, spec: QueueWorkerSpec, memory: Memory, queues: tuple[QueueObservation, ...]
    ) -> tuple[Observation, Decision]:
        """Decide and write; return what that rested on. Raises ConflictError and ClusterUnavailableError."""
        workers = await self._observer.workers(resource, memory)
        observation, got = Observation(queues=queues, workers=workers), NOTHING
        while True:
            now = self._now()
            listing.remember(memory, observation.queues, observation.workers, self._clock())
            applier = Applier(self._cluster, resource, memory, rush=self._rush, now=now, clock=self._clock)
            overrides = overrides_of(resource.annotations)
            decision = decide(observation, spec, memory.history, now, overrides=overrides)
            steps = applier.steps(observation.workers, decision)
            if _rests_on_pods(steps, observation, decision) and self._waits_for_pods(memory, decision):
                steps.remove(Step.SCALE)
            needs = self._needs(resource.key, memory, observation, decision, steps) & ~got
            if not needs:
                break
            got |= needs
            observation = await self._look_closer(resource, spec, memory, observation, needs, got=got)
        await self._carry_out(resource, memory, applier, steps, observation, decision)
        return observation, decision

    def _needs(self, key: Key, memory: Memory, observation: Observation, decision: Decision, steps: list[Step]) -> Need:
        if Step.CREATE in steps or (Step.SCALE in steps and _from_zero(observation, memory)):
            # The first worker waits for nothing, the resourceVersion guards the write; but for one that would come to
            # jobs of which nobody knows whether somebody else runs them.
            return Need.QUEUES | Need.DETAILS if _guesses_orphans(decision) else NOTHING
        needs = NOTHING
        if Step.SCALE in steps:
            needs |= Need.WORKERS
            # Where pods were listed just now, and none was in trouble, nothing new is known of why they are not ready.
            listed = self._clock() - memory.pods.listed_at <= FRESH_SECONDS
            healthy = observation.workers.pods is not None or observation.workers.pod_problem is None
            needs |= Need.PODS if decision.wants_pods and not (listed and healthy) else NOTHING
            needs |= Need.QUEUES | Need.DETAILS if decision.wants_details else NOTHING
        if _shrinks(steps, observation, decision):
            needs |= Need.PODS
            needs |= Need.QUEUES if self._observer.queues_age(key) > FRESH_SECONDS else NOTHING
        if self._observer.pods_due_in(memory, observation.queues) <= 0:
            needs |= Need.PODS
        return needs

    async def _look_closer(
        self,
        resource: Resource,
        spec: QueueWorkerSpec,
        memory: Memory,
        observation: Observation,
        needs: Need,
        *,
        got: Need,
    ) -> Observation:
        queues, workers = observation.queues, observation.workers
        if needs & (Need.QUEUES | Need.DETAILS):
            queues = await self._observer.queues_anew(resource, spec, memory, details=Need.DETAILS in needs)
        if needs & (Need.WORKERS | Need.PODS):
            pods = Need.PODS in needs
            workers = await self._observer.workers(resource, memory, fresh=Need.WORKERS in needs, pods=pods)
            if not got & (Need.QUEUES | Need.DETAILS):
                # They may have been read meanwhile. What was asked for and could not be read stays unknown.
                queues = self._observer.queues(resource, spec, memory) or queues
            if pods and not memory.pods.is_unavailable:
                listing.explain(memory, queues, workers, self._clock())
        return Observation(queues=queues, workers=workers)

    def _waits_for_pods(self, memory: Memory, decision: Decision) -> bool:
        """Whether a scale-in is to wait until the pods can be listed again; that it does for long is told once.

        In the end it goes on as where they may not be listed.
        """
        pods, at = memory.pods, self._clock()
        waited = at - pods.unlisted_since
        if pods.unlisted is None or not pods.is_paused(at) or waited >= LONGEST_UNLISTED_SECONDS:
            return False
        if waited < UNLISTED_SECONDS:
            return True
        if decision.reason in _OF_THE_USER:
            return False
        if not pods.told_waiting:
            pods.told_waiting = True
            why = f"the scale-in to {decision.desired} waits for a list of the pods: {pods.unlisted.problem.message}"
            memory.untold.append(Applied(reason=pods.unlisted.problem.reason, message=why, warning=True))
        return True

    async def _carry_out(
        self,
        resource: Resource,
        memory: Memory,
        applier: Applier,
        steps: list[Step],
        observation: Observation,
        decision: Decision,
    ) -> None:
        before = memory.history
        changes = decision.write and decision.desired != decision.current
        memory.history = unwritten(decision.history, before) if changes else decision.history
        memory.decision = decision
        if Step.SCALE in steps or Step.CREATE in steps:
            reach(Failpoint.AFTER_DECIDE)
        try:
            await applier.carry_out(steps, observation.workers, decision)
        finally:
            memory.untold += applier.done
            if applier.scaled:
                memory.history = decision.history
                if decision.desired != decision.current:
                    self._metrics.scaled(*resource.key, decision)


def _from_zero(observation: Observation, memory: Memory) -> bool:
    return observation.workers.replicas == 0 and not memory.workers_doubtful


def _guesses_orphans(decision: Decision) -> bool:
    return decision.wants_details and decision.reason is ScalingReason.ORPHAN_RESCUE


def _rests_on_pods(steps: list[Step], observation: Observation, decision: Decision) -> bool:
    """Whether it matters which pods go: where no job runs it does not."""
    return _shrinks(steps, observation, decision) and bool(decision.inputs.active)


def _shrinks(steps: list[Step], observation: Observation, decision: Decision) -> bool:
    return Step.SCALE in steps and decision.desired < observation.workers.replicas
