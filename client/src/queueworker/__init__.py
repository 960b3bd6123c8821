"""Put jobs on BullMQ queues, read what the queues hold, and administer them.

The names below are loaded on first use, so that the command line starts without redis and pydantic.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queueworker.errors import (
        InvalidJobError,
        JobRefusedError,
        QueueWorkerError,
        RedisReadError,
        RedisWriteError,
        SettingsError,
    )
    from queueworker.flowjobs import FlowJob
    from queueworker.flows import EnqueuedFlow
    from queueworker.flowtree import FlowNode
    from queueworker.jobs import Job
    from queueworker.keys import QueueKeys
    from queueworker.options import Priority
    from queueworker.outcome import Enqueued, Outcome
    from queueworker.queue import Queue
    from queueworker.schedules import Scheduled, ScheduleInfo
    from queueworker.settings import ConnectionSettings
    from queueworker.snapshot import QueueSnapshot

__all__ = [
    "ConnectionSettings",
    "Enqueued",
    "EnqueuedFlow",
    "FlowJob",
    "FlowNode",
    "InvalidJobError",
    "Job",
    "JobRefusedError",
    "Outcome",
    "Priority",
    "Queue",
    "QueueKeys",
    "QueueSnapshot",
    "QueueWorkerError",
    "RedisReadError",
    "RedisWriteError",
    "ScheduleInfo",
    "Scheduled",
    "SettingsError",
]

_HOMES = {
    "ConnectionSettings": "settings",
    "Enqueued": "outcome",
    "EnqueuedFlow": "flows",
    "FlowJob": "flowjobs",
    "FlowNode": "flowtree",
    "InvalidJobError": "errors",
    "Job": "jobs",
    "JobRefusedError": "errors",
    "Outcome": "outcome",
    "Priority": "options",
    "Queue": "queue",
    "QueueKeys": "keys",
    "QueueSnapshot": "snapshot",
    "QueueWorkerError": "errors",
    "RedisReadError": "errors",
    "RedisWriteError": "errors",
    "ScheduleInfo": "schedules",
    "Scheduled": "schedules",
    "SettingsError": "errors",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return version("queueworker")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
