"""How one worker serves one queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from queueworker.keys import QueueKeys

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiter:
    """At most `max` jobs are started per `duration_ms`, over all workers of the queue that set a limiter."""

    max: int
    duration_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How many finished jobs stay, and for how many seconds at most."""

    count: int
    age: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Everything that the engine of one queue is told; durations in the unit of their name.

    The lock is short because it is renewed until the last job ends, and the stalled check is frequent because of that:
    a killed worker's jobs are back after about lock + two checks.
    """

    queue: str
    name: str
    """The worker's own name: beginning of its lock tokens, field `pb` of the jobs it takes."""
    prefix: str = "bull"
    concurrency: int = 1
    limiter: Limiter | None = None
    lock_ms: int = 15_000
    stalled_interval_ms: int = 5_000
    max_stalled_count: int = 3
    heartbeat_seconds: float = 3.0
    longest_block_seconds: float = 5.0
    refusal_patience_seconds: float = 60.0
    metrics_data_points: int = 1_440
    """One point a minute; also makes BullMQ keep the monotonic counters `metrics:*`."""
    keep_completed: Keep = Keep(count=1_000, age=DAY_SECONDS)
    keep_failed: Keep = Keep(count=5_000, age=7 * DAY_SECONDS)
    """For jobs that do not say it themselves by `removeOnComplete` and `removeOnFail`."""
    stack_trace_limit: int = 10

    @property
    def keys(self) -> QueueKeys:
        """The keys of the queue."""
        return QueueKeys(self.prefix, self.queue)

    def for_script(self, token: str) -> dict[str, Any]:
        """Return what the scripts that take a job want to know of the worker."""
        limiter = {"max": self.limiter.max, "duration": self.limiter.duration_ms} if self.limiter else None
        return {"token": token, "lockDuration": self.lock_ms, "limiter": limiter, "name": self.name}
