"""Running a processor for a job, in the loop, a thread or a process: payload checked, dependencies filled in."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from queueworker_worker import hooks
from queueworker_worker.context import Dependencies
from queueworker_worker.errors import JobTimeoutError, UnrecoverableError
from queueworker_worker.job import Job
from queueworker_worker.processpool import ProcessPool
from queueworker_worker.registry import Processor, Registry

if TYPE_CHECKING:
    from pydantic import BaseModel

_log = logging.getLogger(__name__)
Handler = Callable[[Job], Awaitable[Any]]
_SHOWN_FIELDS = 5
_PLAIN = frozenset({type(None), bool, int, float, str})


def handler_of(
    registry: Registry,
    queue: str,
    dependencies: Dependencies,
    *,
    threads: Executor | None = None,
    processes: ProcessPool | None = None,
) -> Handler:
    """Return the function that runs any job of a queue, its hooks around it, and returns its result as JSON values.

    `dependencies` are open. `threads` and `processes` run the processors declared for them, and may be None where there
    are none.
    """

    def run_of(processor: Processor) -> Handler:
        if processor.execution == "process":
            return _in_process(processor, processes)
        arguments = arguments_of(processor, dependencies)
        if processor.execution == "thread":
            return _in_thread(processor, arguments, threads)
        return _in_loop(processor, arguments)

    runs = {one.name: run_of(one) for one in registry.of_queue(queue)}
    others = runs.pop(None, None) or _unknown(runs)
    return hooks.around(_by_name(runs, others), registry.hooks_of(queue, "before", "after", "on_error"))


def arguments_of(processor: Processor, dependencies: Dependencies) -> Callable[[Job], dict[str, Any]]:
    """Return what makes the arguments of a processor's call; an invalid payload raises UnrecoverableError."""
    wanted = processor.parameters
    opened = {name: dependencies.value_of(depends) for name, depends in wanted.dependencies.items()}

    def arguments(job: Job) -> dict[str, Any]:
        values = opened.copy()
        if wanted.job is not None:
            values[wanted.job] = job
        if wanted.payload is not None and wanted.model is not None:
            values[wanted.payload] = _payload(wanted.model, job)
        return values

    return arguments


def jsonable(value: Any, processor: Processor) -> Any:
    """Return a processor's result as JSON values; raises UnrecoverableError where it has none."""
    if type(value) in _PLAIN:
        return value
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise UnrecoverableError(f"the result of {processor.path} is not JSON: {error}") from error


def as_error(error: BaseException, processor: Processor) -> Exception:
    """Return what a `def` processor raised as something that neither ends a loop nor confuses a coroutine."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"{processor.path} raised {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _by_name(runs: Mapping[str | None, Handler], others: Handler) -> Handler:
    if not runs:
        return others

    def handle(job: Job) -> Awaitable[Any]:
        return runs.get(job.name, others)(job)

    return handle


def _unknown(runs: Mapping[str | None, Handler]) -> Handler:
    known = ", ".join(sorted(str(name) for name in runs)) or "none"

    async def refuse(job: Job) -> Any:
        raise UnrecoverableError(f"no processor for job name {job.name!r} on queue {job.queue!r}: known are {known}")

    return refuse


def _in_loop(processor: Processor, arguments: Callable[[Job], dict[str, Any]]) -> Handler:
    function, seconds = processor.function, processor.timeout_seconds

    async def run(job: Job) -> Any:
        return jsonable(await function(**arguments(job)), processor)

    async def run_in_time(job: Job) -> Any:
        late = _Late(job, processor)
        # It is called before the cancel: who catches that one can read why.
        timer = asyncio.get_running_loop().call_later(late.seconds, late)
        try:
            async with asyncio.timeout(late.seconds) as limit:
                return await run(job)
        except TimeoutError:
            if not limit.expired():
                raise
            raise late.error() from None
        finally:
            timer.cancel()

    return run if seconds is None else run_in_time


def _in_thread(processor: Processor, arguments: Callable[[Job], dict[str, Any]], threads: Executor | None) -> Handler:
    function, seconds = processor.function, processor.timeout_seconds

    async def run(job: Job) -> Any:
        values = arguments(job)
        begun = given_up = False

        def call() -> tuple[Any, BaseException | None]:
            nonlocal begun
            begun = True
            try:
                return (None if given_up else function(**values)), None
            except BaseException as error:  # noqa: BLE001 - whatever ends a processor must not end its thread
                return None, error

        context = contextvars.copy_context()
        running = asyncio.get_running_loop().run_in_executor(threads, context.run, call)
        try:
            done, _ = await asyncio.wait({running}, timeout=seconds)
        except asyncio.CancelledError:
            given_up = running.cancel()
            raise
        if not done:
            given_up = running.cancel()
            raise _late_in_thread(job, processor, goes_on=begun)
        result, error = running.result()
        if error is not None:
            raise as_error(error, processor)
        return jsonable(result, processor)

    return run


def _late_in_thread(job: Job, processor: Processor, *, goes_on: bool) -> JobTimeoutError:
    late = _Late(job, processor)
    late()
    if goes_on:
        _log.warning(
            "queue %s: job %s: %s goes on in its thread, which nothing can stop: it should look at job.cancel_reason",
            job.queue,
            job.id,
            processor.path,
        )
    return late.error()


def _in_process(processor: Processor, processes: ProcessPool | None) -> Handler:
    if processes is None:
        raise RuntimeError(f"{processor.path} runs in a process, and there is no pool of them")

    async def run(job: Job) -> Any:
        async with processes.child(processor) as child:
            limit = asyncio.timeout(processor.timeout_seconds)
            try:
                async with limit:
                    return await child.run(processor, job)
            except TimeoutError:
                if not limit.expired():
                    raise
                late = _Late(job, processor)
                late()
                raise late.error() from None

    return run


class _Late:
    """Says of a job that its attempt took too long."""

    def __init__(self, job: Job, processor: Processor) -> None:
        self._job, self._path = job, processor.path
        self.seconds = processor.timeout_seconds or 0.0
        self._text = f"timed out after {self.seconds:g} s"

    def __call__(self) -> None:
        self._job.cancel_reason = self._text

    def error(self) -> JobTimeoutError:
        return JobTimeoutError(f"{self._path} {self._text}")


def _payload(model: type[BaseModel], job: Job) -> BaseModel:
    from pydantic import ValidationError

    try:
        return model.model_validate(job.data)
    except ValidationError as error:
        # The input is left out: it may be large, and it is in the job anyway.
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        shown = [f"{'.'.join(map(str, one['loc'])) or 'data'}: {one['msg']}" for one in errors[:_SHOWN_FIELDS]]
        more = f"; and {len(errors) - _SHOWN_FIELDS} more" if len(errors) > _SHOWN_FIELDS else ""
        raise UnrecoverableError(f"invalid payload for {model.__name__}: {'; '.join(shown)}{more}") from None
