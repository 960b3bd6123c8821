"""What a busy machine keeps from a test's process, so that a bound on a duration can leave it out."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Self

_TICK_SECONDS = 0.01
_LATE_SECONDS = 0.02
"""A tick that is no later than this is on time."""


@dataclass(frozen=True, slots=True)
class _Tick:
    at: float
    """By `time.monotonic`,"""
    cpu: float
    """and the processor time that the process had used by then."""


class Stalls:
    """Notes how late a thread of its own is woken while its process does not run: that the machine holds it up.

    Neither an event loop that is blocked counts, as the thread ticks on beside it, nor code that keeps the interpreter
    to itself, as the process runs then.
    """

    def __init__(self) -> None:
        self._last = _now()
        self._stalls: list[tuple[float, float]] = []
        """Their beginnings and ends."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="stalls", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def since(self, began: float) -> float:
        """Return how many seconds were kept from the process since then (`time.monotonic`)."""
        return self.between(began, time.monotonic())

    def between(self, began: float, ended: float) -> float:
        """Return how many seconds were kept from the process between two moments (`time.monotonic`)."""
        with self._lock:
            known = [*self._stalls, *_stall(self._last, _now())]
        return sum(max(0.0, min(end, ended) - max(start, began)) for start, end in known)

    def _tick(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            with self._lock:
                now = _now()
                self._stalls += _stall(self._last, now)
                self._last = now


def _now() -> _Tick:
    return _Tick(time.monotonic(), time.process_time())


def _stall(last: _Tick, now: _Tick) -> list[tuple[float, float]]:
    """Return the stall between two ticks that should be a tick apart, if there was one."""
    late = now.at - last.at - _TICK_SECONDS - (now.cpu - last.cpu)
    return [(now.at - late, now.at)] if late > _LATE_SECONDS else []
