"""How often queues are read (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.queues.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often queues are read; seconds."""

    busy: float = 1.0
    """Between two reads of a queue that has jobs ready or active, or that could not be read."""
    quiet: float = 30.0
    """Of a queue that has neither, where its events wake the reader."""
    polled: float = 5.0
    """Of a queue that has neither, where they do not: on a Cluster, and where XREAD is denied."""
    details: float = 5.0
    """Between two looks behind the counts of a busy queue."""
    stir: float = 5.0
    """Between two wakes for a busy queue whose numbers stand still: its rates and ages go on."""
    deadline: float = 2.0
    """A read that takes longer has failed."""
    retry_longest: float = 5.0
    """Longest pause between two tries while a server is down."""
    unreachable_after: int = 3
    """Failed reads in a row after which the queue counts as unreachable."""
    silence: float = 0.05
    """What follows the first event of a quiet queue is told when nothing came for so long,"""
    gather: float = 0.25
    """or after so long,"""
    gather_longest: float = 1.0
    """and then again, for so long at most; afterwards it is polled."""

    @property
    def grid(self) -> float:
        """Reads that fall due within this are done together."""
        return self.busy / 4


def interval(reading: Reading, pace: Pace, *, horizon: float, wakes: bool) -> float:
    """Return after how long a queue is to be read again; `wakes`: its events wake the reader."""
    idle = pace.quiet if wakes else min(pace.polled, pace.quiet)
    if reading.problem is not None:
        return pace.busy if reading.failures <= pace.unreachable_after else min(pace.polled, pace.quiet)
    if reading.busy:
        return pace.busy
    if reading.snapshot is None:
        return idle
    return max(pace.busy, min((idle, *_changes_by_itself(reading.snapshot, horizon))))


def _changes_by_itself(snapshot: QueueSnapshot, horizon: float) -> Iterator[float]:
    """Yield in how many seconds a quiet queue tells something new without any event."""
    if snapshot.delayed > snapshot.delayed_due_soon > 0:
        # Behind the next delayed job, of which the snapshot tells, come others, of which it does not.
        yield horizon / 8
    for due_ms in (snapshot.next_delayed_ms, snapshot.next_scheduler_ms):
        due = (due_ms - snapshot.now_ms) / 1000 if due_ms is not None else 0.0
        # Look-ahead counts what is due within the horizon, half of it and a quarter of it.
        yield from (at for at in (due - horizon, due - horizon / 2, due - horizon / 4, due) if at > 0)
