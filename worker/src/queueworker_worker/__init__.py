"""Runs BullMQ processors in Python.

    from queueworker_worker import Job, processor

    @processor("mail")
    async def send(job: Job) -> dict[str, str]: ...

`queueworker work mail -m MODULE` runs it, or `queueworker_worker.run(send)` in a program of one's own. Declaring:
`processor`, `scheduled`, `Depends`; around processors: `before`, `after`, `on_error`, `listener`, `backoff`; what a
processor gets: `Job`; what it may raise: UnrecoverableError, DelayedError, WaitingChildrenError, RateLimitError.

All names but `processor` are loaded on first use, so that the command line starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# Not on first use: the module of this name would take its place as soon as anybody imports it.
from queueworker_worker.processor import processor

if TYPE_CHECKING:
    from queueworker_worker.context import Depends
    from queueworker_worker.control import Control
    from queueworker_worker.embed import run, serve
    from queueworker_worker.errors import (
        AccessRefusedError,
        DelayedError,
        JobCancelledError,
        JobTimeoutError,
        ProcessorError,
        RateLimitError,
        UnrecoverableError,
        WaitingChildrenError,
    )
    from queueworker_worker.hooks import after, backoff, before, listener, on_error
    from queueworker_worker.job import Job
    from queueworker_worker.schedules import scheduled

__all__ = [
    "AccessRefusedError",
    "Control",
    "DelayedError",
    "Depends",
    "Job",
    "JobCancelledError",
    "JobTimeoutError",
    "ProcessorError",
    "RateLimitError",
    "UnrecoverableError",
    "WaitingChildrenError",
    "after",
    "backoff",
    "before",
    "listener",
    "on_error",
    "processor",
    "run",
    "scheduled",
    "serve",
]

_HOMES = {
    "Control": "control",
    "Depends": "context",
    "Job": "job",
    "after": "hooks",
    "backoff": "hooks",
    "before": "hooks",
    "listener": "hooks",
    "on_error": "hooks",
    "run": "embed",
    "scheduled": "schedules",
    "serve": "embed",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name) or ("errors" if name in __all__ else None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
