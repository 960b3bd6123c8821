"""Hooks around processors: their order, what they may raise, and what they see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from test_worker_processor import job_of, run

from queueworker_worker import hooks
from queueworker_worker.errors import DelayedError, ProcessorError, UnrecoverableError
from queueworker_worker.hooks import after, backoff, before, listener, on_error
from queueworker_worker.job import Job
from queueworker_worker.processor import processor
from queueworker_worker.registry import Registry


@processor("mail")
async def work(job: Job) -> Any:
    if isinstance(job.data, BaseException):
        raise job.data
    return {"data": job.data}


def noting(notes: list[str], word: str, error: BaseException | None = None) -> Callable[..., None]:
    def note(job: Job, *about: Any) -> None:
        notes.append(" ".join([word, *map(str, about)]))
        if error is not None:
            raise error

    return note


def noting_later(notes: list[str], word: str) -> Callable[..., Any]:
    async def note(job: Job, *about: Any) -> None:
        await asyncio.sleep(0)
        notes.append(" ".join([word, *map(str, about)]))

    return note


async def test_before_runs_in_order_and_after_in_reverse_sync_or_async() -> None:
    notes: list[str] = []
    registry = Registry.of(
        [
            work,
            after()(noting(notes, "last")),
            before()(noting(notes, "first")),
            before("mail")(noting_later(notes, "second")),
            before("other")(noting(notes, "never")),
            after("mail")(noting_later(notes, "before last")),
            on_error()(noting(notes, "never")),
        ]
    )
    assert await run(registry, job_of(5)) == {"data": 5}
    assert notes == ["first", "second", "before last {'data': 5}", "last {'data': 5}"]


async def test_order_is_that_of_the_declarations_wherever_they_are_found() -> None:
    notes: list[str] = []
    first, second = before()(noting(notes, "first")), before()(noting(notes, "second"))
    await run(Registry.of([second, work, first]), job_of())
    assert notes == ["first", "second"]


async def test_before_that_raises_ends_the_attempt_unrun() -> None:
    notes: list[str] = []
    registry = Registry.of(
        [
            work,
            before()(noting(notes, "refuses", UnrecoverableError("not today"))),
            before()(noting(notes, "never")),
            after()(noting(notes, "never")),
            on_error()(noting(notes, "told")),
        ]
    )
    with pytest.raises(UnrecoverableError, match="not today"):
        await run(registry, job_of())
    assert notes == ["refuses", "told not today"]


async def test_errors_are_told_last_declared_first_and_raised_as_they_were() -> None:
    notes: list[str] = []
    registry = Registry.of([work, on_error()(noting(notes, "outer")), on_error("mail")(noting_later(notes, "inner"))])
    error = ValueError("wrong")
    with pytest.raises(ValueError, match="wrong") as raised:
        await run(registry, job_of(error))
    assert raised.value is error
    assert notes == ["inner wrong", "outer wrong"]


async def test_unknown_names_are_told_too() -> None:
    @processor("mail", "letter")
    async def letter() -> None: ...

    notes: list[str] = []
    with pytest.raises(UnrecoverableError):
        await run(Registry.of([letter, on_error()(noting(notes, "told"))]), job_of())
    assert notes == ["told no processor for job name 'any' on queue 'mail': known are letter"]


@pytest.mark.parametrize("error", [DelayedError(delay_ms=5), asyncio.CancelledError()])
async def test_what_fails_nothing_is_not_told(error: BaseException) -> None:
    notes: list[str] = []
    with pytest.raises(type(error)):
        await run(Registry.of([work, on_error()(noting(notes, "told"))]), job_of(error))
    assert notes == []


async def test_cancelled_job_is_told() -> None:
    notes: list[str] = []
    job = job_of(asyncio.CancelledError())
    job.cancel_reason = "not wanted any more"
    with pytest.raises(asyncio.CancelledError):
        await run(Registry.of([work, on_error()(noting(notes, "told"))]), job)
    assert notes == ["told "]


@pytest.mark.parametrize("error", [OSError("no disk"), SystemExit(3), asyncio.CancelledError()])
async def test_hooks_that_raise_are_logged_and_change_nothing(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    notes: list[str] = []
    registry = Registry.of(
        [
            work,
            after()(noting(notes, "after")),
            after()(noting(notes, "raises", error)),
            on_error()(noting(notes, "error")),
            on_error()(noting(notes, "raises", error)),
        ]
    )
    assert await run(registry, job_of(1)) == {"data": 1}
    with pytest.raises(ValueError, match="wrong"):
        await run(registry, job_of(ValueError("wrong")))
    assert notes == ["raises {'data': 1}", "after {'data': 1}", "raises wrong", "error wrong"]
    assert [line.split(": ", 2)[2] for line in caplog.messages] == [
        f"the after hook noting.<locals>.note raised {type(error).__name__}: {error}",
        f"the on_error hook noting.<locals>.note raised {type(error).__name__}: {error}",
    ]


def test_without_hooks_the_handler_is_left_as_it_is() -> None:
    async def handler(job: Job) -> None: ...

    assert hooks.around(handler, []) is handler
    drained = Registry.of([work, listener("drained")(lambda: None)]).hooks_of("mail", "listener")
    assert hooks.around(handler, drained) is handler


def test_listeners_and_backoffs_are_found_by_queue() -> None:
    def done(job: Job, result: Any) -> None: ...

    def wait(attempts_made: int, error: BaseException, job: Any) -> int:
        return 1_000 * attempts_made

    registry = Registry.of([work, listener("completed", "mail")(done), backoff("mine")(wait)])
    assert [(hook.about, hook.function) for hook in registry.hooks_of("mail", "listener")] == [("completed", done)]
    assert registry.hooks_of("other", "listener") == ()
    assert [hook.about for hook in registry.hooks_of("other", "backoff")] == ["mine"]


def test_wrong_declarations_are_refused() -> None:
    with pytest.raises(ProcessorError, match="there are the events active, completed"):
        listener("finished")  # type: ignore[arg-type]
    with pytest.raises(ProcessorError, match=r"write @before\(\)"):
        before(work)  # type: ignore[arg-type]
    with pytest.raises(ProcessorError, match="fixed and exponential are BullMQ's"):
        backoff("fixed")
