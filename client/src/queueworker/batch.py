"""Sending several commands at once, to one server or to one node of a Cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import PipelineCommand
from redis.exceptions import AskError, RedisClusterException, RedisError, SlotNotCoveredError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from queueworker.cancels import kept_cancels
from queueworker.command import Command
from queueworker.connection import Client


async def run_together(client: Client, commands: Sequence[Command], *, near: str) -> list[Any]:
    """Send commands in their order, not as a transaction, and return for each its reply or the error that it met.

    On a Cluster they go to the node of the key `near`, those without a key too. A server that cannot be reached raises.
    """
    with kept_cancels():
        if isinstance(client, RedisCluster):
            return await _on_node(client, commands, near=near)
        pipeline = client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute(raise_on_error=False)


async def _on_node(client: RedisCluster, commands: Sequence[Command], *, near: str) -> list[Any]:
    try:
        replies = await _pipelined(client, commands, near=near)
    except (RedisConnectionError, RedisTimeoutError):
        # What was done is unknown, so it is not sent again here; who tries again shall find the node that took over.
        await _find_node_anew(client, near)
        raise
    # MovedError is one too: nothing was done, and the slot is elsewhere now.
    if any(isinstance(reply, AskError) for reply in replies):
        await _find_node_anew(client, near)
        replies = await _pipelined(client, commands, near=near)
    return replies


async def _find_node_anew(client: RedisCluster, key: str) -> None:
    with suppress(RedisError, RedisClusterException):
        # A single command follows redirections, and the client learns from it where the slot is.
        await client.execute_command("EXISTS", key)


async def _pipelined(client: RedisCluster, commands: Sequence[Command], *, near: str) -> list[Any]:
    # By the node, not by the client's pipeline: that one refuses EVALSHA.
    await client.initialize()
    batch = [PipelineCommand(position, *command) for position, command in enumerate(commands)]
    node = client.get_node_from_key(near)
    if node is None:
        raise SlotNotCoveredError(f"no node of the cluster serves the slot of {near}")
    await node.execute_pipeline(batch)
    return [command.result for command in batch]
