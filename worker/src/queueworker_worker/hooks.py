"""What runs around processors, and listeners of a worker's events.

    @before()
    async def refuse_at_night(job: Job) -> None: ...

    @on_error("mail")
    def report(job: Job, error: BaseException) -> None: ...

    @listener("drained", "mail")
    def done() -> None: ...

They are found in the modules of the processors. `async def` hooks are awaited, `def` hooks are called in the event loop
and must be quick.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from queueworker_worker.cancels import is_cancelled
from queueworker_worker.errors import DelayedError, ProcessorError, RateLimitError, WaitingChildrenError

if TYPE_CHECKING:
    from queueworker_worker.engine.events import EventName
    from queueworker_worker.engine.options import BackoffStrategy
    from queueworker_worker.job import Job

_log = logging.getLogger(__name__)
MARK = "__queueworker_hooks__"
_POSTPONED = (DelayedError, WaitingChildrenError, RateLimitError)

Kind = Literal["before", "after", "on_error", "listener", "backoff"]
Function = TypeVar("Function", bound=Callable[..., Any])
Handler = Callable[["Job"], Awaitable[Any]]
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A declared hook; `number` grows in the order of the declarations."""

    kind: Kind
    function: Callable[..., Any]
    queue: str | None
    """None means every queue that the worker serves."""
    about: str | None
    """The event of a listener, the type of a backoff."""
    number: int

    def serves(self, queue: str) -> bool:
        """Tell whether the hook is for a queue."""
        return self.queue is None or self.queue == queue


def before(queue: str | None = None) -> Callable[[Function], Function]:
    """Call `function(job)` before each attempt; hooks run in the order of their declaration.

    What it raises ends the attempt as if the processor, which does not run, had raised it.
    """
    return _declare("before", queue)


def after(queue: str | None = None) -> Callable[[Function], Function]:
    """Call `function(job, result)` when a processor returned, before that is recorded; last declared, first called.

    What it raises is logged and changes nothing. The time that it takes is time of the job.
    """
    return _declare("after", queue)


def on_error(queue: str | None = None) -> Callable[[Function], Function]:
    """Call `function(job, error)` when an attempt failed, before that is recorded; last declared, first called.

    Errors of `before` hooks, unknown job names, timeouts and cancelled jobs are told too; DelayedError,
    WaitingChildrenError and RateLimitError are not, for they fail nothing. What the hook raises is logged and changes
    nothing.
    """
    return _declare("on_error", queue)


def listener(event: EventName, queue: str | None = None) -> Callable[[Function], Function]:
    """Call the function at every `event` of the workers of a queue, or of all; it can never harm a job.

    The events and their arguments stand at `queueworker_worker.engine.events.Emitter`. Raises ProcessorError for an
    event that there is not.
    """
    from queueworker_worker.engine.events import EVENTS

    if event not in EVENTS:
        raise ProcessorError(f"@listener({event!r}): there are the events {', '.join(EVENTS)}")
    return _declare("listener", queue, event)


def backoff(type_name: str, queue: str | None = None) -> Callable[[BackoffStrategy], BackoffStrategy]:
    """Declare what jobs with `backoff: {"type": type_name}` wait before their next attempt.

    `function(attempts_made, error, job)` returns milliseconds; below zero means that the job is not tried again.
    """
    if not type_name or type_name in {"fixed", "exponential"}:
        raise ProcessorError(
            f"@backoff({type_name!r}): a name of its own is needed, fixed and exponential are BullMQ's"
        )
    return _declare("backoff", queue, type_name)


def _declare(kind: Kind, queue: str | None, about: str | None = None) -> Callable[[Function], Function]:
    if queue is not None and not isinstance(queue, str):
        raise ProcessorError(f"@{kind} takes the name of a queue or nothing: write @{kind}()")

    def declare(function: Function) -> Function:
        hook = Hook(kind=kind, function=function, queue=queue, about=about, number=next(_numbers))
        setattr(function, MARK, (*getattr(function, MARK, ()), hook))
        return function

    return declare


def around(handler: Handler, hooks: Iterable[Hook]) -> Handler:
    """Return a handler that calls the hooks around another one: that one itself where there are none."""
    ordered = sorted(hooks, key=lambda hook: hook.number)
    first = tuple(hook for hook in ordered if hook.kind == "before")
    last = tuple(hook for hook in reversed(ordered) if hook.kind == "after")
    wrong = tuple(hook for hook in reversed(ordered) if hook.kind == "on_error")
    if not (first or last or wrong):
        return handler

    async def handle(job: Job) -> Any:
        try:
            for hook in first:
                await _call(hook, job)
            result = await handler(job)
        except BaseException as error:
            if _is_failure(error, job):
                await _tell(wrong, job, error)
            raise
        await _tell(last, job, result)
        return result

    return handle


def _is_failure(error: BaseException, job: Job) -> bool:
    if isinstance(error, asyncio.CancelledError):
        # Without a reason it is the worker that ends: the job goes back to its queue.
        return job.cancel_reason is not None
    return not isinstance(error, _POSTPONED)


async def _tell(hooks: Iterable[Hook], job: Job, about: Any) -> None:
    for hook in hooks:
        try:
            await _call(hook, job, about)
        except BaseException as error:
            if is_cancelled(error):
                raise
            _log.error(
                "queue %s: job %s: the %s hook %s raised %s: %s",
                job.queue,
                job.id,
                hook.kind,
                hook.function.__qualname__,
                type(error).__name__,
                error,
            )


async def _call(hook: Hook, *about: Any) -> None:
    called = hook.function(*about)
    if inspect.isawaitable(called):
        await called
