"""When to try a server again that does not answer (pure)."""

from __future__ import annotations

from collections.abc import Callable

from queueworker_operator.queues.pace import Pace


class Outage:
    """Failed tries in a row, and the pause after them: as between reads at first, then twice as long each time."""

    def __init__(self, pace: Pace, random: Callable[[], float]) -> None:
        self._pace = pace
        self._random = random
        self._failures = 0
        self.next_try = float("-inf")
        """When the server may be tried again."""

    @property
    def down(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def failed(self, now: float) -> None:
        """Take note of a try that failed."""
        self._failures += 1
        doublings = max(0, self._failures - self._pace.unreachable_after)
        pause = min(self._pace.retry_longest, self._pace.busy * 2.0 ** min(doublings, 16))
        self.next_try = now + pause * (0.8 + 0.4 * self._random())

    def over(self) -> None:
        """Take note of an answer."""
        self._failures = 0
        self.next_try = float("-inf")
