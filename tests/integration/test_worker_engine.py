"""The engine on a real server: order, limits, schedulers, and what other BullMQ programs read of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import bullmq
import pytest
import redis.asyncio
from stalls import Stalls
from worker_support import Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.fetch import Marker
from queueworker_worker.engine.options import Limiter
from queueworker_worker.engine.pooled import link_to
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


async def test_takes_plain_jobs_first_then_by_priority_each_in_the_order_added(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    for data, opts in [
        ("p5", {"priority": 5}),
        ("a", {}),
        ("p1", {"priority": 1}),
        ("b", {}),
        ("p5b", {"priority": 5}),
    ]:
        await stock_queue.add("any", data, opts)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 5)
    assert recorder.ran == ["a", "b", "p1", "p5", "p5b"]


@pytest.mark.timing
@pytest.mark.parametrize("milliseconds", [0, 100, 250, 1300])
async def test_idle_worker_starts_new_and_delayed_jobs_without_waiting_for_a_timeout(
    milliseconds: int, redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, stalls: Stalls
) -> None:
    late: list[float] = []

    async def note(job: Job) -> None:
        late.append(time.time() * 1000 - (job.timestamp + milliseconds))

    async with working(note, redis_settings, drain_delay_seconds=5.0) as worker:
        await eventually(lambda: worker.ready)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await stock_queue.add("any", {}, {"delay": milliseconds})
        await eventually(lambda: late)
    assert -5 <= late[0] < 300 + 1000 * stalls.since(began)


async def test_marker_that_comes_when_no_slot_listens_is_put_back(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    link, blocking = link_to(redis_settings), link_to(redis_settings)
    marker, stopped = Marker(link, blocking, "marker", longest_block=5), asyncio.Event()
    assert await marker.wait(0.05, stopped) is None
    marker.leave()
    await client.zadd("marker", {"1": 1_700_000_000_000})
    await eventually(lambda: client.zscore("marker", "1"))
    assert await marker.wait(1, stopped) == 1_700_000_000_000
    stopped.set()
    assert await marker.wait(1, stopped) is None
    await marker.aclose()
    assert await client.zrange("marker", 0, -1) == ["0"]
    await link.aclose()


@pytest.mark.timing
async def test_delayed_job_is_started_by_the_worker_that_did_not_pop_its_marker(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, stalls: Stalls
) -> None:
    """One worker pops the marker of the delayed job and is then busy: the other must still be on time."""
    started: dict[str, float] = {}
    both = asyncio.Event()

    async def note(job: Job) -> None:
        started[job.name] = time.monotonic()
        if job.name == "long":
            await both.wait()

    async with (
        working(note, redis_settings, name="one", drain_delay_seconds=5.0) as one,
        working(note, redis_settings, name="two", drain_delay_seconds=5.0) as two,
    ):
        await eventually(lambda: one.ready and two.ready)
        begun = time.monotonic()
        await stock_queue.add("delayed", {}, {"delay": 600})
        await stock_queue.add("long", {}, {})
        await eventually(lambda: len(started) == 2)
        both.set()
    assert started["delayed"] - begun < 0.95 + stalls.between(begun, started["delayed"])


async def test_stock_bullmq_reads_what_we_wrote(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def answer(job: Job) -> Any:
        await job.update_progress({"percent": 50})
        await job.log("half way")
        return {"sum": 3, "text": "grün"}

    job = await stock_queue.add("any", {"a": 1}, {"attempts": 4, "removeOnComplete": False})
    async with working(answer, redis_settings, name="pod-7"):
        await eventually(lambda: client.zscore(KEYS.of("completed"), job.id))
    stored = await bullmq.Job.fromId(stock_queue, job.id)
    assert stored is not None
    assert stored.returnvalue == {"sum": 3, "text": "grün"}
    assert (stored.attemptsMade, stored.attemptsStarted, stored.progress) == (1, 1, {"percent": 50})
    assert stored.processedOn <= stored.finishedOn
    assert abs(time.time() * 1000 - stored.finishedOn) < 10_000
    assert (await stock_queue.getJobLogs(job.id))["logs"] == ["half way"]
    assert await client.hget(KEYS.job(job.id), "pb") == "pod-7"
    assert await client.hget(KEYS.of("metrics:completed"), "count") == "1"
    events = [fields["event"] for _, fields in await client.xrange(KEYS.of("events"))]
    assert events == ["added", "waiting", "active", "progress", "completed", "drained"]
    assert not await client.exists(KEYS.lock(job.id))


async def test_finished_jobs_are_kept_by_their_own_policy_or_a_bounded_default(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    policies: list[dict[str, Any]] = [{"removeOnComplete": True}, {"removeOnComplete": False}, {}]
    jobs = [await stock_queue.add("any", {}, {"removeOnComplete": None, **policy}) for policy in policies]
    async with working(Recorder(), redis_settings) as worker:
        await eventually(lambda: worker.jobs_done == 3)
    assert [bool(await client.zscore(KEYS.of("completed"), job.id)) for job in jobs] == [False, True, True]


@pytest.mark.timing
async def test_limiter_is_honoured(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, stalls: Stalls
) -> None:
    await stock_queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(12)])
    times: list[float] = []

    async def note(job: Job) -> None:
        times.append(time.monotonic())

    async with working(note, redis_settings, concurrency=3, limiter=Limiter(max=4, duration_ms=400)):
        await eventually(lambda: len(times) == 12)
    assert 0.75 < times[-1] - times[0] < 1.4 + stalls.between(times[0], times[-1])


async def test_global_concurrency_holds_over_workers(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    running = most = 0
    done: list[int] = []

    async def count(job: Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done.append(job.data)

    await stock_queue.setGlobalConcurrency(2)
    await stock_queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(20)])
    async with (
        working(count, redis_settings, name="one", concurrency=3),
        working(count, redis_settings, name="two", concurrency=3),
    ):
        await eventually(lambda: len(done) == 20)
    assert most == 2


async def test_leaving_worker_passes_its_place_in_the_global_concurrency_on(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    """By a look of its own the other worker would find it after a minute."""
    await stock_queue.setGlobalConcurrency(1)
    begun, free, staying = asyncio.Event(), asyncio.Event(), Recorder()

    async def leaving(job: Job) -> None:
        begun.set()
        await free.wait()

    await stock_queue.add("any", 1, {})
    async with working(leaving, redis_settings, name="leaves", drain_delay_seconds=60.0) as first:
        await begun.wait()
        async with working(staying, redis_settings, name="stays", drain_delay_seconds=60.0) as second:
            await eventually(lambda: second.ready)
            await stock_queue.add("any", 2, {})
            first.drain()
            free.set()
            await eventually(lambda: first.jobs_done)
            await eventually(lambda: staying.ran == [2])


async def test_scheduler_goes_on(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder()
    await stock_queue.upsertJobScheduler("often", {"every": 150, "limit": 4}, "tick", {"n": 1}, {"priority": 3})
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 4)
        await asyncio.sleep(0.4)
    assert recorder.ran == [{"n": 1}] * 4
    assert await client.hget(KEYS.of("repeat:often"), "ic") == "4"


async def test_scheduler_with_a_pattern_has_its_next_job_waiting(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder()
    await stock_queue.upsertJobScheduler("secondly", {"pattern": "* * * * * *", "tz": "Europe/Berlin"}, "tick", {}, {})
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) >= 2)
        # Before the end of the worker, which may come just when a job has fallen due.
        (following,) = await eventually(lambda: client.zrange(KEYS.of("delayed"), 0, -1))
    assert following.startswith("repeat:secondly:")
    opts = json.loads(str(await client.hget(KEYS.job(following), "opts")))
    assert opts["repeat"]["pattern"] == "* * * * * *"
    assert opts["repeat"]["count"] >= 2


async def test_presence_and_statistics_are_written_and_the_presence_ends(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    await client.zadd(KEYS.workers, {"dead": 1})
    await client.hset(KEYS.worker, "dead", "{}")
    for name in ("fast", "fast", "slow"):
        await stock_queue.add(name, {}, {})

    async def work(job: Job) -> None:
        await asyncio.sleep(0.05 if job.name == "slow" else 0)

    begun_ms = time.time() * 1000
    async with working(work, redis_settings, name="pod-a", concurrency=3) as worker:
        await eventually(lambda: worker.ready and worker.jobs_done == 3)
        ended_ms = time.time() * 1000
        assert json.loads(str(await client.hget(KEYS.worker, "pod-a"))) == {"slots": 3, "maxStalledCount": 3}
        seen_ms = float(await client.zscore(KEYS.workers, "pod-a") or 0)
        assert begun_ms - 1 <= seen_ms <= time.time() * 1000 + 1
    assert await client.zrange(KEYS.workers, 0, -1) == []
    assert await client.hgetall(KEYS.worker) == {}
    stats = {field: int(value) for field, value in (await client.hgetall(KEYS.statistics)).items()}
    assert (stats["fast:jobs"], stats["slow:jobs"]) == (2, 1)
    assert 50 <= stats["slow:ms"] <= ended_ms - begun_ms
    assert sum(value for field, value in stats.items() if field.startswith("fast:h")) == 2


async def test_two_thousand_jobs_of_nothing(redis_settings: ConnectionSettings, stock_queue: bullmq.Queue) -> None:
    await stock_queue.addBulk([{"name": "any", "data": n, "opts": {"removeOnComplete": True}} for n in range(2_000)])
    recorder = Recorder()
    begun = time.monotonic()
    async with working(recorder, redis_settings, concurrency=10) as worker:
        await eventually(lambda: worker.jobs_done == 2_000)
        print(f"{2_000 / (time.monotonic() - begun):.0f} jobs/s at concurrency 10")
    assert sorted(recorder.ran) == list(range(2_000))
