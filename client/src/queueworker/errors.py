"""Everything that the client raises on purpose."""


class QueueWorkerError(Exception):
    """The root of all errors of QueueWorker: its text is one line that says what, where, and what to do."""


class SettingsError(QueueWorkerError):
    """A setting is missing, contradicts another one or has a value that cannot be."""


class InvalidJobError(QueueWorkerError):
    """A job was refused before it was sent: a name, an id or an option that BullMQ does not accept."""


class RedisReadError(QueueWorkerError):
    """The queue could not be read, or not whole: what it holds is unknown, which is never the same as nothing.

    `reason` is one of the reasons of the QueueReachable condition.
    """

    def __init__(self, message: str, *, reason: str = "RedisUnreachable") -> None:
        super().__init__(message)
        self.reason = reason
