"""The processors of a worker with their hooks and schedulers, and how they are found."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from queueworker_worker import hooks, schedules
from queueworker_worker.errors import ProcessorError
from queueworker_worker.hooks import Hook
from queueworker_worker.parameters import Parameters, parameters_of
from queueworker_worker.processor import MARK, Declaration, Execution, path_of
from queueworker_worker.schedules import Plan

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_log = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "queueworker.processors"
MODULES_VARIABLE = "QUEUEWORKER_PROCESSORS"
_MARKS = (MARK, hooks.MARK, schedules.MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A function with what its parameters want, for one queue and one job name (None: all others)."""

    queue: str
    name: str | None
    function: Callable[..., Any]
    execution: Execution
    parameters: Parameters
    timeout_seconds: float | None = None
    max_jobs_per_child: int | None = None

    @property
    def path(self) -> str:
        """Where the function is defined, for messages."""
        return path_of(self.function)


class Registry:
    """The processors of a worker, by queue and job name, with the hooks and the schedulers declared beside them."""

    def __init__(self, processors: Iterable[Processor], hooks: Iterable[Hook] = (), plans: Iterable[Plan] = ()) -> None:
        self._by_queue: dict[str, dict[str | None, Processor]] = {}
        for one in processors:
            self._add(one)
        self._hooks = tuple(sorted(hooks, key=lambda hook: hook.number))
        self._plans: dict[tuple[str, str], Plan] = {}
        for plan in plans:
            if self._plans.setdefault((plan.queue, plan.id), plan) is not plan:
                raise ProcessorError(f"queue {plan.queue!r} has two schedulers {plan.id!r}: rename one")

    def _add(self, one: Processor) -> None:
        names = self._by_queue.setdefault(one.queue, {})
        if one.name in names:
            what = f"jobs {one.name!r}" if one.name is not None else "all jobs"
            other = names[one.name].path
            raise ProcessorError(f"{one.path} and {other} both process {what} of queue {one.queue!r}: remove one")
        names[one.name] = one

    @classmethod
    def of(cls, functions: Iterable[Callable[..., Any]]) -> Registry:
        """Build a registry of declared functions; raises ProcessorError."""
        found = list({id(function): function for function in functions}.values())
        for function in found:
            if not any(hasattr(function, mark) for mark in _MARKS):
                raise ProcessorError(f"{path_of(function)} is not declared with @processor")
        return cls(
            (one for function in found for one in _processors_of(function)),
            (hook for function in found for hook in getattr(function, hooks.MARK, ())),
            (plan for function in found for plan in schedules.plans_of(function)),
        )

    @classmethod
    def of_modules(cls, modules: Iterable[ModuleType]) -> Registry:
        """Build a registry of what modules, and the submodules that they imported, declare; raises ProcessorError."""
        return cls.of(function for module in modules for function in declared_in(module))

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

    def hooks_of(self, queue: str, *kinds: str) -> tuple[Hook, ...]:
        """Return the hooks of these kinds for a queue, in the order of their declaration."""
        return tuple(hook for hook in self._hooks if hook.kind in kinds and hook.serves(queue))

    def plans_of(self, queue: str) -> tuple[Plan, ...]:
        """Return the schedulers declared for a queue."""
        return tuple(plan for plan in self._plans.values() if plan.queue == queue)


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
    found = (_import_installed(entry) for entry in installed())
    return Registry.of_modules(module for module in found if module is not None)


def installed() -> Iterable[EntryPoint]:
    """Return the entry points of the modules with processors that are installed."""
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINT_GROUP)


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
        hint = "; a module is named as in an import, without .py" if name.endswith(".py") else ""
        raise ProcessorError(
            f"processor module {name!r} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error


def declared_in(module: ModuleType) -> Iterable[Callable[..., Any]]:
    """Return the functions that a module and the submodules that it imported declare."""
    inside = [sys.modules[name] for name in sorted(sys.modules) if name.startswith(module.__name__ + ".")]
    found = (value for one in (module, *inside) for value in list(vars(one).values()))
    return [value for value in found if inspect.isfunction(value) and any(hasattr(value, mark) for mark in _MARKS)]


def _processors_of(function: Callable[..., Any]) -> Iterable[Processor]:
    declarations: tuple[Declaration, ...] = getattr(function, MARK, ())
    if not declarations:
        return
    parameters = parameters_of(function)
    for declaration in declarations:
        if declaration.execution == "process":
            _check_importable(function)
        yield Processor(
            queue=declaration.queue,
            name=declaration.name,
            function=function,
            execution=declaration.execution,
            parameters=parameters,
            timeout_seconds=declaration.timeout_seconds,
            max_jobs_per_child=declaration.max_jobs_per_child,
        )


def _check_importable(function: Callable[..., Any]) -> None:
    """Refuse a function that a child process could not find by its module and name."""
    found: Any = None
    if function.__module__ != "__main__":
        try:
            found = reduce(getattr, function.__qualname__.split("."), sys.modules.get(function.__module__))
        except AttributeError:
            found = None
    if found is not function:
        raise ProcessorError(
            f"processor {path_of(function)} cannot run in a process: a child imports it by module and name, "
            "so it must stand at the top of a module that is not the program itself"
        )
