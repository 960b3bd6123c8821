"""Waiting for news of many queues at once, on connections that do nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError, ReadOnlyError

from queueworker.command import Command
from queueworker.connection import Client
from queueworker.errors import RedisReadError
from queueworker.failures import EXPECTED, access_error, may_pass
from queueworker.keys import QueueKeys
from queueworker.ownlink import OwnLink, open_link

MOST_QUEUES = 500
REPLY_SECONDS = 2.0
"""How long after the end of the block the server may take to say so."""
_IDLE_LINKS = 3
_NO_IDS = frozenset({"$", "+"})


class Waiter:
    """Blocks in XREAD on queues' streams of events; several may wait at once, each on a connection of its own."""

    def __init__(self, client: Client, *, address: str) -> None:
        self._client = client
        self._address = address
        self._idle: list[OwnLink] = []
        self._closed = False

    @property
    def can_wait(self) -> bool:
        """Whether one command can wait for queues of this server; those of a Cluster lie on several."""
        return not isinstance(self._client, RedisCluster)

    async def wait(self, after: Mapping[QueueKeys, str], *, block_ms: int) -> Mapping[QueueKeys, str]:
        """Return the queues that have an event after the id given, each with the first such id.

        Raises as `QueueReader.wait` does.
        """
        if not self.can_wait:
            raise ValueError("on a Cluster queues lie on several servers: read them instead")
        if block_ms < 1 or len(after) > MOST_QUEUES:
            raise ValueError(f"block_ms must be at least 1, and there may be {MOST_QUEUES} queues at most")
        streams, ids = {keys.of("events"): keys for keys in after}, tuple(after.values())
        if not _NO_IDS.isdisjoint(ids):
            raise ValueError("$ and + are no ids: between two waits events would be missed, give that of a snapshot")
        if not streams:
            return {}
        command: Command = ("XREAD", "COUNT", 1, "BLOCK", block_ms, "STREAMS", *streams, *ids)
        try:
            async with asyncio.timeout(block_ms / 1000 + REPLY_SECONDS):
                reply = await self._ask(command, block_ms / 1000 + REPLY_SECONDS)
        except TimeoutError:
            message = f"Redis {self._address}: no answer within {REPLY_SECONDS:g} s after the end of a wait"
            raise RedisReadError(message) from None
        except EXPECTED as error:
            raise access_error(RedisReadError, error, address=self._address) from error
        return {streams[str(stream)]: str(found[0][0]) for stream, found in reply or () if found}

    async def aclose(self) -> None:
        """Close the connections that wait for nothing; whoever waits is to be cancelled first."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _ask(self, command: Command, seconds: float) -> Any:
        if self._idle:
            try:
                return await self._ask_on(self._idle.pop(), command, seconds)
            except EXPECTED as error:
                # An idle connection may have died unnoticed.
                if not may_pass(error) or isinstance(error, TimeoutError):
                    raise
        return await self._ask_on(await self._connected(), command, seconds)

    async def _ask_on(self, link: OwnLink, command: Command, seconds: float) -> Any:
        try:
            reply = await link.ask(command, timeout=seconds)
        except BaseException:
            # The reply may still come, and would be taken for another one's.
            await link.close()
            raise
        if self._closed or len(self._idle) >= _IDLE_LINKS:
            await link.close()
        else:
            self._idle.append(link)
        if isinstance(reply, BaseException):
            raise reply
        return reply

    async def _connected(self) -> OwnLink:
        link = await open_link(self._client, "")
        try:
            await link.connect()
            role = await link.ask(("ROLE",), timeout=REPLY_SECONDS)
            if isinstance(role, BaseException) and not isinstance(role, NoPermissionError):
                raise role
            if not isinstance(role, BaseException) and str(role[0]) != "master":
                raise ReadOnlyError("this server is a replica")
        except BaseException:
            await link.close()
            raise
        return link
