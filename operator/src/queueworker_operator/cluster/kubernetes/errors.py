"""What the API server's refusals mean to the reconciler."""

from collections.abc import Mapping
from typing import Any

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError

_LONGEST = 900
# Server-side apply reports fields that the schema does not have, or not so, as its own internal error.
_APPLY_REFUSALS = ("failed to create typed patch object", "failed to create typed live object", "failed to convert")

# What it says when a test operation of a JSON patch does not hold: the object is another one than was looked at.
_TEST_FAILED = "the server rejected our request due to an error in our request"


class NotFoundError(ConflictError):
    """The object is not there, or no longer."""


class MismatchError(ConflictError):
    """The object is not as a test in a JSON patch says."""


def refusal(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str], *, attempt: str, invalid: ConditionReason
) -> ClusterError:
    """Return the error for an answer of 400 or more; `attempt` says what was tried: "apply the Deployment a/b".

    `invalid` is the reason for an object that the server does not take. The text holds the server's own message.
    """
    said = one_line(str(body.get("message") or f"HTTP {status}"))
    message = f"cannot {attempt}: {said}"
    if status == 404:
        return NotFoundError(message)
    if status == 409:
        return ConflictError(message)
    if status == 422 and said == _TEST_FAILED:
        return MismatchError(message)
    if status == 403 and "exceeded quota" in said:
        return ClusterError(
            f"{message}; raise the quota or lower what is asked for", reason=ConditionReason.QUOTA_EXCEEDED
        )
    if status == 403:
        return ClusterError(message, reason=ConditionReason.CLUSTER_DENIED)
    if status == 401:
        remedy = "the operator's credentials are not accepted; check its service account"
        return ClusterError(f"{message}: {remedy}", reason=ConditionReason.CLUSTER_DENIED)
    if status == 429 or (status >= 500 and not said.startswith(_APPLY_REFUSALS)):
        return ClusterUnavailableError(message, retry_after_seconds=_retry_after(headers))
    return ClusterError(message, reason=invalid)


def one_line(text: str) -> str:
    """Return a message of somebody else's as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
