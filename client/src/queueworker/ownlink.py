"""One connection of its own, made as a redis-py client makes its connections, for what blocks."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

from redis.asyncio import RedisCluster
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError, SlotNotCoveredError

from queueworker.cancels import kept_cancels
from queueworker.command import Command
from queueworker.connection import Client

_OWN: dict[str, Any] = {
    "decode_responses": True,
    "encoding_errors": "surrogateescape",
    "protocol": 2,
    # Whoever waits here knows better when to try again and what is lost by it.
    "health_check_interval": 0,
    # The answers to commands have timeouts of their own; this one is for the first words of a connection.
    "socket_timeout": 5,
    "driver_info": None,
}
# What a pool adds for notifications that only RESP3 has.
_NOT_OURS = ("maint_notifications", "orig_", "event_dispatcher")


async def open_link(client: Client, key: str) -> OwnLink:
    """Return a connection to where the client finds the key, not connected yet; raises what redis-py does."""
    if not isinstance(client, RedisCluster):
        pool = client.connection_pool
        return OwnLink.like(pool.connection_class, pool.connection_kwargs)
    await client.initialize()
    with suppress(ResponseError):
        # A single command follows redirections, and the client learns from it where the slot is.
        await client.execute_command("EXISTS", key)
    node = client.get_node_from_key(key)
    if node is None:
        raise SlotNotCoveredError(f"no node of the cluster serves the slot of {key}")
    return OwnLink.like(node.connection_class, node.connection_kwargs)


class OwnLink:
    """A connection that belongs to one user, who asks one thing after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    def like(cls, connection_class: Any, options: dict[str, Any]) -> Self:
        """Return a connection with the options of a pool, but without redis-py's own retries."""
        kept = {name: value for name, value in options.items() if not name.startswith(_NOT_OURS)}
        return cls(connection_class(**{**kept, **_OWN, "retry": Retry(NoBackoff(), 0)}))

    async def connect(self) -> None:
        """Connect; raises what redis-py does."""
        await self._connection.connect()  # type: ignore[no-untyped-call]

    async def ask(self, command: Command, *, timeout: float) -> Any:
        """Send a command and return its reply, or the error that the server answered with."""
        return (await self.ask_all([command], timeouts=(timeout, timeout)))[0]

    async def ask_all(self, commands: Sequence[Command], *, timeouts: tuple[float, float]) -> list[Any]:
        """Send commands together and return their replies or errors; the first reply may take longer than the rest.

        Raises redis-py's errors where the connection fails or is silent for too long.
        """
        packed = [piece for command in commands for piece in self._connection.pack_command(*command)]
        with kept_cancels():
            await self._connection.send_packed_command(packed, check_health=False)
        replies: list[Any] = []
        for position in range(len(commands)):
            async with asyncio.timeout(timeouts[min(position, 1)]):
                replies.append(await self._reply())
        return replies

    async def _reply(self) -> Any:
        try:
            # A timeout given here would end in None, which is a reply too.
            return await self._connection.read_response(timeout=math.inf)
        except ResponseError as error:
            return error

    async def close(self) -> None:
        """Close the connection; what goes wrong with that is nobody's concern."""
        with suppress(RedisError, OSError, asyncio.TimeoutError):
            await self._connection.disconnect(nowait=True)
