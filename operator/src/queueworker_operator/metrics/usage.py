"""What workers cost and do: time integrated between looks, jobs that ended."""

from __future__ import annotations

from dataclasses import dataclass

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import WorkersObservation


@dataclass(slots=True)
class Usage:
    """Pod-seconds of one QueueWorker; what was seen last holds until the next look."""

    pod_seconds: float = 0.0
    idle_pod_seconds: float = 0.0
    """Of those the time of idle pods."""
    _at: float | None = None
    _pods: int = 0
    _idle: int = 0

    def pass_time(self, now: float) -> None:
        """Count the time since the last call; `now` is of a clock that only grows."""
        elapsed = 0.0 if self._at is None else max(0.0, now - self._at)
        self._at = now
        self.pod_seconds += elapsed * self._pods
        self.idle_pod_seconds += elapsed * self._idle

    def saw(self, workers: WorkersObservation, decision: Decision) -> None:
        """Take in what a look saw."""
        self._pods = workers.present
        self._idle = max(0, min(workers.ready, workers.present) - _busy(decision))


def finished(snapshot: QueueSnapshot) -> int | None:
    """Return how many jobs ever completed or failed; None where no worker counts them (BullMQ's `metrics:*`)."""
    if snapshot.completed_count is None and snapshot.failed_count is None:
        return None
    return (snapshot.completed_count or 0) + (snapshot.failed_count or 0)


def _busy(decision: Decision) -> int:
    """Return how many pods may be busy: each job whose pod is not known may run on one of its own."""
    rates = decision.inputs.rates.values()
    if not rates:
        return decision.inputs.active or 0
    pods: set[str] = set()
    for queue in rates:
        pods |= queue.busy_pods
    attributed = any(queue.busy_pods for queue in rates)
    unknown = sum(queue.unattributed for queue in rates)
    return len(pods) + unknown if attributed or unknown else sum(queue.active for queue in rates)
