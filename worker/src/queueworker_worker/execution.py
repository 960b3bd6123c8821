"""Running a processor for a job: the payload checked, the dependencies filled in, `def` in a thread."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from queueworker_worker.context import Dependencies
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job
from queueworker_worker.processor import Processor, Registry

Handler = Callable[[Job], Awaitable[Any]]
_SHOWN_FIELDS = 5


def handler_of(registry: Registry, dependencies: Dependencies, *, threads: Executor | None) -> Handler:
    """Return the function that runs any job of the registry's queues and returns its result as JSON values.

    `threads` runs the `def` processors; it may be None where there are none.
    """

    async def handle(job: Job) -> Any:
        found = registry.find(job.queue, job.name)
        if found is None:
            raise UnrecoverableError(_unknown(registry, job))
        arguments = arguments_of(found, job, dependencies)
        if found.is_async:
            return _jsonable(await found.function(**arguments), found)
        return _jsonable(await _in_thread(threads, found, arguments), found)

    return handle


def arguments_of(processor: Processor, job: Job, dependencies: Dependencies) -> dict[str, Any]:
    """Return the arguments of a processor's call; an invalid payload raises UnrecoverableError naming its fields."""
    arguments = {name: dependencies.value_of(depends) for name, depends in processor.dependencies.items()}
    if processor.job_parameter is not None:
        arguments[processor.job_parameter] = job
    if processor.payload_parameter is not None and processor.payload_model is not None:
        arguments[processor.payload_parameter] = _payload(processor.payload_model, job)
    return arguments


def _payload(model: type[BaseModel], job: Job) -> BaseModel:
    try:
        return model.model_validate(job.data)
    except ValidationError as error:
        # The input is left out: it may be large, and it is in the job anyway.
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        shown = [f"{'.'.join(map(str, one['loc'])) or 'data'}: {one['msg']}" for one in errors[:_SHOWN_FIELDS]]
        more = f"; and {len(errors) - _SHOWN_FIELDS} more" if len(errors) > _SHOWN_FIELDS else ""
        raise UnrecoverableError(f"invalid payload for {model.__name__}: {'; '.join(shown)}{more}") from None


def _unknown(registry: Registry, job: Job) -> str:
    known = [one.name for one in registry.of_queue(job.queue) if one.name is not None]
    return f"no processor for job name {job.name!r} on queue {job.queue!r}: known are {', '.join(known) or 'none'}"


def _jsonable(value: Any, processor: Processor) -> Any:
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, ValueError) as error:
        raise UnrecoverableError(f"the result of {processor.path} is not JSON: {error}") from error


async def _in_thread(threads: Executor | None, processor: Processor, arguments: dict[str, Any]) -> Any:
    """Run a `def` processor in a thread; what it raises is carried over as a value, StopIteration too."""

    def call() -> tuple[Any, BaseException | None]:
        try:
            return processor.function(**arguments), None
        except BaseException as error:  # noqa: BLE001 - whatever ends a processor must not end its thread
            return None, error

    context = contextvars.copy_context()
    result, error = await asyncio.get_running_loop().run_in_executor(threads, context.run, call)
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        raise error
    if error is not None:
        raise RuntimeError(f"{processor.path} raised {type(error).__name__}: {error}") from error
    return result
