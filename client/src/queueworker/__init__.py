"""Put jobs on BullMQ queues, read what the queues hold, and administer them.

The names below are loaded on first use, so that the command line starts without redis and pydantic.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queueworker.errors import InvalidJobError, QueueWorkerError, RedisReadError, RedisWriteError, SettingsError
    from queueworker.jobs import Job
    from queueworker.keys import QueueKeys
    from queueworker.options import Priority
    from queueworker.queue import Enqueued, Queue
    from queueworker.settings import ConnectionSettings
    from queueworker.snapshot import QueueSnapshot

__all__ = [
    "ConnectionSettings",
    "Enqueued",
    "InvalidJobError",
    "Job",
    "Priority",
    "Queue",
    "QueueKeys",
    "QueueSnapshot",
    "QueueWorkerError",
    "RedisReadError",
    "RedisWriteError",
    "SettingsError",
]

_HOMES = {
    "ConnectionSettings": "settings",
    "Enqueued": "queue",
    "InvalidJobError": "errors",
    "Job": "jobs",
    "Priority": "options",
    "Queue": "queue",
    "QueueKeys": "keys",
    "QueueSnapshot": "snapshot",
    "QueueWorkerError": "errors",
    "RedisReadError": "errors",
    "RedisWriteError": "errors",
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
