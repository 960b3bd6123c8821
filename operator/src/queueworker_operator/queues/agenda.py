"""What is due when: many keys, of which few are due at a time."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_VOID_ENTRIES = 1000


class Agenda(Generic[K]):
    """A time for each key. Setting one and taking those that are due cost no walk over the others."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: K, when: float) -> None:
        """Make the key due then, and no longer when it was."""
        if self._due.get(key) == when:
            return
        self._due[key] = when
        # Keys need not be comparable: the sequence settles a tie.
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, key))
        if len(self._heap) > 2 * len(self._due) + _VOID_ENTRIES:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def hasten(self, key: K, when: float) -> None:
        """Make the key due then, unless it is due sooner."""
        if self._due.get(key, when) >= when:
            self.set(key, when)

    def discard(self, key: K) -> None:
        """Forget the key."""
        self._due.pop(key, None)

    def clear(self) -> None:
        """Forget all keys."""
        self._due.clear()
        self._heap.clear()

    def next_at(self) -> float | None:
        """Return when the first key is due; None where there is none."""
        self._drop_void()
        return self._heap[0][0] if self._heap else None

    def take(self, now: float, limit: int) -> list[K]:
        """Remove and return the keys that are due, those due first first, at most `limit`."""
        taken: list[K] = []
        while len(taken) < limit:
            self._drop_void()
            if not self._heap or self._heap[0][0] > now:
                break
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            taken.append(key)
        return taken

    def _drop_void(self) -> None:
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
