"""When each queue of a reader is read next: by its pace, by its events, and side by side with the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from queueworker_operator.queues.lines import Lines
from queueworker_operator.queues.pace import Pace, interval
from queueworker_operator.queues.wakeups import WakeUps
from queueworker_operator.queues.watched import Watched


class Timetable:
    """Puts queues back into the lines after a read, and those that are quiet among those whose events are awaited."""

    def __init__(self, lines: Lines[Watched], wakeups: WakeUps, *, pace: Pace, random: Callable[[], float]) -> None:
        """`random` draws from 0 to 1."""
        self._lines = lines
        self._wakeups = wakeups
        self._pace = pace
        self._random = random
        # The readers of different servers are set apart.
        self._phase = random() * pace.grid

    def counts_read(self, known: Watched, *, was_busy: bool, began: float, now: float) -> None:
        """Plan what follows a read of the counts that began then, with success or without."""
        reading, busy = known.reading, known.reading.busy
        quiet = reading.problem is None and not busy and known.gathering is None
        self._await_events(known, quiet=quiet)
        pause = interval(reading, self._pace, horizon=known.horizon, wakes=quiet and self._wakeups.serving)
        if not known.spread and reading.problem is None:
            # Objects that were made together would poll together for ever.
            pause *= self._random()
            known.spread = True
        self._lines.poll(known, self._aligned(min(began, now) + pause))
        self._lines.wants_details(known, reading, became_busy=busy and not was_busy, now=now)

    def details_read(self, known: Watched, now: float) -> None:
        """Plan what follows a read of the details."""
        busy = known.reading.busy
        if busy or known.reading.details is None:
            pause = self._pace.details if busy else self._pace.quiet
            self._lines.poll_details(known, self._aligned(now + pause))

    def without_events(self, queues: Iterable[Watched], now: float) -> None:
        """Poll the quiet queues from now on as where there are no events."""
        polled = min(self._pace.polled, self._pace.quiet)
        for known in queues:
            if known.waits:
                self._lines.poll_by(known, self._aligned(now + polled * self._random()))

    def _await_events(self, known: Watched, *, quiet: bool) -> None:
        if quiet and known.reading.snapshot is not None:
            self._wakeups.put(known.keys, known.reading.snapshot.news_after)
        elif known.waits:
            self._wakeups.discard(known.keys)
        known.waits = quiet

    def _aligned(self, when: float) -> float:
        """Move a time onto the grid, later, so that reads of many queues fall together into one."""
        grid = self._pace.grid
        return math.ceil((when - self._phase) / grid - 1e-6) * grid + self._phase
