"""Defects of BullMQ's Python worker while it waits: idle, limited, for delayed jobs, for the jobs of the dead.

`test_defects_index.py` says where each of the defects D1 to D20 is tested; the names ending in `_on_stock` show the
defect itself, so that a bullmq that is mended shows itself.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import bullmq
import pytest
import redis.asyncio
from stalls import Stalls
from stockworker import stock_working
from worker_support import Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.options import Limiter
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


class Stopwatch:
    """A processor that notes when each job began."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __call__(self, job: Any, *_: Any) -> None:
        self.times.append(time.monotonic())

    async def late(self, due: float) -> float:
        """Wait for the first job and return by how many seconds it came too late."""
        await eventually(lambda: self.times)
        return self.times[0] - due


async def _least(lateness: Callable[[], Awaitable[float]]) -> float:
    """Measure until it is on time, at most four times: the defect is there every time, a busy machine is not."""
    least = math.inf
    for _ in range(4):
        least = min(least, await lateness())
        if least < 0.3:
            break
    return least


async def _most(lateness: Callable[[], Awaitable[float]], *, late: float = 1.0) -> float:
    """Measure until it is late, at most four times: a worker that the machine holds up may wake at the right time."""
    most = -math.inf
    for _ in range(4):
        most = max(most, await lateness())
        if most > late:
            break
    return most


@pytest.mark.timing
async def test_d1_idle_worker_stays_awake(redis_settings: ConnectionSettings, stock_queue: bullmq.Queue) -> None:
    """D1: the client's timeout is shorter than the wait for jobs, and each time-out makes the worker sleep longer."""
    watch = Stopwatch()
    async with working(watch, redis_settings, drain_delay_seconds=0.3) as worker:
        await eventually(lambda: worker.ready)

        async def lateness() -> float:
            watch.times.clear()
            await asyncio.sleep(2.5)
            added = time.monotonic()
            await stock_queue.add("any", {}, {})
            return await watch.late(added)

        assert await _least(lateness) < 0.3


@pytest.mark.timing
async def test_d1_idle_worker_waits_for_a_delayed_job(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    """D1: a job whose delay was longer than the wait started minutes late."""
    watch = Stopwatch()
    async with working(watch, redis_settings, drain_delay_seconds=0.5) as worker:
        await eventually(lambda: worker.ready)

        async def lateness() -> float:
            watch.times.clear()
            added = time.monotonic()
            await stock_queue.add("any", {}, {"delay": 2_300})
            return await watch.late(added + 2.3)

        assert -0.01 < await _least(lateness) < 0.3


async def _waits(client: redis.asyncio.Redis) -> bool:
    return any(one["cmd"] == "bzpopmin" for one in await client.client_list())


async def _waits_no_more(client: redis.asyncio.Redis) -> bool:
    return not await _waits(client)


async def test_d1_idle_worker_stays_awake_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """The defect in small: waits of 1 s on a connection that times out after 0.3 s (the defaults are 5 s and 5 s)."""
    options = redis.asyncio.Redis().connection_pool.connection_kwargs
    assert options["socket_timeout"] == 5
    watch = Stopwatch()
    connection = {"host": redis_settings.host, "port": redis_settings.port, "socket_timeout": 0.3}
    async with stock_working(watch, redis_settings, connection=connection, drainDelay=1) as stock:
        assert bullmq.Worker("q", None, {"connection": connection}).opts["drainDelay"] == 5

        async def lateness() -> float:
            watch.times.clear()
            await eventually(lambda: _waits(client))
            # It sleeps as soon as its first wait has timed out, for 2 s.
            await eventually(lambda: _waits_no_more(client))
            added = time.monotonic()
            await stock_queue.add("any", {}, {})
            return await watch.late(added)

        assert await _most(lateness) > 1
        assert stock.errors == []


@pytest.mark.timing
async def test_d3_limiter_of_the_worker_is_exact(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, stalls: Stalls
) -> None:
    """D3: the worker drops the time that the limit still holds, and sleeps for its whole wait instead."""
    await stock_queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(30)])
    watch = Stopwatch()
    async with working(watch, redis_settings, concurrency=3, limiter=Limiter(max=6, duration_ms=500)):
        await eventually(lambda: len(watch.times) == 30)
    _assert_exact(watch.times, most=6, seconds=0.5, stalled=stalls.between(watch.times[0], watch.times[-1]))


@pytest.mark.timing
async def test_d3_rate_limit_of_the_queue_is_exact(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, stalls: Stalls
) -> None:
    """D3: the same for the limit that is set on the queue for all workers."""
    await stock_queue.setGlobalRateLimit(6, 500)
    await stock_queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(30)])
    watch = Stopwatch()
    async with (
        working(watch, redis_settings, name="one", concurrency=3),
        working(watch, redis_settings, name="two", concurrency=3),
    ):
        await eventually(lambda: len(watch.times) == 30)
    _assert_exact(watch.times, most=6, seconds=0.5, stalled=stalls.between(watch.times[0], watch.times[-1]))


def _assert_exact(times: list[float], *, most: int, seconds: float, stalled: float) -> None:
    """Assert that jobs began in groups of `most`, one group per window, each soon after the last window ended."""
    groups = [times[n : n + most] for n in range(0, len(times), most)]
    starts = [group[0] - times[0] for group in groups]
    for number, start in enumerate(starts):
        assert start > number * (seconds - 0.02) - 0.01, starts
    assert starts[-1] < (len(groups) - 1) * seconds * 1.03 + 0.3 + stalled, starts
    for group, following in itertools.pairwise(groups):
        assert following[0] - group[0] > seconds - 0.05, starts


async def test_d3_limiter_is_ignored_on_stock(redis_settings: ConnectionSettings, stock_queue: bullmq.Queue) -> None:
    """12 jobs at 4 per 0.4 s are due after 0.8 s; after 2.5 s the stock worker still sleeps on the second group."""
    await stock_queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(12)])
    watch = Stopwatch()
    async with stock_working(watch, redis_settings, limiter={"max": 4, "duration": 400}):
        await eventually(lambda: len(watch.times) == 4)
        await asyncio.sleep(2.5)
        assert len(watch.times) < 12


@pytest.mark.timing
@pytest.mark.parametrize("milliseconds", [100, 250, 1300])
@pytest.mark.parametrize("busy", [False, True])
async def test_d5_delayed_jobs_are_on_time(
    busy: bool, milliseconds: int, redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    """D5: waits are rounded up to whole seconds. Here also while the other slots are busy with other jobs."""
    due = Stopwatch()
    stop = time.monotonic() + milliseconds / 1000 + 0.4

    async def work(job: Job) -> None:
        if job.name == "due":
            await due(job)
        elif time.monotonic() < stop:
            await asyncio.sleep(0.002)
            await stock_queue.add("other", {}, {"removeOnComplete": True})

    async with working(work, redis_settings, concurrency=3, drain_delay_seconds=5.0) as worker:
        await eventually(lambda: worker.ready)
        if busy:
            await stock_queue.add("other", {}, {})
            await stock_queue.add("other", {}, {})

        async def lateness() -> float:
            due.times.clear()
            added = time.monotonic()
            await stock_queue.add("due", {}, {"delay": milliseconds})
            return await due.late(added + milliseconds / 1000)

        assert -0.01 < await _least(lateness) < 0.3


async def test_d5_delayed_jobs_are_late_on_stock(redis_settings: ConnectionSettings, stock_queue: bullmq.Queue) -> None:
    """A delay of 100 ms takes a whole second."""
    watch = Stopwatch()
    async with stock_working(watch, redis_settings):

        async def lateness() -> float:
            watch.times.clear()
            await asyncio.sleep(0.3)
            added = time.monotonic()
            await stock_queue.add("any", {}, {"delay": 100})
            return await watch.late(added + 0.1)

        assert await _most(lateness, late=0.5) > 0.5


async def _orphan(stock_queue: bullmq.Queue, client: redis.asyncio.Redis) -> None:
    """Leave a job behind as a worker does that was killed after its last stalled check."""
    await stock_queue.add("any", {}, {"jobId": "orphan"})
    await client.lrem(KEYS.of("wait"), 0, "orphan")
    await client.delete(KEYS.of("marker"))
    await client.lpush(KEYS.of("active"), "orphan")
    await client.sadd(KEYS.of("stalled"), "orphan")


async def test_d17_first_stalled_check_is_at_the_start(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D17: a worker that starts alone checks for stalled jobs only after a whole interval."""
    await _orphan(stock_queue, client)
    recorder = Recorder()
    async with working(recorder, redis_settings, stalled_interval_ms=120_000):
        await eventually(lambda: recorder.ran)
    assert await client.hget(KEYS.job("orphan"), "stc") == "1"


async def test_d17_first_stalled_check_is_late_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """With an interval of 2 s nothing happens before it is over."""
    await _orphan(stock_queue, client)
    watch = Stopwatch()
    begun = time.monotonic()
    async with stock_working(watch, redis_settings, stalledInterval=2_000, drainDelay=1):
        assert await watch.late(begun) > 1.9
