"""Declaring processors.

    @processor("mail")
    async def send(payload: Mail, job: Job, pool: Annotated[Pool, Depends(open_pool)]) -> dict[str, int]: ...

Parameters are filled by their annotation: `Job` gets the job, a pydantic model the validated payload,
`Annotated[..., Depends(factory)]` an opened dependency. `async def` runs in the event loop, `def` in a thread, and
either in a process of its own with `execution="process"`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from queueworker_worker.errors import ProcessorError

Execution = Literal["async", "thread", "process"]
EXECUTIONS: tuple[str, ...] = get_args(Execution)
MARK = "__queueworker_processor__"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What `@processor` wrote on a function."""

    queue: str
    name: str | None
    execution: Execution
    timeout_seconds: float | None
    max_jobs_per_child: int | None


def processor(
    queue: str,
    name: str | None = None,
    *,
    execution: Execution | None = None,
    timeout_seconds: float | None = None,
    max_jobs_per_child: int | None = None,
) -> Callable[[Function], Function]:
    """Declare a function as the processor of a queue: of its jobs called `name`, else of those that have no other.

    `execution` is where it runs: "async" (the default of `async def`) in the worker's event loop, "thread" (the default
    of `def`) in a thread of the worker, "process" (either) in a child process that runs one job at a time, is started
    at the first job, and serves the next ones too. A child imports the function by its module, opens the function's
    dependencies for itself, and dies alone. `max_jobs_per_child` ends it after so many jobs.

    `timeout_seconds` bounds an attempt, which then fails with JobTimeoutError. An `async def` is cancelled, a child
    process is killed with all that it started. A thread cannot be stopped: the attempt fails, `job.cancel_reason` is
    set, and the function goes on beside the job's next attempt.

    The function stays what it was and can be called in a test. It may be declared more than once. Raises
    ProcessorError for a declaration that cannot work.
    """
    if not queue or ":" in queue:
        raise ProcessorError(f"@processor({queue!r}): a queue needs a name without ':'")
    if execution is not None and execution not in EXECUTIONS:
        raise ProcessorError(f"@processor({queue!r}): execution {execution!r} is none of {', '.join(EXECUTIONS)}")
    if timeout_seconds is not None and not timeout_seconds > 0:
        raise ProcessorError(f"@processor({queue!r}): timeout_seconds must be above 0, not {timeout_seconds!r}")
    if max_jobs_per_child is not None and (execution != "process" or max_jobs_per_child < 1):
        raise ProcessorError(f"@processor({queue!r}): max_jobs_per_child is at least 1, and for execution='process'")

    def declare(function: Function) -> Function:
        declaration = Declaration(
            queue=queue,
            name=name,
            execution=_execution_of(function, queue, execution),
            timeout_seconds=timeout_seconds,
            max_jobs_per_child=max_jobs_per_child,
        )
        declared: tuple[Declaration, ...] = getattr(function, MARK, ())
        setattr(function, MARK, (*declared, declaration))
        return function

    return declare


def _execution_of(function: Callable[..., Any], queue: str, wanted: Execution | None) -> Execution:
    natural: Execution = "async" if inspect.iscoroutinefunction(function) else "thread"
    if wanted is None or wanted in {natural, "process"}:
        return wanted or natural
    kind = {"async": "an async def", "thread": "a def"}
    raise ProcessorError(
        f"@processor({queue!r}): {path_of(function)} is {kind[natural]}, which cannot run as {wanted!r}: "
        f"leave execution out, or make it {kind[wanted]}"
    )


def path_of(function: Callable[..., Any]) -> str:
    """Return where a function is defined, for messages."""
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"
