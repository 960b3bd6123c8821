"""What a processor may raise on purpose, and what the worker says of wrong processors."""

from queueworker.errors import QueueWorkerError


class UnrecoverableError(Exception):
    """Raise it in a processor to fail the job at once, whatever attempts it has left."""


class ProcessorError(QueueWorkerError):
    """A processor is declared in a way that cannot work, or a module of processors cannot be imported."""


class AccessRefusedError(QueueWorkerError):
    """Redis kept refusing this worker (password, ACL, read-only role) for longer than it may."""
