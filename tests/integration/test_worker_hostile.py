"""What other people's code and data must not be able to do to a worker: end it, hold it, or make it deaf in part."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bullmq
import psutil
import pytest
import redis.asyncio
from faultproxy import FaultProxy, Mode
from worker_support import SHORT, Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.limit import JobLimit
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.pooled import link_to
from queueworker_worker.engine.resp import RespLink
from queueworker_worker.engine.worker import Worker
from queueworker_worker.errors import DelayedError, RateLimitError
from queueworker_worker.job import Job
from queueworker_worker.settings import ProcessSettings
from queueworker_worker.supervisor import Fleet, Share

KEYS = QueueKeys("bull", "q")


@pytest.fixture
async def proxy(redis_settings: ConnectionSettings) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as between:
        yield between


@pytest.mark.parametrize(
    "opts",
    [
        '{"attempts": 1.7976931348623157e308, "backoff": 1.7976931348623157e308}',
        '{"removeOnComplete": 1e999, "removeOnFail": 1e999}',
        '{"removeOnComplete": 1e30, "removeOnFail": {"count": 1e30, "age": "old"}}',
        '{"stackTraceLimit": 1e30, "fpof": [1], "lifo": {}, "kl": "many"}',
        '{"repeat": {"pattern": "* * * * *", "count": 1e999}}',
    ],
)
@pytest.mark.parametrize("fails", [False, True])
async def test_options_of_other_producers_end_no_worker(
    opts: str, fails: bool, redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    async def work(job: Job) -> None:
        if fails and job.attempts_made == 0:
            raise ValueError("once")

    job = await stock_queue.add("any", {}, {"attempts": 2})
    await client.hset(KEYS.job(job.id), mapping={"opts": opts, "rjk": "planned", "atm": "0"})
    async with working(work, redis_settings) as worker:
        await eventually(lambda: worker.jobs_done)
        await stock_queue.add("any", {}, {})
        await eventually(lambda: worker.jobs_done >= 2)
    assert await client.llen(KEYS.of("active")) == 0


class _OwnError(DelayedError):
    def __init__(self) -> None:
        Exception.__init__(self, "not today")


@pytest.mark.parametrize(
    ("raises", "reason"),
    [
        (lambda: DelayedError(delay_ms=float("nan")), "delay_ms must be a number of milliseconds, not nan"),
        (lambda: DelayedError(delay_ms="5"), "delay_ms must be a number of milliseconds, not '5'"),  # type: ignore[arg-type]
        (lambda: RateLimitError(float("inf")), "limit_ms must be a number of milliseconds, not inf"),
        (_OwnError, "not today"),
    ],
)
async def test_postponing_errors_that_are_wrong_fail_the_job_and_lose_nothing(
    raises: Any, reason: str, redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    async def work(job: Job) -> None:
        raise raises()

    job = await stock_queue.add("any", {}, {})
    async with working(work, redis_settings) as worker:
        await eventually(lambda: worker.jobs_done)
    assert await client.zscore(KEYS.of("failed"), job.id)
    assert await client.hget(KEYS.job(job.id), "failedReason") == reason


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
async def test_listeners_may_raise_anything(
    error: BaseException, redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    def broken(*about: Any) -> None:
        raise error

    async def broken_later(*about: Any) -> None:
        raise error

    recorder = Recorder()
    async with working(recorder, redis_settings) as worker:
        for event in ("active", "completed", "drained"):
            worker.on(event, broken)
            worker.on(event, broken_later)
        for n in range(3):
            await stock_queue.add("any", n, {})
        await eventually(lambda: worker.jobs_done == 3)
    assert recorder.ran == [0, 1, 2]


@pytest.mark.parametrize(
    ("victim", "jobs"), [("LockKeeper.run", 1), ("Presence.run", 1), ("check_for_ever", 1), ("Serving.serve", 0)]
)
async def test_worker_whose_own_task_is_cancelled_ends_with_an_error_and_gives_its_jobs_back(
    victim: str, jobs: int, redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    """Without that task it would go on, deaf in part."""

    async def wait(job: Job) -> None:
        await asyncio.sleep(30)

    link, blocking = link_to(redis_settings), link_to(redis_settings)
    worker = Worker(wait, EngineOptions(queue="q", **SHORT), link=link, blocking=blocking)
    run = asyncio.create_task(worker.run())
    for _ in range(jobs):
        await stock_queue.add("any", {}, {})
    await eventually(lambda: worker.ready and worker.jobs_running == jobs)
    [task] = [one for one in asyncio.all_tasks() if victim in repr(one.get_coro())]
    task.cancel()
    try:
        with pytest.raises(RuntimeError, match="was cancelled by something else"):
            await asyncio.wait_for(run, 30)
    finally:
        await link.aclose()
        await blocking.aclose()
    assert await client.llen(KEYS.of("active")) == 0
    assert await client.llen(KEYS.of("wait")) == jobs


async def test_job_that_outlives_its_worker_leaves_nothing_behind(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue
) -> None:
    """It takes no notice of its cancel, and returns when the connections are closed."""
    free = asyncio.Event()

    async def deaf(job: Job) -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    await stock_queue.add("any", {}, {})
    before = asyncio.all_tasks()
    async with working(deaf, redis_settings) as worker:
        await eventually(lambda: worker.jobs_running)
        await worker.give_back(grace=0.1)
    free.set()
    await eventually(lambda: asyncio.all_tasks() <= before, what="the end of the slot")


async def test_connection_is_made_while_processors_hold_all_threads_of_the_loop(
    redis_settings: ConnectionSettings,
) -> None:
    free = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    held = asyncio.ensure_future(asyncio.to_thread(free.wait, 90))
    link = RespLink(ConnectionSettings(host="localhost", port=redis_settings.port))
    try:
        assert await asyncio.wait_for(link.execute("PING"), 30) == "PONG"
    finally:
        free.set()
        await held
        await link.aclose()


async def test_job_limit_counts_a_job_whose_taking_was_not_heard_of(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, proxy: FaultProxy, stock_queue: bullmq.Queue
) -> None:
    recorder = Recorder()
    settings = ConnectionSettings(host=proxy.host, port=proxy.port)
    quiet: dict[str, Any] = {"lock_duration_ms": 9_000, "heartbeat_seconds": 30, "skip_stalled_check": True}
    async with working(recorder, settings, job_limit=JobLimit(1), **quiet) as worker:
        await eventually(lambda: _sleeps(worker, client))
        # What is asked from now on is done, and its reply lost.
        proxy.mode = Mode.DROP_REPLY
        await stock_queue.addBulk([{"name": "any", "data": n} for n in range(2)])
        await eventually(lambda: client.llen(KEYS.of("active")))
        proxy.mode = Mode.PASS
        await eventually(lambda: worker.jobs_done)
        await asyncio.sleep(0.1)
    assert recorder.ran == [0]


async def test_every_process_of_a_large_fleet_starts_again_when_it_dies() -> None:
    """More of them than the loop has threads by default."""
    count = (os.cpu_count() or 1) + 8
    words = ["sleep", f"{os.getpid()}.5"]

    def lives(one: psutil.Process) -> bool:
        try:
            return one.status() != "zombie" and one.cmdline() == words
        except psutil.NoSuchProcess:
            # It ended between the list and the look.
            return False

    def living() -> list[psutil.Process]:
        return [one for one in psutil.Process().children() if lives(one)]

    fleet = Fleet([Share(command=words, ends=False)] * count, ProcessSettings.of_process({"QUEUEWORKER_NAME": "many"}))
    running = asyncio.create_task(fleet.run())
    try:
        await eventually(lambda: len(living()) == count)
        for one in living():
            one.kill()
        await eventually(lambda: len(living()) == count, what="all of them again")
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 30) == 0


async def _sleeps(worker: Worker, client: redis.asyncio.Redis) -> bool:
    """Tell whether a worker is there and waits for the marker."""
    return worker.ready and bool((await client.info("clients"))["blocked_clients"])
