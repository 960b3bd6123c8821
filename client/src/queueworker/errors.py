"""Everything that the client raises on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queueworker.changes import Change


class QueueWorkerError(Exception):
    """The root of all errors of QueueWorker: its text is one line that says what, where, and what to do."""


class SettingsError(QueueWorkerError):
    """A setting is missing, contradicts another one or has a value that cannot be."""


class InvalidJobError(QueueWorkerError):
    """A job was refused before it was sent: a name, an id or an option that BullMQ does not accept."""


class JobRefusedError(QueueWorkerError):
    """BullMQ's script refused a job, for example because the parent that it names does not exist.

    `job_id` is the job's, `code` the script's answer (BullMQ's `ErrorCode`).
    """

    def __init__(self, message: str, *, job_id: str, code: int) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.code = code


class JobNotFoundError(QueueWorkerError):
    """The queue has no such job."""


class JobStateError(QueueWorkerError):
    """What was asked for cannot be done in the state that the job, or the queue, is in."""


MEMORY_FULL = "its memory is full (maxmemory with noeviction): raise maxmemory or remove jobs"
"""What RedisMemoryFull means, and what to do."""


class RedisAccessError(QueueWorkerError):
    """Redis could not be reached, or refused.

    `reason` is one of the reasons of the QueueReachable condition: RedisUnreachable, RedisAuthFailed, RedisDenied,
    RedisTLSError, RedisMemoryFull, RoleNotMaster, InvalidQueueKey.
    """

    def __init__(self, message: str, *, reason: str = "RedisUnreachable") -> None:
        super().__init__(message)
        self.reason = reason


class RedisReadError(RedisAccessError):
    """The queue could not be read, or not whole: what it holds is unknown, which is never the same as nothing."""


class RedisWriteError(RedisAccessError):
    """Something could not be stored, or no answer says that it was; sending the same job again is harmless."""


class PartlyDoneError(RedisWriteError):
    """Redis failed in the middle of a change; `change` counts the batches that were done. Starting again is safe."""

    def __init__(self, message: str, *, change: Change, reason: str) -> None:
        super().__init__(message, reason=reason)
        self.change = change
