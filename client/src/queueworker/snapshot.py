"""What one queue held at one moment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSnapshot:
    """One consistent reading of a queue; times are Unix milliseconds of the Redis server's own clock.

    None means that Redis does not hold the fact, never that it could not be read (that raises `RedisReadError`).
    """

    prefix: str
    queue: str
    now_ms: int
    exists: bool
    """`meta` exists: some job was once added. A queue never used has no keys at all."""
    waiting: int
    prioritized: int
    delayed: int
    delayed_due: int
    """Delayed jobs whose time has come; only a worker's call promotes them."""
    delayed_due_soon: int
    """Delayed jobs that fall due within the horizon asked for, those of `delayed_due` included."""
    next_delayed_ms: int | None
    active: int
    waiting_children: int
    completed: int
    """Completed jobs that are kept."""
    failed: int
    """Failed jobs that are kept."""
    legacy_paused: int
    """Jobs in the `paused` list of BullMQ 5 and older: nobody may take them, so they are no demand."""
    paused: bool
    oldest_ready_ms: int | None
    """Since when the job has been ready that waits longest; None where none is ready."""
    global_concurrency: int | None
    rate_limit_max: int | None
    rate_limit_duration_ms: int | None
    rate_limited_for_ms: int
    added_count: int
    """The `id` counter: grows with every add, duplicates and custom ids too."""
    completed_count: int | None
    """Monotonic counters of `metrics:*`; None where no worker keeps metrics."""
    failed_count: int | None
    next_scheduler_ms: int | None
    horizon_ms: int = 0
    """How far ahead `delayed_due_soon` looks; the two below look a quarter and half as far."""
    delayed_due_quarter: int = 0
    delayed_due_half: int = 0
    oldest_waiting_ms: int | None = None
    """Since when the oldest job of `wait` is ready,"""
    oldest_prioritized_ms: int | None = None
    """and the oldest of `prioritized`: BullMQ takes everything in `wait` first."""
    last_event_id: str | None = None
    """Id of the newest entry of the `events` stream; None where it has none, and where this user may not look."""

    @property
    def backlog(self) -> int:
        """Jobs that a free slot could take now: waiting, prioritized, and delayed but due."""
        return self.waiting + self.prioritized + self.delayed_due

    @property
    def news_after(self) -> str:
        """The id after which an event is news: what `QueueReader.wait` takes.

        Without a newest event it is the server's time, not the beginning of the stream: where this user may not look
        for the newest event, the oldest one would be news for ever.
        """
        return self.last_event_id or f"{self.now_ms - 1}-{2**64 - 1}"

    @property
    def oldest_age_seconds(self) -> float | None:
        """How long the job has been ready that waits longest; never negative, whatever a producer's clock said."""
        if self.oldest_ready_ms is None:
            return None
        return max(0, self.now_ms - self.oldest_ready_ms) / 1000
