"""Sending several commands at once, to one server or to one node of a Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import RedisCluster

from queueworker.connection import Client

Command = tuple[str | int | bytes, ...]

_CLUSTER_PARALLEL = 32


async def run_together(client: Client, commands: Sequence[Command], *, near: str) -> list[Any]:
    """Send commands, not as a transaction, and return for each its reply or the exception that it met.

    On a Cluster they go to the node of the key `near`, those without a key too. A standalone server that cannot be
    reached raises; a node of a Cluster may fail for each command by itself.
    """
    if isinstance(client, RedisCluster):
        return await _on_node(client, commands, near=near)
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    return await pipeline.execute(raise_on_error=False)


async def _on_node(client: RedisCluster, commands: Sequence[Command], *, near: str) -> list[Any]:
    # RedisCluster refuses EVALSHA in its pipelines.
    await client.initialize()
    node = client.get_node_from_key(near)
    limit = asyncio.Semaphore(_CLUSTER_PARALLEL)

    async def one(command: Command) -> Any:
        async with limit:
            return await client.execute_command(*command, target_nodes=[node])

    return await asyncio.gather(*map(one, commands), return_exceptions=True)
