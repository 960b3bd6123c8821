"""A processor in its slot's task: its result, its errors, its cancels and its context variables stay its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from queueworker_worker.engine.attempt import absorb_cancels, attempt
from queueworker_worker.job import Job

JOB = Job(id="1", queue="q", name="n", data=None, opts={}, timestamp=0, channel=None)  # type: ignore[arg-type]
request: ContextVar[str] = ContextVar("request", default="none")


async def run(handler: Callable[[Job], Awaitable[Any]]) -> tuple[Any, BaseException | None]:
    """Run a handler as a slot does, and check that the slot's own next await is left in peace."""
    ended = await attempt(handler, JOB)
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    return ended


async def test_a_result_comes_back() -> None:
    async def handler(job: Job) -> str:
        await asyncio.sleep(0)
        return job.id

    assert await run(handler) == ("1", None)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
async def test_whatever_is_raised_is_a_value(error: BaseException) -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(0)
        raise error

    assert await run(handler) == (None, error)


async def test_a_cancelled_inner_task_is_an_error_of_the_job() -> None:
    async def handler(job: Job) -> None:
        inner = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    _, error = await run(handler)
    assert isinstance(error, asyncio.CancelledError)


async def test_a_cancel_that_is_never_delivered_does_not_reach_the_slot() -> None:
    async def handler(job: Job) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return "done"

    assert await run(handler) == ("done", None)


async def test_a_cancel_of_its_own_task_is_an_error_of_the_job() -> None:
    async def handler(job: Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        task.cancel()
        await asyncio.sleep(10)

    _, error = await run(handler)
    assert isinstance(error, asyncio.CancelledError)


async def test_a_timeout_inside_works_as_ever() -> None:
    async def handler(job: Job) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(10)
        except TimeoutError:
            return "late"
        return "in time"

    assert await run(handler) == ("late", None)


async def test_a_task_group_inside_works_as_ever() -> None:
    async def fail() -> None:
        raise ValueError("child")

    async def handler(job: Job) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await asyncio.sleep(10)

    _, error = await run(handler)
    assert isinstance(error, ExceptionGroup)


async def test_context_variables_do_not_leak_into_the_next_job() -> None:
    seen: list[str] = []

    async def handler(job: Job) -> None:
        seen.append(request.get())
        request.set("mine")
        await asyncio.sleep(0)
        seen.append(request.get())
        child = asyncio.create_task(note())
        await child

    async def note() -> None:
        seen.append(request.get())

    await run(handler)
    await run(handler)
    assert seen == ["none", "mine", "mine"] * 2
    assert request.get() == "none"


async def test_closing_the_loop_closes_the_processor() -> None:
    closed: list[str] = []

    async def handler(job: Job) -> None:
        try:
            await asyncio.Future()
        finally:
            closed.append("yes")

    running = attempt(handler, JOB)
    running.send(None)
    running.close()
    assert closed == ["yes"]


async def test_absorbing_says_whether_there_was_a_cancel() -> None:
    assert not absorb_cancels()
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert absorb_cancels()
    assert not absorb_cancels()
