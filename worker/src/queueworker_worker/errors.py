"""What a processor may raise on purpose, and what the worker says of wrong processors."""

from __future__ import annotations

from queueworker.errors import QueueWorkerError

LONGEST_MS = 2**53 - 1
"""The largest number that BullMQ's scripts and JavaScript know exactly."""


def milliseconds(value: float, name: str) -> int:
    """Return whole milliseconds; raises ValueError for what is none and would make BullMQ's scripts lose the job."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LONGEST_MS:
        raise ValueError(f"{name} must be a number of milliseconds, not {value!r}")
    return int(value)


class UnrecoverableError(Exception):
    """Raise it in a processor to fail the job at once, whatever attempts it has left."""


class DelayedError(Exception):
    """Raise it in a processor to run the job again later without using an attempt.

    Exactly one of `delay_ms` (from now) and `until_ms` (Unix milliseconds) is given; else it raises ValueError.
    """

    def __init__(self, *, delay_ms: float | None = None, until_ms: float | None = None) -> None:
        if (delay_ms is None) == (until_ms is None):
            raise ValueError("DelayedError takes exactly one of delay_ms and until_ms")
        super().__init__(f"again in {delay_ms} ms" if until_ms is None else f"again at {until_ms} (Unix ms)")
        self.delay_ms = None if delay_ms is None else milliseconds(delay_ms, "delay_ms")
        self.until_ms = None if until_ms is None else milliseconds(until_ms, "until_ms")


class WaitingChildrenError(Exception):
    """Raise it in a processor to run the job again when its children have ended, without using an attempt.

    Where none of them is pending the job runs again at once.
    """


class RateLimitError(Exception):
    """Raise it in a processor to put the job back, no attempt used, and to hold its queue for `limit_ms`.

    Held are this worker and, by BullMQ's limiter key, every worker of the queue that has a `limiter`, or all of them
    where the queue has a global rate limit: BullMQ's scripts look at the key only then.
    """

    def __init__(self, limit_ms: float) -> None:
        self.limit_ms = milliseconds(limit_ms, "limit_ms")
        if self.limit_ms < 1:
            raise ValueError("limit_ms must be at least 1 millisecond")
        super().__init__(f"rate limited for {limit_ms} ms")


class JobTimeoutError(Exception):
    """An attempt took longer than its processor's `timeout_seconds`; it counts as any other failure."""


class JobCancelledError(Exception):
    """An attempt was cancelled by `cancel_job`; it counts as any other failure. The text is the reason given."""


class ProcessorError(QueueWorkerError):
    """A processor is declared in a way that cannot work, or a module of processors cannot be imported."""


class DependencyError(ProcessorError):
    """A dependency of processors cannot be opened now, a database for example; it may be possible later."""


class AccessRefusedError(QueueWorkerError):
    """Redis kept refusing this worker (password, ACL, read-only role) for longer than it may."""
