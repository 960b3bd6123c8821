"""Tell the cluster what was seen and decided: the status when it says something new, events on transitions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason, ConditionType
from queueworker_operator.cluster.port import Cluster, ClusterError, ClusterUnavailableError, GoneError, Resource
from queueworker_operator.conditions import Facts, conditions, transitions
from queueworker_operator.reconciler.budget import Budget
from queueworker_operator.reconciler.look import Applied
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.history import optional_stamp
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.record import Difference, difference, scaling_status

logger = logging.getLogger(__name__)

STATUS_SECONDS = 10.0
"""Between two status writes of one object that tell of numbers alone."""
FIRST_STATUS_SECONDS = 2.0
"""How long the first status of all waits for the Deployment controller: mostly one write will do instead of two."""
STATUS_WRITES_PER_SECOND = 20
NUMBER_WRITES_PER_SECOND = 5
"""Of those, at most so many may tell of numbers alone: what is decided must not wait behind them."""
RETRY_SECONDS = 30.0


def build_status(
    observation: Observation, decision: Decision, facts: Facts, memory: Memory, *, now: float
) -> api.QueueWorkerStatus:
    """Return the status as it should be; `now` is Unix seconds."""
    previous = memory.status or api.QueueWorkerStatus()
    scaling = scaling_status(decision, observation, previous=previous.scaling)
    kept = {"applied_fields": memory.applied_fields, "drift_corrected_at": optional_stamp(memory.drift_corrected_at)}
    workers = observation.workers
    return api.QueueWorkerStatus(
        observed_generation=facts.generation,
        replicas=workers.present,
        ready_replicas=workers.ready,
        selector=workers.selector or None,
        scaling=scaling.model_copy(update={"memory": (scaling.memory or api.Memory()).model_copy(update=kept)}),
        conditions=list(conditions(observation, decision, facts, previous.conditions or (), now)),
    )


class Reporter:
    """Writes statuses within the budget."""

    def __init__(self, cluster: Cluster, *, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._all = Budget(STATUS_WRITES_PER_SECOND, clock, burst=STATUS_WRITES_PER_SECOND)
        self._numbers = Budget(NUMBER_WRITES_PER_SECOND, clock)

    async def report(self, resource: Resource, memory: Memory, status: api.QueueWorkerStatus) -> float | None:
        """Write the status if it is worth it; return in how many seconds to ask again where it has to wait.

        Raises ClusterUnavailableError and GoneError.
        """
        warnings = memory.decision.warnings if memory.decision is not None else ()
        memory.warned.look(memory.status, warnings, self._clock())
        urgency = difference(memory.status, status)
        if urgency is Difference.NONE:
            self._use_slots(memory)
            return None
        pause = self._pause(memory, status, urgency)
        if pause > 0:
            return pause
        self._use_slots(memory)
        try:
            await self._cluster.write_status(resource, status)
        except (ClusterUnavailableError, GoneError):
            raise
        except ClusterError as error:
            logger.warning("%s: the status cannot be written: %s", resource.key, error)
            memory.status_refused_until = self._clock() + RETRY_SECONDS
            return RETRY_SECONDS
        before, memory.status, memory.status_written_at = memory.status, status, self._clock()
        for event in transitions(before, status):
            if event.kind == "Normal" or not memory.warned.knows(event.reason):
                await self._publish(resource, kind=event.kind, reason=event.reason, message=event.message)
        return None

    def _pause(self, memory: Memory, status: api.QueueWorkerStatus, urgency: Difference) -> float:
        """Return how long to wait. A slot is reserved once and kept: who waits does not ask over and over."""
        now, slots = self._clock(), memory.status_slots
        if memory.status_refused_until > now:
            return memory.status_refused_until - now
        if memory.status is None and _settles_soon(status):
            if memory.first_status_until is None:
                memory.first_status_until = now + FIRST_STATUS_SECONDS
            if memory.first_status_until > now:
                return memory.first_status_until - now
        if urgency is Difference.NUMBERS:
            pause = memory.status_written_at + STATUS_SECONDS - now
            if pause > 0:
                return pause
            if urgency not in slots:
                slots[urgency] = self._numbers.reserve()
            if slots[urgency] > now:
                return slots[urgency] - now
        if Difference.DECISION not in slots:
            slots[Difference.DECISION] = self._all.reserve()
        return slots[Difference.DECISION] - now

    def _use_slots(self, memory: Memory) -> None:
        """Let go of what is used up. A slot that is still to come is kept: a new one would be behind all the others."""
        now = self._clock()
        memory.status_slots = {urgency: at for urgency, at in memory.status_slots.items() if at > now}

    async def tell(self, resource: Resource, done: Iterable[Applied]) -> None:
        """Publish what was done to the template."""
        for one in done:
            kind = "Warning" if one.warning else "Normal"
            await self._publish(resource, kind=kind, reason=one.reason, message=one.message)

    async def _publish(self, resource: Resource, *, kind: str, reason: str, message: str) -> None:
        logger.log(logging.WARNING if kind == "Warning" else logging.INFO, "%s: %s: %s", resource.key, reason, message)
        try:
            await self._cluster.publish(resource, kind=kind, reason=reason, message=message)
        except ClusterError as error:
            # An event is a courtesy: it must not keep the next decision waiting.
            logger.warning("%s: an event cannot be published: %s", resource.key, error)


def _settles_soon(status: api.QueueWorkerStatus) -> bool:
    """Whether only the rollout of no workers is still to be seen: no pod has to start for it."""
    number = status.scaling.desired if status.scaling is not None else None
    return number == 0 and any(
        condition.type is ConditionType.READY and condition.reason == ConditionReason.ROLLING_OUT
        for condition in status.conditions or ()
    )
