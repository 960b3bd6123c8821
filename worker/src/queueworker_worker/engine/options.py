"""How one worker serves one queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from queueworker.keys import QueueKeys

DAY_SECONDS = 86_400

BackoffStrategy = Callable[[int, BaseException, Any], int]
"""Given how many attempts were made, the error and the job, the delay in ms; below zero: do not try again."""


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
    lock_duration_ms: int = 15_000
    lock_renew_time_ms: int | None = None
    """How often locks are renewed; None means twice in their life."""
    stalled_interval_ms: int = 5_000
    max_stalled_count: int = 3
    drain_delay_seconds: float = 5.0
    """How long an idle worker waits for the marker before it looks for jobs by itself."""
    remove_on_complete: Keep = Keep(count=1_000, age=DAY_SECONDS)
    remove_on_fail: Keep = Keep(count=5_000, age=7 * DAY_SECONDS)
    """For jobs that do not say it themselves by `removeOnComplete` and `removeOnFail`."""
    max_data_points: int = 1_440
    """Metrics: one point a minute; also makes BullMQ keep the monotonic counters `metrics:*`. 0 keeps none."""
    skip_stalled_check: bool = False
    skip_lock_renewal: bool = False
    backoff_strategies: Mapping[str, BackoffStrategy] = field(default_factory=dict)
    """The worker's own kinds of backoff, by the `type` that jobs ask for."""
    stack_trace_limit: int = 10
    heartbeat_seconds: float = 3.0
    refusal_patience_seconds: float = 60.0

    @property
    def lock_renew_seconds(self) -> float:
        """How often the locks of running jobs are renewed."""
        return (self.lock_renew_time_ms or self.lock_duration_ms / 2) / 1000

    @property
    def keys(self) -> QueueKeys:
        """The keys of the queue."""
        return QueueKeys(self.prefix, self.queue)

    def for_script(self, token: str) -> dict[str, Any]:
        """Return what the scripts that take a job want to know of the worker and the slot."""
        limiter = {"max": self.limiter.max, "duration": self.limiter.duration_ms} if self.limiter else None
        return {"token": token, "lockDuration": self.lock_duration_ms, "limiter": limiter, "name": self.name}
