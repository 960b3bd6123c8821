"""How many requests of a kind all QueueWorkers together may make: who wants one takes the next moment that is free."""

from __future__ import annotations

from collections.abc import Callable


class Budget:
    """So many requests a second; those that were not used are saved up to `burst`."""

    def __init__(self, per_second: float, clock: Callable[[], float], *, burst: int = 1) -> None:
        self._pause = 1 / per_second
        self._saved = (burst - 1) * self._pause
        self._clock = clock
        self._next = clock() - self._saved

    def reserve(self) -> float:
        """Return from when on (by the clock) a request is allowed; it counts even if it is not made."""
        at = max(self._next, self._clock() - self._saved)
        self._next = at + self._pause
        return at
