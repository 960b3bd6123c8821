"""The ways in which a job may end, be postponed or be cancelled, and what listeners hear of it."""

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

from queueworker.keys import QueueKeys, due_ms_of_score
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.limit import JobLimit
from queueworker_worker.engine.options import Limiter
from queueworker_worker.errors import (
    DelayedError,
    JobCancelledError,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
)
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


async def test_delayed_error_runs_the_job_later_without_using_its_attempt(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    ran: list[float] = []

    async def later(job: Job) -> str:
        ran.append(time.time() * 1000)
        if len(ran) < 3:
            raise DelayedError(delay_ms=150) if len(ran) == 1 else DelayedError(until_ms=int(ran[-1]) + 250)
        return f"{job.attempts_made} {job.attempts_started}"

    job = await stock_queue.add("step", {}, {"attempts": 1})
    async with working(later, redis_settings) as worker:
        await eventually(lambda: worker.jobs_done == 3)
    assert ran[1] - ran[0] >= 149
    assert ran[2] - ran[1] >= 249
    assert json.loads(await client.hget(KEYS.job(job.id), "returnvalue")) == "0 3"
    assert await client.hget(KEYS.job(job.id), "atm") == "1"


@pytest.mark.timing
@pytest.mark.parametrize("limiter", [None, Limiter(max=100, duration_ms=60_000)])
async def test_rate_limit_error_holds_the_queue(
    redis_settings: ConnectionSettings,
    client: redis.asyncio.Redis,
    stock_queue: bullmq.Queue,
    limiter: Limiter | None,
    stalls: Stalls,
) -> None:
    ran: list[tuple[Any, float]] = []

    async def limited(job: Job) -> None:
        ran.append((job.data, time.monotonic()))
        if len(ran) == 1:
            raise RateLimitError(400)

    for n in range(3):
        await stock_queue.add("any", n, {"attempts": 1})
    async with working(limited, redis_settings, limiter=limiter, concurrency=2) as worker:
        await eventually(lambda: len(ran) == 4)
        await eventually(lambda: worker.jobs_done == 4)
    assert sorted(data for data, _ in ran) == [0, 0, 1, 2]
    # One job may have been under way in the other slot when the first raised.
    assert sum(0.39 <= moment - ran[0][1] < 3 + stalls.between(ran[0][1], moment) for _, moment in ran) >= 2, ran
    assert await client.zcard(KEYS.of("failed")) == 0


async def test_waiting_children_error_runs_the_parent_after_its_children(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    steps: list[str] = []

    async def work(job: Job) -> Any:
        steps.append(f"{job.name} {job.attempts_made}")
        if job.name == "child":
            return job.data
        values = await job.children_values()
        if not values:
            for n in (1, 2):
                await stock_queue.add("child", n, {"parent": job.parent})
            assert await job.dependency_counts() == {"processed": 0, "unprocessed": 2, "ignored": 0, "failed": 0}
            raise WaitingChildrenError
        return sorted(values.values())

    parent = await stock_queue.add("parent", {}, {"attempts": 1})
    async with working(work, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("completed"), parent.id))
    assert steps == ["parent 0", "child 0", "child 0", "parent 0"]
    assert json.loads(await client.hget(KEYS.job(parent.id), "returnvalue")) == [1, 2]


async def test_waiting_children_error_without_children_runs_again_at_once(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    ran: list[int] = []

    async def work(job: Job) -> None:
        ran.append(job.attempts_started)
        if len(ran) == 1:
            raise WaitingChildrenError

    await stock_queue.add("any", {}, {"attempts": 1})
    async with working(work, redis_settings, drain_delay_seconds=60.0) as worker:
        await eventually(lambda: worker.jobs_done == 2)
    assert ran == [1, 2]


async def test_discard_makes_the_attempt_the_last_one(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    async def give_up(job: Job) -> None:
        job.discard()
        raise ValueError("no use")

    job = await stock_queue.add("any", {}, {"attempts": 5})
    async with working(give_up, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert await client.hget(KEYS.job(job.id), "atm") == "1"


async def test_data_that_a_job_stores_is_there_at_its_next_attempt(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    seen: list[Any] = []

    async def steps(job: Job) -> None:
        seen.append(job.data)
        if len(seen) == 1:
            await job.update_data({"step": 2})
            raise ValueError("again")

    await stock_queue.add("any", {"step": 1}, {"attempts": 2})
    async with working(steps, redis_settings) as worker:
        await eventually(lambda: worker.jobs_done == 2)
    assert seen == [{"step": 1}, {"step": 2}]


async def test_a_cancelled_job_fails_with_the_reason_and_is_tried_again(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    reasons: list[str | None] = []
    errors: list[BaseException] = []

    async def work(job: Job) -> str:
        if job.attempts_made:
            return "second"
        try:
            await asyncio.sleep(30)
        finally:
            reasons.append(job.cancel_reason)
        return "never"

    job = await stock_queue.add("any", {}, {"attempts": 2})
    other = await stock_queue.add("any", {}, {"attempts": 2})
    async with working(work, redis_settings, concurrency=2) as worker:
        worker.on("failed", lambda job, error: errors.append(error))
        await eventually(lambda: worker.jobs_running == 2)
        assert not worker.cancel_job("nobody", "x")
        await eventually(lambda: worker.cancel_job(job.id, "the user left"))
        await eventually(lambda: client.zscore(KEYS.of("completed"), job.id))
        assert await client.zscore(KEYS.of("completed"), other.id) is None, "the other one runs on"
        assert worker.cancel_all_jobs("closing") == 1
        await eventually(lambda: client.zscore(KEYS.of("completed"), other.id))
    assert reasons == ["the user left", "closing"]
    assert [(type(error), str(error)) for error in errors] == [
        (JobCancelledError, "the user left"),
        (JobCancelledError, "closing"),
    ]


async def test_a_processor_decides_what_becomes_of_its_cancel(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    begun: list[Any] = []

    async def work(job: Job) -> str:
        begun.append(job.data)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            if job.data == "fail":
                raise UnrecoverableError(f"stopped: {job.cancel_reason}") from None
        return "half done"

    failing, completing = await stock_queue.add("any", "fail", {"attempts": 3}), await stock_queue.add("any", "end", {})
    async with working(work, redis_settings, concurrency=2) as worker:
        await eventually(lambda: len(begun) == 2)
        assert worker.cancel_all_jobs("enough") == 2
        await eventually(lambda: worker.jobs_done == 2)
    assert await client.hget(KEYS.job(failing.id), "failedReason") == "stopped: enough"
    assert await client.hget(KEYS.job(completing.id), "returnvalue") == '"half done"'


async def test_listeners_hear_of_everything_and_harm_nothing(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    heard: list[str] = []

    async def slowly(job: Job, result: Any) -> None:
        await asyncio.sleep(0.01)
        heard.append(f"completed {job.data} {result}")

    def broken(*about: Any) -> None:
        raise RuntimeError("listener")

    async def broken_later(*about: Any) -> None:
        raise RuntimeError("async listener")

    async def work(job: Job) -> int:
        await job.update_progress({"at": job.data})
        if job.data == 2:
            raise ValueError("two")
        return int(job.data) * 10

    async with working(work, redis_settings) as worker:
        for event in ("active", "completed", "failed", "progress", "drained"):
            worker.on(event, broken)
            worker.on(event, broken_later)
        worker.on("active", lambda job: heard.append(f"active {job.data}"))
        worker.on("completed", slowly)
        worker.on("failed", lambda job, error: heard.append(f"failed {job.data} {error}"))
        worker.on("progress", lambda job_id, progress: heard.append(f"progress {progress['at']}"))
        worker.on("drained", lambda: heard.append("drained"))
        for n in (1, 2):
            await stock_queue.add("any", n, {})
        await eventually(lambda: "completed 1 10" in heard and "drained" in heard and worker.jobs_done == 2)
    expected = {"active 1", "progress 1", "completed 1 10", "active 2", "progress 2", "failed 2 two", "drained"}
    assert expected == set(heard), heard
    with pytest.raises(ValueError, match="no event 'done'"):
        worker.on("done", broken)  # type: ignore[arg-type]


async def test_stalled_and_error_are_heard_of(own_valkey: Any) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    stalled: list[str] = []
    errors: list[BaseException] = []
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=True) as client:
        await client.hset(KEYS.job("lost"), mapping={"name": "n", "data": "{}", "opts": "{}", "timestamp": "1"})
        await client.lpush(KEYS.of("active"), "lost")
        async with working(Recorder(), settings) as worker:
            worker.on("stalled", stalled.append)
            worker.on("error", errors.append)
            await eventually(lambda: stalled == ["lost"] and worker.jobs_done == 1)
            server.stop()
            await eventually(lambda: errors)


async def test_concurrency_changes_while_running(redis_settings: ConnectionSettings, stock_queue: bullmq.Queue) -> None:
    running, most, gate = 0, 0, asyncio.Event()

    async def work(job: Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        await asyncio.sleep(0.001)

    for n in range(60):
        await stock_queue.add("any", n, {})
    async with working(work, redis_settings, concurrency=2) as worker:
        await eventually(lambda: running == 2)
        worker.concurrency = 7
        await eventually(lambda: running == 7)
        worker.concurrency = 1
        most = 0
        gate.set()
        await eventually(lambda: worker.jobs_done >= 20)
        most = 0
        await eventually(lambda: worker.jobs_done == 60)
        assert most <= 1
        assert worker.concurrency == 1
        with pytest.raises(ValueError, match="at least one slot"):
            worker.concurrency = 0


async def test_slots_that_come_and_go_while_idle_do_not_pile_up(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    all_run = asyncio.Event()

    async def wait(job: Job) -> None:
        await all_run.wait()

    async with working(wait, redis_settings, concurrency=10) as worker:
        await eventually(lambda: worker.idle)
        before = len(asyncio.all_tasks())
        for _ in range(20):
            worker.concurrency = 1
            await asyncio.sleep(0)
            worker.concurrency = 10
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= before + 2
        for n in range(10):
            await stock_queue.add("any", n, {})
        await eventually(lambda: worker.jobs_running == 10)
        all_run.set()


async def test_a_paused_worker_takes_nothing_and_leaves_the_queue_to_others(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    first, second = Recorder(), Recorder()
    rare: dict[str, Any] = {"drain_delay_seconds": 60.0}
    async with working(first, redis_settings, name="first", **rare) as paused:
        await eventually(lambda: paused.ready)
        paused.pause()
        async with working(second, redis_settings, name="second", **rare) as other:
            await eventually(lambda: other.ready)
            for n in range(5):
                await stock_queue.add("any", n, {})
                await eventually(lambda n=n: len(second.ran) == n + 1)
        assert paused.paused
        assert first.ran == []
        await stock_queue.add("any", "mine", {})
        paused.resume()
        await eventually(lambda: first.ran == ["mine"])


async def test_a_job_limit_is_exact_and_ends_the_worker(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    recorder, limit = Recorder(), JobLimit(7)
    for n in range(20):
        await stock_queue.add("any", n, {})
    async with working(recorder, redis_settings, job_limit=limit, concurrency=5) as worker:
        await eventually(lambda: limit.exhausted and worker.jobs_done == 7)
    assert len(recorder.ran) == 7
    assert await client.llen(KEYS.of("wait")) == 13
    assert await client.llen(KEYS.of("active")) == 0


async def test_a_job_limit_above_the_backlog_waits_for_more(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    recorder, limit = Recorder(), JobLimit(4)
    async with working(recorder, redis_settings, job_limit=limit, concurrency=3) as worker:
        for n in range(6):
            await stock_queue.add("any", n, {})
            await eventually(lambda n=n: len(recorder.ran) == min(4, n + 1))
        await eventually(lambda: worker.jobs_done == 4)
    assert recorder.ran == [0, 1, 2, 3]


async def test_a_backoff_of_the_worker_s_own(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    async def fail(job: Job) -> None:
        raise ValueError(job.name)

    strategies = {
        "linear": lambda attempt, error, job: 60_000 * attempt,
        "never": lambda attempt, error, job: -1,
        "broken": lambda attempt, error, job: 1 // 0,
    }
    jobs = {
        name: await stock_queue.add(name, {}, {"attempts": 9, "backoff": {"type": name, "delay": 5}})
        for name in strategies
    }
    before = time.time() * 1000
    async with working(fail, redis_settings, backoff_strategies=strategies) as worker:
        await eventually(lambda: worker.jobs_done >= 3)
        await eventually(lambda: client.zscore(KEYS.of("delayed"), jobs["linear"].id))
        due = due_ms_of_score(await client.zscore(KEYS.of("delayed"), jobs["linear"].id))
        assert 59_000 <= due - before <= 70_000
        assert await client.zscore(KEYS.of("failed"), jobs["never"].id) is not None
        await eventually(lambda: client.zscore(KEYS.of("delayed"), jobs["broken"].id))
