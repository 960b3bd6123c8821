"""What cannot be rendered, and why."""

from queueworker.errors import QueueWorkerError
from queueworker_operator.api.reasons import ConditionReason


class ManifestError(QueueWorkerError):
    """The spec or a Secret does not allow a Deployment or a connection; carries the reason for the condition."""

    def __init__(self, message: str, *, reason: ConditionReason = ConditionReason.SPEC_INVALID) -> None:
        super().__init__(message)
        self.reason = reason
