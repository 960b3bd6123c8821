"""Locks, and jobs that a worker gives back at its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import bullmq
import redis.asyncio
from worker_support import Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.outcome import completed
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


async def test_lock_is_kept_while_a_job_outlives_it_also_through_the_drain(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    """Concurrency 2 with one idle slot: the end of the idle slot must not end the renewal."""
    first, second = Recorder(7.5), Recorder()
    await stock_queue.add("any", 1, {})
    async with working(first, redis_settings, name="first", concurrency=2, lock_duration_ms=6000) as leaving:
        await eventually(lambda: first.ran)
        async with working(second, redis_settings, name="second", lock_duration_ms=6000):
            leaving.drain()
            await eventually(lambda: leaving.jobs_done)
    assert (first.ran, second.ran) == ([1], [])


async def test_lock_carries_the_name_and_is_renewed(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    begun, free = asyncio.Event(), asyncio.Event()

    async def wait(job: Job) -> None:
        begun.set()
        await free.wait()

    job = await stock_queue.add("any", 1, {})
    async with working(wait, redis_settings, name="pod-a", concurrency=2, lock_duration_ms=6000) as worker:
        await begun.wait()
        worker.drain()
        ends = time.monotonic() + 7.5
        while time.monotonic() < ends:
            owner = await client.get(KEYS.lock(job.id))
            assert owner is not None
            assert owner.rpartition(":")[0] == "pod-a"
            await asyncio.sleep(0.02)
        free.set()
    assert await client.zscore(KEYS.of("completed"), job.id)
    assert await client.hget(KEYS.job(job.id), "stc") is None


async def test_given_back_job_is_taken_at_once_with_no_attempt_counted_and_its_priority(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """By a look of its own the other worker would find it after a minute."""
    started: list[str] = []
    never = asyncio.Event()

    def note(name: str) -> Any:
        async def run(job: Job) -> None:
            started.append(name)
            if name == "one":
                await never.wait()

        return run

    job = await stock_queue.add("any", {}, {"priority": 7})
    async with working(note("one"), redis_settings, name="one") as one:
        await eventually(lambda: started)
        async with working(note("two"), redis_settings, name="two", drain_delay_seconds=60.0) as two:
            await eventually(lambda: two.ready)
            await asyncio.sleep(0.1)
            await one.give_back()
            assert one.jobs_given_back == 1
            await eventually(lambda: len(started) == 2)
    assert started == ["one", "two"]
    fields = await client.hgetall(KEYS.job(job.id))
    assert (fields["atm"], fields.get("stc"), fields["priority"], fields["pb"]) == ("1", None, "7", "two")


async def test_processor_may_finish_while_it_is_being_cancelled(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    begun = asyncio.Event()

    async def stubborn(job: Job) -> str:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
        return "saved in time"

    job = await stock_queue.add("any", {}, {})
    async with working(stubborn, redis_settings) as worker:
        # A job counts as running a moment before its processor is called.
        await eventually(begun.is_set)
        await worker.give_back()
    assert await client.hget(KEYS.job(job.id), "returnvalue") == completed("saved in time").value


async def test_processor_that_ignores_the_cancel_loses_its_job_all_the_same(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    free = asyncio.Event()

    async def deaf(job: Job) -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    job = await stock_queue.add("any", {}, {})
    async with working(deaf, redis_settings) as worker:
        await eventually(lambda: worker.jobs_running)
        await worker.give_back(grace=0.2)
        assert (worker.jobs_given_back, worker.jobs_left) == (1, 0)
        assert await client.lrange(KEYS.of("wait"), 0, -1) == [job.id]
        assert not await client.exists(KEYS.lock(job.id))
        free.set()
    assert worker.jobs_done == 0


async def test_error_in_answer_to_the_cancel_costs_no_attempt(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def wrapping(job: Job) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            raise RuntimeError("interrupted") from error

    job = await stock_queue.add("any", {}, {})
    async with working(wrapping, redis_settings) as worker:
        await eventually(lambda: worker.jobs_running)
        await worker.give_back()
    assert await client.hget(KEYS.job(job.id), "atm") is None
    assert await client.lrange(KEYS.of("wait"), 0, -1) == [job.id]
