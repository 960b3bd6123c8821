"""Declaring processors and finding them.

    @processor("mail")
    async def send(payload: Mail, job: Job, pool: Annotated[Pool, Depends(open_pool)]) -> dict[str, int]: ...

Parameters are filled by their annotation: `Job` gets the job, a pydantic model the validated payload,
`Annotated[..., Depends(factory)]` an opened dependency. `async def` runs in the event loop, `def` in a thread.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType, ModuleType
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from queueworker_worker.context import Depends
from queueworker_worker.errors import ProcessorError
from queueworker_worker.job import Job

_log = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "queueworker.processors"
MODULES_VARIABLE = "QUEUEWORKER_PROCESSORS"
_MARK = "__queueworker_processor__"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `@processor` wrote on a function."""

    queue: str
    name: str | None


def processor(queue: str, name: str | None = None) -> Callable[[Function], Function]:
    """Declare a function as the processor of a queue: of its jobs called `name`, else of those that have no other.

    The function stays what it was and can be called in a test. It may be declared more than once.
    """
    if not queue or ":" in queue:
        raise ProcessorError(f"@processor({queue!r}): a queue needs a name without ':'")

    def declare(function: Function) -> Function:
        declared: tuple[Declaration, ...] = getattr(function, _MARK, ())
        setattr(function, _MARK, (*declared, Declaration(queue, name)))
        return function

    return declare


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A function with what its parameters want."""

    queue: str
    name: str | None
    function: Callable[..., Any]
    is_async: bool
    job_parameter: str | None
    payload_parameter: str | None
    payload_model: type[BaseModel] | None
    dependencies: Mapping[str, Depends[Any]]

    @property
    def path(self) -> str:
        """Where the function is defined, for messages."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


class Registry:
    """The processors of a worker, by queue and job name."""

    def __init__(self, processors: Iterable[Processor]) -> None:
        self._by_queue: dict[str, dict[str | None, Processor]] = {}
        for one in processors:
            names = self._by_queue.setdefault(one.queue, {})
            if one.name in names and names[one.name].function is not one.function:
                what = f"jobs {one.name!r}" if one.name is not None else "all jobs"
                other = names[one.name].path
                raise ProcessorError(f"{one.path} and {other} both process {what} of queue {one.queue!r}: remove one")
            names[one.name] = one

    @classmethod
    def of(cls, functions: Iterable[Callable[..., Any]]) -> Registry:
        """Build a registry of declared functions; raises ProcessorError."""
        return cls(found for function in functions for found in _processors_of(function))

    @classmethod
    def of_modules(cls, modules: Iterable[ModuleType]) -> Registry:
        """Build a registry of what modules, and the submodules that they imported, declare; raises ProcessorError."""
        return cls.of(function for module in modules for function in _declared_in(module))

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that have a processor, sorted."""
        return tuple(sorted(self._by_queue))

    def of_queue(self, queue: str) -> tuple[Processor, ...]:
        """Return the processors of one queue, by job name, the one for all jobs first."""
        found = self._by_queue.get(queue, {})
        return tuple(found[name] for name in sorted(found, key=lambda name: name or ""))

    def find(self, queue: str, job_name: str) -> Processor | None:
        """Return the processor of a job: the one of its name, else the queue's own."""
        names = self._by_queue.get(queue, {})
        return names.get(job_name) or names.get(None)


def discover(modules: Iterable[str] = (), *, environment: Mapping[str, str]) -> Registry:
    """Import the modules named, those of QUEUEWORKER_PROCESSORS and those of the entry point group, and read them.

    Modules named by the user are also looked for in the current directory. Entry points are read only where no module
    is named, so that naming modules says exactly what runs. Raises ProcessorError naming the module.
    """
    named = [*modules, *(part.strip() for part in environment.get(MODULES_VARIABLE, "").split(",") if part.strip())]
    if named and (here := os.getcwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    if named:
        return Registry.of_modules(_import(name) for name in dict.fromkeys(named))
    found = (_import_installed(entry) for entry in entry_points(group=ENTRY_POINT_GROUP))
    return Registry.of_modules(module for module in found if module is not None)


def _import_installed(entry: EntryPoint) -> ModuleType | None:
    """Import the module of an entry point; None where it needs an extra (`module [extra]`) that is not installed."""
    try:
        return _import(entry.module)
    except ProcessorError as error:
        if entry.extras and isinstance(error.__cause__, ModuleNotFoundError):
            _log.info("processors of %s are left out: %s", entry.name, error)
            return None
        raise


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        raise ProcessorError(
            f"processor module {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _declared_in(module: ModuleType) -> Iterable[Callable[..., Any]]:
    inside = [sys.modules[name] for name in sorted(sys.modules) if name.startswith(module.__name__ + ".")]
    found = (value for one in (module, *inside) for value in list(vars(one).values()))
    return list(dict.fromkeys(value for value in found if inspect.isfunction(value) and hasattr(value, _MARK)))


def _processors_of(function: Callable[..., Any]) -> Iterable[Processor]:
    declarations: tuple[Declaration, ...] = getattr(function, _MARK, ())
    if not declarations:
        raise ProcessorError(f"{function.__module__}.{function.__qualname__} is not declared with @processor")
    wanted = _Parameters(function)
    for declaration in declarations:
        yield Processor(
            queue=declaration.queue,
            name=declaration.name,
            function=function,
            is_async=inspect.iscoroutinefunction(function),
            job_parameter=wanted.job,
            payload_parameter=wanted.payload,
            payload_model=wanted.model,
            dependencies=MappingProxyType(wanted.dependencies),
        )


class _Parameters:
    """What the parameters of a processor want, by their annotations."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.job: str | None = None
        self.payload: str | None = None
        self.model: type[BaseModel] | None = None
        self.dependencies: dict[str, Depends[Any]] = {}
        where = f"processor {function.__module__}.{function.__qualname__}"
        try:
            hints = get_type_hints(function, include_extras=True)
        except Exception as error:
            raise ProcessorError(f"{where}: its annotations cannot be read: {error}") from error
        for parameter in inspect.signature(function).parameters.values():
            if not self._take(parameter.name, hints.get(parameter.name)) and parameter.default is parameter.empty:
                raise ProcessorError(
                    f"{where}: parameter {parameter.name!r} must be annotated as Job, as one pydantic model "
                    "(the payload) or as Annotated[..., Depends(factory)]"
                )

    def _take(self, name: str, hint: Any) -> bool:
        if get_origin(hint) is Annotated:
            depends = next((mark for mark in get_args(hint) if isinstance(mark, Depends)), None)
            if depends is not None:
                self.dependencies[name] = depends
            return depends is not None
        if hint is Job and self.job is None:
            self.job = name
            return True
        if isinstance(hint, type) and issubclass(hint, BaseModel) and self.model is None:
            self.payload, self.model = name, hint
            return True
        return False
