"""What is there is read and decided before the watches are opened, and what they miss is let go from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from queueworker_operator.cluster.port import ClusterError, JsonObject, Key
from queueworker_operator.handlers import Door

_ROUND_SECONDS = 0.02


class Listing(Protocol):
    """What the cluster offers to a start; all raise ClusterErrors."""

    @property
    def workers_untold(self) -> bool:
        """Whether there are Deployments of which the watch has not told yet."""
        ...

    def queueworkers(self, namespaces: Sequence[str]) -> AsyncIterator[JsonObject]:
        """Read all QueueWorkers."""
        ...

    async def queueworker_uids(self, namespaces: Sequence[str]) -> set[str]:
        """Return the uids of all QueueWorkers."""
        ...

    async def list_workers(self, namespaces: Sequence[str]) -> None:
        """Read all Deployments with our label."""
        ...

    async def missed_workers(self, namespaces: Sequence[str]) -> list[Key]:
        """Forget the Deployments that are gone and whose end nobody told; return their keys."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How an operator begins: `read`, `decide`, and then `follow` beside the watches."""

    cluster: Listing
    door: Door
    list_autoscalers: Callable[[], Awaitable[None]]
    is_decided: Callable[[Key], bool]
    progress: Callable[[], int]
    """How many were looked at, and how many decided: of thousands all are looked at before the first is decided."""
    namespaces: Sequence[str]
    stop: asyncio.Event
    """Ends whatever is under way."""
    clock: Callable[[], float]
    idle_seconds: float = 1.0
    """The watches wait for decisions no longer than there is no progress for so long."""
    told_seconds: float = 10.0
    """After which the watches have told all that there is, as a rule."""
    sweep_seconds: float = 300.0
    """How often it is looked for what is gone once they have, on average."""
    random: Callable[[], float]
    """From 0 to 1."""

    async def read(self) -> None:
        """Read all at once what the watches tell first of all, unless it is stopped; raises ClusterError."""
        reading = asyncio.create_task(self._read(), name="read")
        stopped = asyncio.create_task(self.stop.wait(), name="stopped")
        try:
            await asyncio.wait((reading, stopped), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
        finally:
            for task in (reading, stopped):
                task.cancel()
            await asyncio.gather(reading, stopped, return_exceptions=True)

    async def decide(self) -> None:
        """Wait until all that were listed are decided: that takes less time than kopf's first look at each of them.

        Who keeps it waiting, as his Redis does not answer, is not waited for.
        """
        made, at = 0, self.clock()
        while not self.stop.is_set() and not self._all_decided() and self.clock() - at < self.idle_seconds:
            before, made = made, self.progress()
            at = self.clock() if made > before else at
            await asyncio.sleep(_ROUND_SECONDS)

    async def follow(self) -> None:
        """Let go for ever of what was deleted without a word.

        Nobody tells of what is deleted between two lists of kopf's. It makes one whenever its watch begins too far
        back (410, after an outage), and the first of all at any time after it said that it is ready.
        """
        while True:
            untold = self._untold()
            await asyncio.sleep(self.told_seconds if untold else self.sweep_seconds * (0.8 + 0.4 * self.random()))
            if untold and not self._untold():
                continue
            # The next time comes soon enough, and of a server that is away the watches tell.
            with suppress(ClusterError):
                await self._let_go()

    def _untold(self) -> bool:
        return bool(self.door.untold) or self.cluster.workers_untold

    async def _let_go(self) -> None:
        # Before the list: what is made meanwhile need not be in it.
        before = self.door.uids()
        self.door.missed(before, uids=await self.cluster.queueworker_uids(self.namespaces))
        for key in await self.cluster.missed_workers(self.namespaces):
            if key in self.door.store:
                self.door.workers_changed(key)

    async def _read(self) -> None:
        try:
            # First, as what is missing shows here; kopf would wait for it for ever and say nothing.
            async for body in self.cluster.queueworkers(self.namespaces):
                self.door.listed(body)
        except ClusterError as error:
            message = f"{error}; are the CRD and the operator's rights there? `queueworker crd` prints the CRD"
            raise ClusterError(message, reason=error.reason) from error
        await asyncio.gather(self.cluster.list_workers(self.namespaces), self.list_autoscalers())

    def _all_decided(self) -> bool:
        return all(resource.deleting or self.is_decided(key) for key, resource in self.door.store.items())
