"""When many QueueWorkers are new at once: their Deployments come first, all that can wait comes after."""

from __future__ import annotations

from collections import deque

MANY = 10
WITHIN_SECONDS = 2.0
"""So many creations within so long are a rush."""
LONGEST_SECONDS = 120.0
"""Nothing waits longer for the end of one."""
PAUSE_SECONDS = 2.0
"""After which what waits looks again;"""
RUSH_SECONDS = 15.0
"""so long in a rush: thousands that look again and again would leave no time for those that are new."""


class Rush:
    """Tells whether the API server is better left to the creations; times are of the loop's clock."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=MANY)
        self._began = 0.0

    def creates(self, at: float) -> None:
        """Take note of a creation."""
        self._last.append(at)
        if not self._crowded(at - WITHIN_SECONDS):
            self._began = at

    def is_on(self, at: float) -> bool:
        """Return whether what can wait should."""
        return self._crowded(at - WITHIN_SECONDS) and at - self._began < LONGEST_SECONDS

    def pause(self, at: float) -> float:
        """Return in how many seconds what waits is to look again."""
        return RUSH_SECONDS if self.is_on(at) else PAUSE_SECONDS

    def _crowded(self, since: float) -> bool:
        return len(self._last) == MANY and self._last[0] >= since
