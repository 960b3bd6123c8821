"""What is shown of one QueueWorker."""

from __future__ import annotations

from dataclasses import dataclass, field

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.metrics.usage import Usage, finished
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Observation


@dataclass(slots=True)
class ShownQueue:
    """One queue of one QueueWorker; what is unknown has no value, for a gauge that is left out is no zero."""

    backlog: int | None = None
    oldest_age_seconds: float | None = None
    finished: int | None = None
    """Jobs that ended since they were first counted."""
    _ended: int | None = None

    def show(self, snapshot: QueueSnapshot | None) -> None:
        """Show a reading."""
        if snapshot is None:
            self.backlog = self.oldest_age_seconds = None
            return
        self.backlog = snapshot.backlog
        self.oldest_age_seconds = snapshot.oldest_age_seconds or 0
        self._count(finished(snapshot))

    def _count(self, ended: int | None) -> None:
        if ended is None:
            return
        # Counters that begin again were reset with their queue: what they lost is not known.
        more = ended - self._ended if self._ended is not None else 0
        self.finished = (self.finished or 0) + max(0, more)
        self._ended = ended


@dataclass(slots=True)
class ShownWorkers:
    """One QueueWorker."""

    desired: int | None = None
    replicas: int | None = None
    ready: int | None = None
    conditions: tuple[Condition, ...] = ()
    scaled: dict[tuple[str, str], int] = field(default_factory=dict)
    """Changes of the number, by direction and reason."""
    queues: dict[str, ShownQueue] = field(default_factory=dict)
    """By name."""
    usage: Usage = field(default_factory=Usage)
    _news_at: float | None = None

    @property
    def paused(self) -> bool | None:
        """Whether something is paused; None as long as nobody has said so."""
        if not self.conditions:
            return None
        return any(condition.type == "Paused" and condition.status == "True" for condition in self.conditions)

    def show(self, observation: Observation, decision: Decision, now: float) -> None:
        """Show what was seen and decided."""
        self.desired = decision.desired
        self.replicas = observation.workers.present
        self.ready = observation.workers.ready
        self.usage.pass_time(now)
        self.usage.saw(observation.workers, decision)
        for queue in observation.queues:
            if queue.name not in self.queues:
                self.queues[queue.name] = ShownQueue()
            self.queues[queue.name].show(queue.snapshot)
        for gone in self.queues.keys() - {queue.name for queue in observation.queues}:
            del self.queues[gone]

    def is_news(self, at: float) -> bool:
        """Whether what happened then was not shown yet; it is from now on."""
        before, self._news_at = self._news_at, at
        return at != before

    def count(self, direction: str, reason: str) -> None:
        """Count a change of the number."""
        self.scaled[direction, reason] = self.scaled.get((direction, reason), 0) + 1
