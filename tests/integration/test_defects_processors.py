"""Defects of BullMQ's Python worker around the processor: what it raises, blocks or cancels, and who listens to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import bullmq
import pytest
import redis.asyncio
from stockworker import stock_working
from worker_support import Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.events import EVENTS
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


async def test_d4_lock_is_lost_while_closing_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    """D4: with one slot idle a close ends the renewal of locks while the other slot still runs."""
    runs: list[str] = []
    over = asyncio.Event()

    def named(name: str) -> Callable[..., Awaitable[None]]:
        async def work(job: Any, token: str) -> None:
            runs.append(name)
            if name == "first":
                await over.wait()

        return work

    await stock_queue.add("any", {}, {})
    # The first one looks for no stalled job: standing still it would take its own away from itself.
    short: dict[str, Any] = {"lockDuration": 500, "stalledInterval": 300_000, "drainDelay": 1}
    other: dict[str, Any] = {"lockDuration": 60_000, "stalledInterval": 300, "drainDelay": 1}
    async with stock_working(named("first"), redis_settings, concurrency=2, **short) as first:
        await eventually(lambda: runs == ["first"])
        # The idle slot must be waiting, which it is once the queue was found empty.
        await eventually(lambda: first.worker.waiting is not None)
        async with stock_working(named("second"), redis_settings, **other):
            closing = asyncio.create_task(first.worker.close())
            await eventually(lambda: len(runs) == 2)
            assert not closing.done()
            over.set()
            await closing
    assert runs == ["first", "second"]


async def test_d6_def_processor_fails_each_job_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D6: there is no place for a processor that blocks; one that is not `async` runs and its job fails."""
    ran: list[str] = []

    def work(job: Any, token: str) -> None:
        ran.append(job.id)

    job = await stock_queue.add("any", {}, {})
    async with stock_working(work, redis_settings) as stock:  # type: ignore[arg-type]
        await eventually(lambda: stock.failed == [job.id])
    assert ran == [job.id]
    assert "await" in str(await client.hget(KEYS.job(job.id), "failedReason"))


async def inner_task_that_was_cancelled() -> None:
    inner = asyncio.create_task(asyncio.sleep(30))
    await asyncio.sleep(0)
    inner.cancel()
    await inner


async def own_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(30)


async def own_task_after_its_last_await() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def scope_that_keeps_what_it_caught() -> None:
    """As a cancel scope of structured concurrency does: cancel the host from a timer, catch it, raise it again."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0.01, task.cancel, "scope")
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
        raise


async def again_and_again() -> None:
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    until = loop.time() + 0.1
    for delay in (0.0, 0.01, 0.02, 0.03):
        loop.call_later(delay, task.cancel)
    while loop.time() < until:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(until - loop.time())
    raise asyncio.CancelledError


async def group_whose_task_cancels_its_parent() -> None:
    parent = asyncio.current_task()
    assert parent is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0.01)).add_done_callback(lambda _: parent.cancel())
        group.create_task(asyncio.sleep(30))


LEAKS = [
    inner_task_that_was_cancelled,
    own_task,
    scope_that_keeps_what_it_caught,
    again_and_again,
    group_whose_task_cancels_its_parent,
]


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
async def test_d7_leaking_cancel_harms_its_own_job_only(
    leak: Callable[[], Awaitable[None]],
    redis_settings: ConnectionSettings,
    stock_queue: bullmq.Queue,
    client: redis.asyncio.Redis,
) -> None:
    """D7: a CancelledError that leaks from a processor ends the worker, and the jobs beside it are cancelled."""
    siblings: list[str] = []

    async def work(job: Job) -> None:
        if job.name == "leak":
            await leak()
        elif job.name == "sibling":
            # It is there until all others have ended.
            await eventually(lambda: worker.jobs_done == 3)
        siblings.append(job.name)

    await stock_queue.add("sibling", {}, {})
    bad = await stock_queue.add("leak", {}, {"attempts": 2})
    await stock_queue.add("after", {}, {})
    async with working(work, redis_settings, concurrency=2) as worker:
        await eventually(lambda: worker.jobs_done == 4)
        assert worker.ready
    assert siblings == ["after", "sibling"]
    assert await client.zscore(KEYS.of("failed"), bad.id)
    assert await client.hget(KEYS.job(bad.id), "atm") == "2"


async def test_d7_cancel_after_the_last_await_does_no_harm(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D7: a cancel that is asked for and not delivered before the processor ends must not hit what comes after it."""
    ran: list[str] = []

    async def work(job: Job) -> None:
        ran.append(job.name)
        if job.name == "leak":
            await own_task_after_its_last_await()

    leak = await stock_queue.add("leak", {}, {})
    for _ in range(3):
        await stock_queue.add("after", {}, {})
    async with working(work, redis_settings) as worker:
        await eventually(lambda: worker.jobs_done == 4)
        assert worker.ready
    assert ran == ["leak", "after", "after", "after"]
    assert await client.hget(KEYS.job(leak.id), "atm") == "1"
    assert await client.llen(KEYS.of("active")) == 0


@pytest.mark.parametrize("milliseconds", [0, 1, 5, 50])
async def test_d7_cancel_that_comes_late_hits_nobody(
    milliseconds: int, redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D7: a timer that a processor left behind cancels its task after the job's end: no other job may feel it."""
    ran: list[str] = []

    async def work(job: Job) -> None:
        ran.append(job.name)
        if job.name == "leak":
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(milliseconds / 1000, task.cancel)
        else:
            await asyncio.sleep(0.03)

    jobs = [await stock_queue.add(name, {}, {"attempts": 2}) for name in ("leak", "second", "third", "fourth")]
    # What a cancel took would come back only when its lock has ended.
    async with working(work, redis_settings, lock_duration_ms=120_000) as worker:
        await eventually(lambda: worker.jobs_done == 4)
    assert ran == ["leak", "second", "third", "fourth"]
    assert await client.zcard(KEYS.of("completed")) == 4
    assert [await client.hget(KEYS.job(job.id), "atm") for job in jobs] == ["1"] * 4


async def test_d7_leaking_cancel_ends_the_worker_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """The loop ends without an event, the job beside it is cancelled, and both stay active."""

    async def work(job: Any, token: str) -> None:
        await (inner_task_that_was_cancelled() if job.name == "leak" else asyncio.sleep(30))

    await stock_queue.add("sibling", {}, {})
    await stock_queue.add("leak", {}, {})
    async with stock_working(work, redis_settings, concurrency=2) as stock:
        await eventually(stock.run.done)
        assert stock.worker.running is False
        assert (stock.failed, stock.errors) == ([], [])
    assert await client.llen(KEYS.of("active")) == 2


def _raising(*_: Any) -> None:
    raise RuntimeError("sync listener")


async def _raising_later(*_: Any) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("async listener")


async def _cancelled(*_: Any) -> None:
    raise asyncio.CancelledError


async def _never_ending(*_: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "listener", [_raising, _raising_later, _cancelled, _never_ending], ids=lambda one: one.__name__
)
async def test_d8_raising_listeners_change_nothing(
    listener: Any,
    redis_settings: ConnectionSettings,
    stock_queue: bullmq.Queue,
    client: redis.asyncio.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """D8: a listener that raises leaves its job active, or makes a completed job look failed."""
    told: list[tuple[str, ...]] = []

    async def work(job: Job) -> str:
        await job.update_progress(50)
        if job.data == "bad":
            raise ValueError("bad")
        return "done"

    good = await stock_queue.add("any", "good", {})
    bad = await stock_queue.add("any", "bad", {"attempts": 2})
    async with working(work, redis_settings) as worker:
        for event in EVENTS:
            worker.on(event, listener)  # type: ignore[arg-type]
            worker.on(event, lambda *about, event=event: told.append((event, *map(str, about[1:]))))  # type: ignore[arg-type]
        await eventually(lambda: worker.jobs_done == 3)
        assert worker.ready
    assert await client.zrange(KEYS.of("completed"), 0, -1) == [good.id]
    assert await client.zrange(KEYS.of("failed"), 0, -1) == [bad.id]
    assert await client.hget(KEYS.job(bad.id), "atm") == "2"
    assert told.count(("completed", "done")) == 1
    assert told.count(("failed", "bad")) == 2
    assert ("a listener of completed raised RuntimeError" in caplog.text) is listener.__name__.startswith("_raising")


@pytest.mark.parametrize("event", ["active", "completed"])
async def test_d8_raising_listener_on_stock(
    event: str, redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """`active` strands the job unrun; `completed` makes it look failed to whoever listens."""

    def raising(*_: Any) -> None:
        raise RuntimeError("listener")

    recorder = Recorder()

    async def work(job: Any, token: str) -> None:
        await recorder(job)

    job = await stock_queue.add("any", 1, {})
    async with stock_working(work, redis_settings, on={event: raising}) as stock:
        await eventually(lambda: stock.errors)
        if event == "active":
            await asyncio.sleep(0.2)
            assert recorder.ran == []
            assert await client.lrange(KEYS.of("active"), 0, -1) == [job.id]
        else:
            await eventually(lambda: any("moveToFinished" in str(error) for error in stock.errors))
            assert recorder.ran == [1]
            assert await client.zscore(KEYS.of("completed"), job.id)


async def test_d8_unknown_backoff_strands_the_job_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """The failure itself fails: the job stays active until its lock has ended."""

    async def work(job: Any, token: str) -> None:
        raise ValueError("once")

    job = await stock_queue.add("any", {}, {"attempts": 2, "backoff": {"type": "fibonacci", "delay": 50}})
    async with stock_working(work, redis_settings) as stock:
        await eventually(lambda: any("backoff" in str(error) for error in stock.errors))
        assert await client.lrange(KEYS.of("active"), 0, -1) == [job.id]


async def test_d20_worker_is_named_in_its_jobs(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D20: which worker runs a job is stored nowhere."""
    never = asyncio.Event()

    async def work(job: Job) -> None:
        await never.wait()

    job = await stock_queue.add("any", {}, {})
    async with working(work, redis_settings, name="pod-7"):
        await eventually(lambda: client.exists(KEYS.lock(job.id)))
        assert await client.hget(KEYS.job(job.id), "pb") == "pod-7"
        assert str(await client.get(KEYS.lock(job.id))).startswith("pod-7:")
        never.set()


async def test_d20_worker_is_not_named_and_takes_no_signal_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """Its name is sent nowhere, and as PID 1 it would not hear SIGTERM."""

    async def work(job: Any, token: str) -> None: ...

    job = await stock_queue.add("any", {}, {})
    before = signal.getsignal(signal.SIGTERM)
    async with stock_working(work, redis_settings, name="pod-7") as stock:
        await eventually(lambda: stock.completed == [job.id])
        assert signal.getsignal(signal.SIGTERM) is before
    assert await client.hget(KEYS.job(job.id), "pb") is None


@pytest.mark.parametrize("megabytes", [1, 12])
async def test_huge_payloads_pass_and_hold_up_nobody(
    megabytes: int,
    redis_settings: ConnectionSettings,
    stock_queue: bullmq.Queue,
    client: redis.asyncio.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """W8: large data and results, other jobs meanwhile, no lock lost."""
    letters, done = megabytes * 250_000, []

    async def work(job: Job) -> Any:
        done.append(job.name)
        return job.data["text"] if job.name == "huge" else None

    huge = await stock_queue.add("huge", {"text": "ü" * letters}, {})
    for _ in range(50):
        await stock_queue.add("small", {}, {})
    async with working(work, redis_settings, concurrency=2, lock_duration_ms=15_000) as worker:
        await eventually(lambda: worker.jobs_done == 51)
    stored = json.loads(str(await client.hget(KEYS.job(huge.id), "returnvalue")))
    assert (len(stored), set(stored)) == (letters, {"ü"})
    assert done.count("small") == 50
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR], caplog.text


async def test_huge_error_is_cut_and_the_job_fails(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """W8: an error may hold a whole response; what is stored of it is bounded."""

    async def work(job: Job) -> None:
        raise UnrecoverableError("x" * 20_000_000)

    job = await stock_queue.add("any", {}, {})
    async with working(work, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert len(str(await client.hget(KEYS.job(job.id), "failedReason"))) < 10_000
    assert len(str(await client.hget(KEYS.job(job.id), "stacktrace"))) < 20_000
