"""Gathering what follows the first event of a quiet queue (pure)."""

from __future__ import annotations

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.queues.pace import Pace


class Gathering:
    """The first read after an event is told at once; later ones when the stream is silent, or when it takes too long.

    A silence may be a pause of the producer's only: after it the queue is read again, each time after twice as long
    while nothing comes, until it would be its turn as a busy queue anyway. A producer that pauses more often than
    twice is waited for longer after each pause.

    Silence is told from the snapshot: the id of the newest event begins with its moment in milliseconds of the server's
    clock, like `now_ms`.
    """

    def __init__(self, pace: Pace, began: float) -> None:
        self._pace = pace
        self.began = began
        """When the event came."""
        self._tell_at = began
        self._ends_at = began + pace.gather_longest
        self._patience = pace.silence
        self._pauses = 0
        self._newest_when_silent: str | None = None
        self._over = False

    @property
    def over(self) -> bool:
        """Whether nothing more is to be read for it."""
        return self._over

    def tell(self, snapshot: QueueSnapshot, now: float) -> bool:
        """Whether what was just read is to be told now."""
        silent = self._is_silent(snapshot)
        if not silent and now < self._tell_at:
            return False
        done = silent and snapshot.backlog + snapshot.active == 0
        self._over = done or now >= self._ends_at
        self._tell_at = now + self._pace.gather
        return True

    def next_read(self, snapshot: QueueSnapshot, now: float) -> float:
        """Return when to look again: when the stream is silent if nothing comes, later and later once it is."""
        if self._is_silent(snapshot):
            if self._pauses == 0 or snapshot.last_event_id != self._newest_when_silent:
                self._pauses += 1
                self._newest_when_silent = snapshot.last_event_id
                self._patience = self._pace.silence * 2 ** max(0, self._pauses - 2)
            self._patience *= 2
            return now + self._patience
        quiet_for = silence(snapshot) or 0.0
        # A server whose clock jumps must not make it look without pause.
        pause = min(self._pace.silence, max(self._pace.silence / 5, self._pace.silence - quiet_for))
        return min(now + pause, max(now, self._tell_at))

    def _is_silent(self, snapshot: QueueSnapshot) -> bool:
        quiet_for = silence(snapshot)
        return quiet_for is None or quiet_for >= self._pace.silence


def silence(snapshot: QueueSnapshot) -> float | None:
    """Return for how many seconds no event came; None where there never was one."""
    if snapshot.last_event_id is None:
        return None
    moment, _, _ = snapshot.last_event_id.partition("-")
    return (snapshot.now_ms - int(moment)) / 1000 if moment.isdecimal() else None
