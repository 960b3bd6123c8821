"""Tell the cluster what was seen and decided: the status when it says something new, events on transitions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.cluster.port import Cluster, ClusterError, ClusterUnavailableError, Resource
from queueworker_operator.conditions import Facts, conditions, transitions
from queueworker_operator.reconciler.applying import Applied
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.history import optional_stamp
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.record import Difference, difference, scaling_status

logger = logging.getLogger(__name__)

STATUS_SECONDS = 10.0
"""Between two status writes of one object that tell of numbers alone."""
STATUS_WRITES_PER_SECOND = 20
RETRY_SECONDS = 30.0


class Budget:
    """So many tokens a second, and as many at once."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = float(per_second)
        self._at = clock()

    def take(self) -> float:
        """Take a token and return 0, or return in how many seconds there will be one."""
        now = self._clock()
        self._left = min(self._per_second, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


def build_status(
    observation: Observation, decision: Decision, facts: Facts, memory: Memory, *, now: float
) -> api.QueueWorkerStatus:
    """Return the status as it should be; `now` is Unix seconds."""
    previous = memory.status or api.QueueWorkerStatus()
    scaling = scaling_status(decision, previous=previous.scaling)
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
        self._budget = Budget(STATUS_WRITES_PER_SECOND, clock)

    async def report(self, resource: Resource, memory: Memory, status: api.QueueWorkerStatus) -> float | None:
        """Write the status if it is worth it; return in how many seconds to ask again where it has to wait.

        Raises ClusterUnavailableError.
        """
        urgency = difference(memory.status, status)
        if urgency is Difference.NONE:
            return None
        if urgency is Difference.NUMBERS:
            pause = memory.status_written_at + STATUS_SECONDS - self._clock()
            if pause > 0:
                return pause
        if pause := self._budget.take():
            return pause
        try:
            await self._cluster.write_status(resource, status)
        except ClusterUnavailableError:
            raise
        except ClusterError as error:
            logger.warning("%s: the status cannot be written: %s", resource.key, error)
            return RETRY_SECONDS
        before, memory.status, memory.status_written_at = memory.status, status, self._clock()
        for event in transitions(before, status):
            await self._publish(resource, kind=event.kind, reason=event.reason, message=event.message)
        return None

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
