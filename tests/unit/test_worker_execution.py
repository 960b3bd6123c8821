"""Where a processor runs, and how long it may."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import worker_crunch
from test_worker_processor import job_of, run

from queueworker_worker.context import Dependencies
from queueworker_worker.errors import JobTimeoutError, ProcessorError
from queueworker_worker.execution import handler_of
from queueworker_worker.job import Job
from queueworker_worker.processor import processor
from queueworker_worker.registry import Registry


async def test_late_async_processor_is_cancelled_and_can_read_why() -> None:
    seen: list[str | None] = []

    @processor("mail", timeout_seconds=0.02)
    async def slow(job: Job) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append(job.cancel_reason)
            raise

    with pytest.raises(JobTimeoutError, match=r"slow timed out after 0\.02 s"):
        await run(Registry.of([slow]), job_of())
    assert seen == ["timed out after 0.02 s"]


async def test_quick_processor_and_its_own_timeout_error_are_no_timeouts() -> None:
    @processor("mail", timeout_seconds=10)
    async def quick(job: Job) -> str:
        if job.data:
            raise TimeoutError("of a server")
        return "done"

    registry = Registry.of([quick])
    job = job_of()
    assert await run(registry, job) == "done"
    assert job.cancel_reason is None
    with pytest.raises(TimeoutError, match="of a server"):
        await run(registry, job_of(True))


async def test_cancel_from_outside_is_no_timeout() -> None:
    @processor("mail", timeout_seconds=10)
    async def slow(job: Job) -> None:
        await asyncio.sleep(10)

    running = asyncio.create_task(run(Registry.of([slow]), job_of()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_late_thread_fails_its_attempt_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    may_end, ended = threading.Event(), threading.Event()

    # Long enough for its thread to begin on a busy machine.
    @processor("mail", timeout_seconds=1)
    def slow(job: Job) -> None:
        may_end.wait(60)
        ended.set()

    job = job_of()
    handler = handler_of(Registry.of([slow]), "mail", Dependencies([]), threads=ThreadPoolExecutor(1))
    try:
        with pytest.raises(JobTimeoutError, match="slow timed out after 1 s"):
            await handler(job)
        assert job.cancel_reason == "timed out after 1 s"
        assert not ended.is_set()
        assert "goes on in its thread, which nothing can stop" in caplog.text
    finally:
        may_end.set()
    assert await asyncio.to_thread(ended.wait, 30)


async def test_thread_that_could_not_begin_in_time_never_begins() -> None:
    begun, may_end = threading.Event(), threading.Event()
    ran: list[Any] = []

    @processor("mail", "first")
    def slow(job: Job) -> None:
        ran.append(job.data)
        begun.set()
        may_end.wait(60)

    @processor("mail", "second", timeout_seconds=0.02)
    def late(job: Job) -> None:
        ran.append(job.data)

    threads = ThreadPoolExecutor(1)
    handler = handler_of(Registry.of([slow, late]), "mail", Dependencies([]), threads=threads)
    first = asyncio.ensure_future(handler(job_of(0, name="first")))
    assert await asyncio.to_thread(begun.wait, 30)
    with pytest.raises(JobTimeoutError):
        await handler(job_of(1, name="second"))
    may_end.set()
    await first
    await asyncio.to_thread(threads.shutdown)
    assert ran == [0]


def test_execution_is_the_functions_own_unless_it_is_a_process() -> None:
    async def coroutine() -> None: ...

    def plain() -> None: ...

    registry = Registry.of(
        [processor("a")(coroutine), processor("b")(plain), processor("c", execution="async")(coroutine)]
    )
    assert [registry.of_queue(queue)[0].execution for queue in ("a", "b", "c")] == ["async", "thread", "async"]
    assert {one.execution for one in Registry.of_modules([worker_crunch]).of_queue("crunch")} == {"process"}


def test_declarations_that_cannot_work_are_refused_where_they_stand() -> None:
    async def coroutine() -> None: ...

    def plain() -> None: ...

    with pytest.raises(ProcessorError, match="is an async def, which cannot run as 'thread': leave execution out"):
        processor("a", execution="thread")(coroutine)
    with pytest.raises(ProcessorError, match="is a def, which cannot run as 'async'"):
        processor("a", execution="async")(plain)
    with pytest.raises(ProcessorError, match="'fork' is none of async, thread, process"):
        processor("a", execution="fork")  # type: ignore[arg-type]
    with pytest.raises(ProcessorError, match="timeout_seconds must be above 0"):
        processor("a", timeout_seconds=0)
    with pytest.raises(ProcessorError, match="max_jobs_per_child is at least 1"):
        processor("a", max_jobs_per_child=5)
    with pytest.raises(ProcessorError, match="must stand at the top of a module"):
        Registry.of([processor("a", execution="process")(plain)])
