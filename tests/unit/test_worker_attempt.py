"""A processor in its own task: its result, its errors, its cancels and its context variables stay its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest

from queueworker_worker.engine.attempt import begin, end_of
from queueworker_worker.job import Job

JOB = Job(id="1", queue="q", name="n", data=None, opts={}, timestamp=0, channel=None)  # type: ignore[arg-type]
request: ContextVar[str] = ContextVar("request", default="none")


async def run(handler: Callable[[Job], Awaitable[Any]]) -> tuple[Any, BaseException | None]:
    """Run a handler as a slot does, and check that the slot's own task is left in peace."""
    ended = await end_of(begin(handler, JOB))
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


async def test_a_handler_may_fail_before_it_returns_an_awaitable() -> None:
    def handler(job: Job) -> Awaitable[None]:
        raise ValueError("no coroutine")

    _, error = await run(handler)
    assert str(error) == "no coroutine"


async def test_a_cancelled_inner_task_is_an_error_of_the_job() -> None:
    async def handler(job: Job) -> None:
        inner = asyncio.create_task(asyncio.sleep(10))
        await asyncio.sleep(0)
        inner.cancel()
        await inner

    _, error = await run(handler)
    assert isinstance(error, asyncio.CancelledError)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_cancel_of_its_own_task_is_an_error_of_the_job(waits: bool) -> None:
    async def handler(job: Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            await asyncio.sleep(10)

    _, error = await run(handler)
    assert isinstance(error, asyncio.CancelledError)


async def test_a_cancel_before_the_first_step_ends_the_attempt_only() -> None:
    async def handler(job: Job) -> None:
        await asyncio.sleep(10)

    attempt = begin(handler, JOB)
    attempt.cancel()
    _, error = await end_of(attempt)
    assert isinstance(error, asyncio.CancelledError)


async def test_a_cancel_of_who_waits_cancels_the_processor() -> None:
    cancelled: list[str] = []

    async def handler(job: Job) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            cancelled.append(job.id)

    slot = asyncio.create_task(end_of(begin(handler, JOB)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    slot.cancel()
    _, error = await slot
    assert isinstance(error, asyncio.CancelledError)
    assert cancelled == ["1"]


async def test_context_variables_do_not_leak_into_the_next_job() -> None:
    seen: list[str] = []

    async def handler(job: Job) -> None:
        seen.append(request.get())
        request.set("mine")
        await asyncio.sleep(0)
        seen.append(request.get())

    await run(handler)
    await run(handler)
    assert seen == ["none", "mine"] * 2
    assert request.get() == "none"
