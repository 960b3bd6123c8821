"""Put jobs on BullMQ queues, read what the queues hold, and administer them.

The names below are loaded on first use, so that the command line starts without redis and pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queueworker.changes import Change, JobFilter
    from queueworker.errors import (
        InvalidJobError,
        JobNotFoundError,
        JobRefusedError,
        JobStateError,
        PartlyDoneError,
        QueueWorkerError,
        RedisAccessError,
        RedisReadError,
        RedisWriteError,
        SettingsError,
    )
    from queueworker.eventrecords import EventsLost, QueueEvent
    from queueworker.events import EventStream
    from queueworker.flowjobs import FlowJob
    from queueworker.flows import EnqueuedFlow
    from queueworker.flowtree import FlowNode
    from queueworker.jobs import Job
    from queueworker.keys import QueueKeys
    from queueworker.metrics import Metrics
    from queueworker.options import Priority
    from queueworker.outcome import Enqueued, Outcome
    from queueworker.queue import Queue
    from queueworker.records import JobRecord
    from queueworker.schedules import Scheduled, ScheduleInfo
    from queueworker.settings import ConnectionSettings
    from queueworker.snapshot import QueueSnapshot
    from queueworker.workers import JobStatistics, WorkerRecord

__all__ = [
    "Change",
    "ConnectionSettings",
    "Enqueued",
    "EnqueuedFlow",
    "EventStream",
    "EventsLost",
    "FlowJob",
    "FlowNode",
    "InvalidJobError",
    "Job",
    "JobFilter",
    "JobNotFoundError",
    "JobRecord",
    "JobRefusedError",
    "JobStateError",
    "JobStatistics",
    "Metrics",
    "Outcome",
    "PartlyDoneError",
    "Priority",
    "Queue",
    "QueueEvent",
    "QueueKeys",
    "QueueSnapshot",
    "QueueWorkerError",
    "RedisAccessError",
    "RedisReadError",
    "RedisWriteError",
    "ScheduleInfo",
    "Scheduled",
    "SettingsError",
    "WorkerRecord",
]

_HOMES = {
    "Change": "changes",
    "ConnectionSettings": "settings",
    "Enqueued": "outcome",
    "EnqueuedFlow": "flows",
    "EventStream": "events",
    "EventsLost": "eventrecords",
    "FlowJob": "flowjobs",
    "FlowNode": "flowtree",
    "InvalidJobError": "errors",
    "Job": "jobs",
    "JobFilter": "changes",
    "JobNotFoundError": "errors",
    "JobRecord": "records",
    "JobRefusedError": "errors",
    "JobStateError": "errors",
    "JobStatistics": "workers",
    "Metrics": "metrics",
    "Outcome": "outcome",
    "PartlyDoneError": "errors",
    "Priority": "options",
    "Queue": "queue",
    "QueueEvent": "eventrecords",
    "QueueKeys": "keys",
    "QueueSnapshot": "snapshot",
    "QueueWorkerError": "errors",
    "RedisAccessError": "errors",
    "RedisReadError": "errors",
    "RedisWriteError": "errors",
    "ScheduleInfo": "schedules",
    "Scheduled": "schedules",
    "SettingsError": "errors",
    "WorkerRecord": "workers",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("queueworker")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
