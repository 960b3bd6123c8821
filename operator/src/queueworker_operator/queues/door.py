"""A door through which a bounded number of servers is connected to at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 32
HOLD_SECONDS = 0.2


class Door:
    """Lets `at_once` in. Who takes longer than `hold` seconds no longer counts, or servers that hang would shut it."""

    def __init__(self, *, at_once: int = AT_ONCE, hold: float = HOLD_SECONDS) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._hold = hold

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        """Wait for a place and hold it meanwhile."""
        await self._places.acquire()
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._places.release()

        timer = asyncio.get_running_loop().call_later(self._hold, leave)
        try:
            yield
        finally:
            timer.cancel()
            leave()
