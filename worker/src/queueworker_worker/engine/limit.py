"""How many jobs the workers of a process may still take, where they were told a number."""

from __future__ import annotations

import asyncio


class JobLimit:
    """A number of jobs, shared by the workers of a process; without a number there is no limit.

    Whoever asks Redis for a job reserves one first and then says whether one came.
    """

    def __init__(self, count: int | None = None) -> None:
        self._remaining = count
        self._reserved = 0
        self._changed = asyncio.Event()

    @property
    def exhausted(self) -> bool:
        """All jobs have been taken."""
        return self._remaining == 0 and not self._reserved

    def reserve(self) -> bool:
        """Reserve one job; False where none is left, though one that is reserved may come back."""
        if self._remaining is None:
            return True
        if self._remaining == 0:
            return False
        self._remaining -= 1
        self._reserved += 1
        return True

    def settle(self, *, taken: bool) -> None:
        """Say what became of a reservation."""
        if self._remaining is None:
            return
        self._reserved -= 1
        self._remaining += not taken
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until a reservation is settled."""
        await self._changed.wait()
