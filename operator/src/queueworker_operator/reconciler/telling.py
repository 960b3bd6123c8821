"""The second lane: what was seen and done is told by tasks of its own, so that no write of a number waits for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from queueworker_operator.cluster.port import Cluster, GoneError, Key, Resource
from queueworker_operator.metrics import Metrics
from queueworker_operator.reconciler.failpoints import Failpoint, armed, reach
from queueworker_operator.reconciler.look import Look
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.reconciler.reporting import STATUS_SECONDS, Reporter, build_status
from queueworker_operator.reconciler.rush import Rush
from queueworker_operator.scaling.capacity import trouble
from queueworker_operator.scaling.decide import NOT_CONSUMING_SECONDS
from queueworker_operator.scaling.observation import QueueObservation
from queueworker_operator.scaling.record import Difference, difference

START_SECONDS = 2.0
"""After a start what was told before is looked at again so late: all numbers are decided first."""


class Teller:
    """`tell(key)` for a loop of its own: status, events and the metrics of conditions."""

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        memories: Mapping[Key, Memory],
        *,
        rush: Rush,
        drop: Callable[[Resource], None],
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`drop` hears of a QueueWorker that is gone."""
        self._metrics = metrics
        self._memories = memories
        self._rush = rush
        self._drop = drop
        self._now = now
        self._clock = clock
        self._reporter = Reporter(cluster, clock=clock)

    def due_in(self, memory: Memory, look: Look) -> float:
        """Take in a look; return in how many seconds it is to be told: at once where it says more than other numbers.

        For those the status is not even built more often than it may be written.
        """
        at, says = self._clock(), _says(look, memory, self._now())
        memory.look = look
        if memory.told is None and memory.status is not None and not memory.untold:
            return START_SECONDS
        if self._must_wait(memory):
            return self._rush.pause(at)
        if memory.untold or says != memory.told:
            return 0.0
        return max(0.0, memory.told_at + STATUS_SECONDS - at)

    async def __call__(self, key: Key) -> float | None:
        """Tell what is new of a key; return in how many seconds to try again. Raises ClusterUnavailableError."""
        memory = self._memories.get(key)
        if memory is None or memory.look is None:
            return None
        if self._must_wait(memory):
            return self._rush.pause(self._clock())
        try:
            return await self._tell(memory, memory.look)
        except GoneError:
            # A watch that is opened anew after an outage does not tell what was deleted meanwhile.
            self._drop(memory.look.resource)
            return None

    def _must_wait(self, memory: Memory) -> bool:
        """Whether it is new and so are many others, whose workers come first."""
        return memory.status is None and self._rush.is_on(self._clock())

    async def _tell(self, memory: Memory, look: Look) -> float | None:
        now, resource = self._now(), look.resource
        memory.told, memory.told_at = _says(look, memory, now), self._clock()
        done, memory.untold = memory.untold, []
        await self._reporter.tell(resource, done)
        decision = replace(look.decision, history=memory.history)
        status = build_status(look.observation, decision, look.facts, memory, now=now)
        self._metrics.conditions(*resource.key, status.conditions or ())
        if armed(Failpoint.BEFORE_STATUS) and difference(memory.status, status) is not Difference.NONE:
            reach(Failpoint.BEFORE_STATUS)
        written_at = memory.status_written_at
        pause = await self._reporter.report(resource, memory, status)
        if memory.status_written_at != written_at:
            reach(Failpoint.AFTER_STATUS)
        return pause


def _says(look: Look, memory: Memory, now: float) -> tuple[object, ...]:
    """Return what of a look is told at once: all that number, reason and the status of a condition depend on."""
    decision, workers, history = look.decision, look.observation.workers, memory.history
    stuck = history.not_consuming_since
    return (
        look.facts,
        (decision.desired, decision.current, decision.reason, decision.warnings, history.last_scale_at),
        tuple(limit.by for limit in decision.limits),
        (workers.ownership, workers.replicas, workers.ready, workers.present, workers.rollout_complete),
        (workers.rollout_problem, workers.pod_problem, trouble(workers, now), workers.target_problem),
        (workers.conflict, workers.conflict_problem, workers.left_behind),
        tuple(map(_queue_says, look.observation.queues)),
        None if stuck is None else now - stuck >= NOT_CONSUMING_SECONDS,
    )


def _queue_says(queue: QueueObservation) -> tuple[object, ...]:
    seen = queue.snapshot
    counts = None if seen is None else (seen.exists, seen.paused, seen.backlog > 0, seen.active > 0)
    return queue.name, queue.problem, queue.failures, queue.shared_with, counts
