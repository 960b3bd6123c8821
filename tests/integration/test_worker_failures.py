"""Jobs that fail on a real server: retries, backoff, what a processor raises, what cannot be read."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import bullmq
import pytest
import redis.asyncio
from stalls import Stalls
from worker_support import Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


@pytest.mark.timing
async def test_failed_job_is_retried_with_backoff_and_keeps_its_traces(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis, stalls: Stalls
) -> None:
    tries: list[float] = []

    async def fail(job: Job) -> None:
        tries.append(time.monotonic())
        assert job.attempts_made == len(tries) - 1
        raise ValueError(f"try {len(tries)}")

    job = await stock_queue.add("any", {}, {"attempts": 3, "backoff": {"type": "exponential", "delay": 600}})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert len(tries) == 3
    assert 0.59 < gaps[0] < 1.08 + stalls.between(tries[0], tries[1]), gaps
    assert 1.19 < gaps[1] < 2.1 + stalls.between(tries[1], tries[2]), gaps
    stored = await bullmq.Job.fromId(stock_queue, job.id)
    assert stored is not None
    assert (stored.attemptsMade, stored.attemptsStarted, stored.failedReason) == (3, 3, "try 3")
    assert [trace.splitlines()[-1] for trace in stored.stacktrace] == [f"ValueError: try {n}" for n in (1, 2, 3)]
    assert "queueworker_worker" not in "".join(stored.stacktrace)


async def test_unknown_backoff_type_falls_back_and_is_said(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, caplog: pytest.LogCaptureFixture
) -> None:
    ran = 0

    async def fail_once(job: Job) -> None:
        nonlocal ran
        ran += 1
        if ran == 1:
            raise RuntimeError("first")

    await stock_queue.add("any", {}, {"attempts": 2, "backoff": {"type": "fibonacci", "delay": 50}})
    async with working(fail_once, redis_settings):
        await eventually(lambda: ran == 2)
    assert "unknown backoff type 'fibonacci': exponential is used" in caplog.text


async def test_unrecoverable_error_spends_no_more_attempts(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def fail(job: Job) -> None:
        raise UnrecoverableError("never again")

    job = await stock_queue.add("any", {}, {"attempts": 5})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert await client.hget(KEYS.job(job.id), "atm") == "1"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncio.CancelledError(), "CancelledError"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
async def test_nothing_that_a_processor_raises_ends_the_worker(
    error: BaseException,
    reason: str,
    redis_settings: ConnectionSettings,
    stock_queue: bullmq.Queue,
    client: redis.asyncio.Redis,
) -> None:
    ran: list[str] = []

    async def fail(job: Job) -> None:
        ran.append(job.name)
        if job.name == "bad":
            raise error

    job = await stock_queue.add("bad", {}, {})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
        await stock_queue.add("good", {}, {})
        await eventually(lambda: ran == ["bad", "good"])
    assert await client.hget(KEYS.job(job.id), "failedReason") == reason


async def test_processor_that_cancels_its_own_task_fails_alone(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def cancel_itself(job: Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        if job.name == "bad":
            task.cancel()
            await asyncio.sleep(1)

    job = await stock_queue.add("bad", {}, {})
    good = await stock_queue.add("good", {}, {})
    async with working(cancel_itself, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("completed"), good.id))
    assert await client.zscore(KEYS.of("failed"), job.id)


async def test_result_that_is_not_json_fails_the_job(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def odd(job: Job) -> Any:
        return object()

    job = await stock_queue.add("any", {}, {"attempts": 3})
    async with working(odd, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert "is not JSON" in str(await client.hget(KEYS.job(job.id), "failedReason"))


async def test_jobs_that_cannot_be_read_fail_with_the_reason(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    await client.hset(KEYS.job("broken"), mapping={"name": "x", "data": "{no json", "opts": "{}"})
    await client.lpush(KEYS.of("wait"), "broken", "missing")
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: client.zcard(KEYS.of("failed")), what="two failed")
        await eventually(lambda: _is(client.zcard(KEYS.of("failed")), 2))
    assert recorder.ran == []
    assert "data is not JSON" in str(await client.hget(KEYS.job("broken"), "failedReason"))
    assert "no name" in str(await client.hget(KEYS.job("missing"), "failedReason"))


async def _is(answer: Any, wanted: Any) -> bool:
    return bool(await answer == wanted)


async def test_job_whose_children_have_not_ended_fails(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    job = await stock_queue.add("any", {}, {"attempts": 5})
    await client.sadd(KEYS.job(job.id) + ":dependencies", "bull:other:1")
    async with working(Recorder(), redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert await client.hget(KEYS.job(job.id), "failedReason") == "it has children that have not ended"
