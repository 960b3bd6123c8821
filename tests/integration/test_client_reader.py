"""What the reader says of real queues in every state, by script and by plain commands alike."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import time
from collections.abc import Callable

import pytest
from bullmq import Queue as BullQueue
from bullmq import Worker
from redis.asyncio import Redis

from queueworker import Job, Priority, Queue, QueueKeys, QueueSnapshot, RedisReadError
from queueworker.keys import LAST_EXACT, priority_score
from queueworker.options import MAX_DUE_MS
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings

pytestmark = pytest.mark.usefixtures("patient_reads")
KEYS = QueueKeys("bull", "q")


HORIZON_MS = 60_000


async def read(settings: ConnectionSettings, keys: QueueKeys = KEYS) -> QueueSnapshot:
    """Read by script and by plain commands and return what both say."""
    began_ms = int(time.time() * 1000)
    async with QueueReader.open(settings) as reader:
        by_script = (await reader.read([keys], horizon_ms=HORIZON_MS))[keys]
        assert reader.uses_scripts
        reader._ways.index, reader._ways.best_again_at = 2, float("inf")
        plain = (await reader.read([keys], horizon_ms=HORIZON_MS))[keys]
        assert not reader.uses_scripts
    took_ms = int(time.time() * 1000) + 1 - began_ms
    assert isinstance(by_script, QueueSnapshot), by_script
    assert isinstance(plain, QueueSnapshot), plain
    same = {"now_ms": 0, "rate_limited_for_ms": 0}
    assert dataclasses.replace(plain, **same) == dataclasses.replace(by_script, **same)
    assert began_ms <= by_script.now_ms <= plain.now_ms <= began_ms + took_ms
    assert 0 <= by_script.rate_limited_for_ms - plain.rate_limited_for_ms <= took_ms
    return by_script


async def test_a_queue_never_used_and_an_empty_one_differ(redis_settings: ConnectionSettings, client: Redis) -> None:
    unused = await read(redis_settings)
    assert not unused.exists
    await client.hset(KEYS.of("meta"), "opts.maxLenEvents", "10000")
    empty = await read(redis_settings)
    assert empty.exists
    assert dataclasses.replace(empty, exists=False, now_ms=0) == dataclasses.replace(unused, now_ms=0)
    assert (empty.backlog, empty.oldest_ready_ms, empty.completed_count) == (0, None, None)


async def test_waiting_and_prioritized_jobs_are_both_backlog(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    before = int(time.time() * 1000)
    await queue.enqueue_many([Job.create("a", lifo=True) for _ in range(3)])
    for priority in (Priority.LOW, Priority.HIGH, Priority.NORMAL, 2_097_151):
        await queue.enqueue("a", priority=priority)
    oldest_id = (await client.zrange(KEYS.of("prioritized"), -1, -1))[0]
    await client.hset(KEYS.job(oldest_id), "timestamp", before - 5000)
    snapshot = await read(redis_settings)
    assert (snapshot.waiting, snapshot.prioritized, snapshot.backlog, snapshot.added_count) == (3, 4, 7, 7)
    assert snapshot.oldest_ready_ms == before - 5000, "the least urgent class holds the oldest job"
    assert snapshot.oldest_age_seconds == (snapshot.now_ms - before + 5000) / 1000


async def test_a_lifo_job_does_not_hide_an_older_one(redis_settings: ConnectionSettings, client: Redis) -> None:
    old, new = 1_700_000_000_000, 1_700_000_900_000
    for number, timestamp in enumerate((old, new, new)):
        await client.hset(KEYS.job(f"j{number}"), mapping={"timestamp": timestamp, "opts": "{}"})
    await client.lpush(KEYS.of("wait"), "j0")
    await client.rpush(KEYS.of("wait"), "j1", "j2")
    assert (await read(redis_settings)).oldest_ready_ms == old


@pytest.mark.parametrize(
    ("fields", "ready"),
    [
        ({"timestamp": 1000, "opts": '{"delay":500}', "delay": 0}, 1500),
        ({"timestamp": 1000, "opts": '{"delay":500}', "processedOn": 9000}, 9000),
        ({"timestamp": 1000, "opts": "not json"}, 1000),
        ({"timestamp": 1000, "opts": '{"delay":null}'}, 1000),
        ({"timestamp": 1000, "opts": '{"delay":-7}'}, 1000),
        ({"timestamp": "1000.9"}, 1000),
        ({"timestamp": 1000, "opts": '{"backoff":{"type":"fixed","delay":700},"delay":0}'}, 1000),
        ({"timestamp": 1000, "opts": '{"backoff":{"delay":700},"delay":500}'}, 1500),
        ({"timestamp": 1000, "opts": '{"delay":1e300}'}, 1000),
        ({"timestamp": 1000, "opts": '["delay"]'}, 1000),
        ({"timestamp": "1e300"}, None),
        ({"timestamp": 1000, "processedOn": "inf"}, 1000),
        ({"name": "no timestamp"}, None),
    ],
)
async def test_ready_time_of_a_waiting_job(
    redis_settings: ConnectionSettings, client: Redis, fields: dict[str, str | int], ready: int | None
) -> None:
    await client.hset(KEYS.job("one"), mapping=fields)
    await client.lpush(KEYS.of("wait"), "one")
    assert (await read(redis_settings)).oldest_ready_ms == ready


async def test_delayed_jobs_are_backlog_once_due(redis_settings: ConnectionSettings, queue: Queue) -> None:
    await queue.enqueue("now", delay=1)
    await queue.enqueue("soon", delay=30_000)
    await queue.enqueue("later", delay=3_600_000)
    await asyncio.sleep(0.01)
    snapshot = await read(redis_settings)
    assert (snapshot.delayed, snapshot.delayed_due, snapshot.delayed_due_soon, snapshot.backlog) == (3, 1, 2, 1)
    assert snapshot.next_delayed_ms is not None
    assert snapshot.next_delayed_ms <= snapshot.now_ms
    assert snapshot.oldest_ready_ms == snapshot.next_delayed_ms


@pytest.mark.parametrize("way", [0, 2])
async def test_each_horizon_is_exact_to_the_millisecond(
    redis_settings: ConnectionSettings, client: Redis, way: int
) -> None:
    horizon = 4_003
    async with QueueReader.open(redis_settings) as reader:
        reader._ways.index, reader._ways.best_again_at = way, float("inf")
        await reader.read([KEYS])
        now = int(time.time() * 1000)
        ahead = [quarter + near for quarter in (0, 1_000, 2_001, horizon) for near in range(-60, 120)]
        await client.zadd(KEYS.of("delayed"), {f"j{at}": (now + at) * 4096 + 4095 for at in ahead})
        one = (await reader.read([KEYS], horizon_ms=horizon))[KEYS]
    assert isinstance(one, QueueSnapshot), one
    counted = [one.delayed_due, one.delayed_due_quarter, one.delayed_due_half, one.delayed_due_soon]
    moments = [one.now_ms + within for within in (0, 1_000, 2_001, horizon)]
    assert counted == [sum(now + at <= moment for at in ahead) for moment in moments]
    assert (one.horizon_ms, one.delayed) == (horizon, len(ahead))


async def test_each_queue_has_its_own_horizon(redis_settings: ConnectionSettings, client: Redis) -> None:
    names = [QueueKeys("bull", name) for name in ("short", "long", "unnamed")]
    now = int(time.time() * 1000)
    for keys in names:
        await client.zadd(keys.of("delayed"), {"soon": (now + 240_000) * 4096, "later": (now + 800_000) * 4096})
    for way in (0, 2):
        async with QueueReader.open(redis_settings) as reader:
            reader._ways.index, reader._ways.best_again_at = way, float("inf")
            found = await reader.read(names, horizon_ms={names[0]: 400_000, names[1]: 1_000_000})
        short, long, unnamed = (one for one in found.values() if isinstance(one, QueueSnapshot))
        assert (short.delayed_due_half, short.delayed_due_soon, short.horizon_ms) == (0, 1, 400_000)
        assert (long.delayed_due_quarter, long.delayed_due_half, long.delayed_due_soon) == (1, 1, 2)
        assert (unnamed.delayed_due_soon, unnamed.horizon_ms, unnamed.delayed) == (0, 0, 2)


async def test_what_waits_and_what_is_prioritized_have_ages_of_their_own(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    """A producer without priorities starves those that have them: `wait` stays young, `prioritized` grows old."""
    now = int(time.time() * 1000)
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("a", job_id="plain", lifo=True)
        await queue.enqueue("a", job_id="urgent", priority=1)
        await queue.enqueue("a", job_id="starved", priority=7)
    await client.hset(KEYS.job("starved"), "timestamp", now - 90_000)
    await client.hset(KEYS.job("plain"), "timestamp", now - 1_000)
    one = await read(redis_settings)
    assert (one.oldest_waiting_ms, one.oldest_prioritized_ms) == (now - 1_000, now - 90_000)
    assert one.oldest_ready_ms == now - 90_000
    await client.hset(KEYS.job("starved"), "processedOn", now - 500)
    assert (await read(redis_settings)).oldest_ready_ms == now - 1_000, "a retried job waits since its retry"
    await client.delete(KEYS.of("wait"))
    one = await read(redis_settings)
    assert one.oldest_waiting_ms is None
    assert one.oldest_prioritized_ms == one.oldest_ready_ms


async def test_the_newest_event_is_that_of_the_stream(redis_settings: ConnectionSettings, client: Redis) -> None:
    assert (await read(redis_settings)).last_event_id is None
    for _ in range(3):
        newest = await client.xadd(KEYS.of("events"), {"event": "completed", "returnvalue": "x" * 100_000})
    assert (await read(redis_settings)).last_event_id == newest
    await client.xtrim(KEYS.of("events"), maxlen=0)
    assert (await read(redis_settings)).last_event_id is None


async def test_active_failed_completed_jobs_and_their_counters(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    release = asyncio.Event()

    async def process(job: object, token: str) -> None:
        name = getattr(job, "name", "")
        if name == "fail":
            raise ValueError("as asked")
        if name == "hang":
            await release.wait()

    for name in ("ok", "ok", "fail"):
        await queue.enqueue(name, attempts=1)
    worker = Worker("q", process, {"connection": client, "metrics": {"maxDataPoints": 10}, "concurrency": 2})
    try:
        await _until(redis_settings, lambda one: one.completed == 2 and one.failed == 1)
        await queue.enqueue("hang")
        await _until(redis_settings, lambda one: one.active == 1)
        snapshot = await read(redis_settings)
    finally:
        release.set()
        await worker.close()
    assert (snapshot.completed_count, snapshot.failed_count, snapshot.backlog) == (2, 1, 0)


@pytest.mark.parametrize("generation", [5, 6])
async def test_paused_queues_of_both_generations(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis, generation: int
) -> None:
    await queue.enqueue("a", lifo=True)
    bull = BullQueue("q", {"connection": client})
    await bull.pause()
    if generation == 5:
        await client.rename(KEYS.of("wait"), KEYS.of("paused"))
    snapshot = await read(redis_settings)
    assert snapshot.paused
    assert (snapshot.waiting, snapshot.legacy_paused) == ((0, 1) if generation == 5 else (1, 0))
    assert snapshot.backlog == snapshot.waiting
    await bull.resume()
    assert not (await read(redis_settings)).paused


async def test_limits_of_the_queue(redis_settings: ConnectionSettings, client: Redis) -> None:
    bull = BullQueue("q", {"connection": client})
    await bull.setGlobalConcurrency(7)
    await bull.setGlobalRateLimit(10, 5000)
    await client.set(KEYS.of("limiter"), 9, px=60_000)
    snapshot = await read(redis_settings)
    assert (snapshot.global_concurrency, snapshot.rate_limit_max, snapshot.rate_limit_duration_ms) == (7, 10, 5000)
    assert snapshot.rate_limited_for_ms == 0, "nine of ten are taken"
    await client.incr(KEYS.of("limiter"))
    assert 0 < (await read(redis_settings)).rate_limited_for_ms <= 60_000
    await bull.removeGlobalRateLimit()
    assert (await read(redis_settings)).rate_limited_for_ms == 0, "without a maximum the counter says nothing"
    await bull.rateLimit(30_000)
    assert 0 < (await read(redis_settings)).rate_limited_for_ms <= 30_000, "limited by hand"


async def test_schedulers_and_waiting_children(redis_settings: ConnectionSettings, queue: Queue, client: Redis) -> None:
    await queue.schedule("hourly", cron="0 * * * *", tz="UTC")
    await queue.schedule("later", every=86_400_000 * 300)
    await client.zadd(KEYS.of("repeat"), {"finished": 1000})
    await client.zadd(KEYS.of("waiting-children"), {"parent": 1})
    snapshot = await read(redis_settings)
    assert snapshot.next_scheduler_ms is not None
    assert 0 <= snapshot.next_scheduler_ms - snapshot.now_ms <= 3_600_000
    assert snapshot.next_scheduler_ms % 3_600_000 == 0
    assert snapshot.waiting_children == 1
    assert (snapshot.delayed, snapshot.prioritized) == (1, 1), "an interval begins at once, a pattern waits"


@pytest.mark.parametrize("seed", range(25))
async def test_both_ways_read_the_same_of_a_rich_queue(
    redis_settings: ConnectionSettings, client: Redis, seed: int
) -> None:
    rng = random.Random(seed)
    now = int(time.time() * 1000)
    pipeline = client.pipeline(transaction=False)
    for number in range(rng.randrange(1, 60)):
        job_id = f"job-{number}"
        fields = {"timestamp": now - rng.randrange(10**7), "opts": json.dumps({"delay": rng.choice([0, 5, 10**6])})}
        if rng.random() < 0.3:
            fields["processedOn"] = now - rng.randrange(10**7)
        if rng.random() < 0.9:
            pipeline.hset(KEYS.job(job_id), mapping=fields)
        part = rng.choice(["wait", "prioritized", "delayed", "active", "failed", "completed", "paused", "repeat"])
        if part in {"wait", "active", "paused"}:
            rng.choice([pipeline.lpush, pipeline.rpush])(KEYS.of(part), job_id)
        elif part == "prioritized":
            priority = rng.choice([1, 2, 5, 10, 2_097_151, rng.randrange(1, 2_097_151)])
            pipeline.zadd(KEYS.of(part), {job_id: priority_score(priority, rng.randrange(2**32))})
        else:
            # Away from the moment of reading, which the two ways do not share.
            at = now + rng.choice([-1, 1]) * rng.randrange(20_000, 10**7)
            at += 20_000 if abs(at - now - HORIZON_MS) < 10_000 else 0
            at += 9_000 if abs(at - now - HORIZON_MS / 2) < 4_000 else 0
            pipeline.zadd(KEYS.of(part), {job_id: at * 4096 + rng.randrange(4096) if part == "delayed" else at})
    for field in ("paused", "concurrency", "max", "duration"):
        if rng.random() < 0.4:
            pipeline.hset(KEYS.of("meta"), field, rng.randrange(1, 100))
    for _ in range(rng.randrange(3)):
        pipeline.xadd(KEYS.of("events"), {"event": "added"})
    pipeline.hset(KEYS.of("metrics:completed"), "count", rng.randrange(2**50))
    pipeline.set(KEYS.of("limiter"), rng.choice([1, 50, 2**53 - 1]), px=60_000)
    await pipeline.execute()
    snapshot = await read(redis_settings)
    assert snapshot.waiting == await client.llen(KEYS.of("wait"))
    assert snapshot.prioritized == await client.zcard(KEYS.of("prioritized"))


async def test_many_queues_are_read_at_once_and_only_once(redis_settings: ConnectionSettings) -> None:
    names = [QueueKeys("bull", f"q{number}") for number in range(300)]
    async with Queue("q7", redis_settings) as queue, QueueReader.open(redis_settings) as reader:
        await queue.enqueue("a")
        outcomes = await reader.read([*names, *names])
    assert list(outcomes) == names
    backlogs = {keys.queue: one.backlog for keys, one in outcomes.items() if isinstance(one, QueueSnapshot)}
    assert len(backlogs) == 300
    assert {name for name, backlog in backlogs.items() if backlog} == {"q7"}


@pytest.mark.parametrize(
    "part", ["wait", "prioritized", "delayed", "active", "meta", "limiter", "repeat", "id", "events"]
)
async def test_a_wrong_key_spoils_its_own_queue_only(
    redis_settings: ConnectionSettings, client: Redis, part: str
) -> None:
    await (client.sadd(KEYS.of(part), "x") if part in {"limiter", "id"} else client.set(KEYS.of(part), "x"))
    other = QueueKeys("bull", "other")
    for way in (0, 2):
        async with QueueReader.open(redis_settings) as reader:
            reader._ways.index, reader._ways.best_again_at = way, float("inf")
            outcomes = await reader.read([KEYS, other])
            assert reader.uses_scripts == (way == 0)
        outcome = outcomes[KEYS]
        assert isinstance(outcome, RedisReadError)
        assert outcome.reason == "InvalidQueueKey"
        assert KEYS.of(part) in str(outcome)
        assert isinstance(outcomes[other], QueueSnapshot)


async def test_a_counter_that_is_no_number_is_an_error(redis_settings: ConnectionSettings, client: Redis) -> None:
    await client.hset(KEYS.of("meta"), "concurrency", "many")
    assert (await read(redis_settings)).global_concurrency is None


async def _until(settings: ConnectionSettings, is_so: Callable[[QueueSnapshot], bool]) -> None:
    deadline = time.monotonic() + 40
    async with QueueReader.open(settings) as reader:
        while True:
            outcome = (await reader.read([KEYS]))[KEYS]
            if isinstance(outcome, QueueSnapshot) and is_so(outcome):
                return
            assert time.monotonic() < deadline, outcome
            await asyncio.sleep(0.02)


async def test_a_delay_without_end_is_no_job_that_is_due(redis_settings: ConnectionSettings, client: Redis) -> None:
    """BullMQ takes `delay: Infinity`, and stores an infinite score."""
    await client.zadd("bull:q:delayed", {"never": "+inf"})
    await client.zadd("bull:q:repeat", {"never": "+inf"})
    await client.zadd("bull:q:qw:workers", {"odd": "+inf"})
    snapshot = await read(redis_settings)
    async with Queue("q", redis_settings) as queue:
        assert (snapshot.next_delayed_ms, snapshot.delayed_due) == (MAX_DUE_MS + 1, 0)
        assert snapshot.next_scheduler_ms == LAST_EXACT
        assert snapshot.oldest_ready_ms is None
        assert [one.next_run_ms for one in await queue.schedules()] == [LAST_EXACT]
        assert [one.name for one in await queue.workers()] == ["odd"]
        assert await queue.jobs("delayed") == []
        assert (await queue.promote()).matched == 1
