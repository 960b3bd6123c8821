"""What the API server's refusals mean to the reconciler."""

import os
import ssl
from collections.abc import Mapping
from typing import Any

import aiohttp

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError

_LONGEST = 900
# Server-side apply reports fields that the schema does not have, or not so, as its own internal error.
_APPLY_REFUSALS = ("failed to create typed patch object", "failed to create typed live object", "failed to convert")

# What it says of a group that it does not know, and of a version or a resource.
_UNKNOWN_KIND = ("404 page not found", "the server could not find the requested resource")

# What it says when a test operation of a JSON patch does not hold: the object is another one than was looked at.
_TEST_FAILED = "the server rejected our request due to an error in our request"


class NotFoundError(ConflictError):
    """The object is not there, or no longer."""


class UnknownKindError(NotFoundError):
    """The server has no such objects at all, as their CRD is not installed."""


class MismatchError(ConflictError):
    """The object is not as a test in a JSON patch says."""


def refusal(
    status: int,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    *,
    attempt: str,
    invalid: ConditionReason,
    login: str = "the kubeconfig's user or the service account",
) -> ClusterError:
    """Return the error for an answer of 400 or more; `attempt` says what was tried: "apply the Deployment a/b".

    `invalid` is the reason for an object that the server does not take, `login` what to check where it does not know
    the user. The text holds the server's own message.
    """
    said = one_line(str(body.get("message") or f"HTTP {status}"))
    message = f"cannot {attempt}: {said}"
    if status == 404:
        return UnknownKindError(message) if said in _UNKNOWN_KIND else NotFoundError(message)
    if status in (409, 410):
        # 410: a list that went on for so long that its next page is no longer there.
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
        remedy = f"the credentials are not accepted; check {login}"
        return ClusterError(f"{message}: {remedy}", reason=ConditionReason.CLUSTER_DENIED)
    if status == 429 or (status >= 500 and not said.startswith(_APPLY_REFUSALS)):
        return ClusterUnavailableError(message, retry_after_seconds=_retry_after(headers))
    return ClusterError(message, reason=invalid)


def unreachable(error: aiohttp.ClientError | OSError, *, attempt: str) -> ClusterUnavailableError:
    """Return the error for a request that did not get through."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
        remedy = "check certificate-authority-data and server in the kubeconfig"
        return ClusterUnavailableError(f"cannot {attempt}: TLS to the API server failed ({_why(error)}): {remedy}")
    if isinstance(error, aiohttp.ClientConnectorError):
        is_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
        where = f"the {'proxy' if is_proxy else 'API server'} at {error.host}:{error.port}"
        remedy = "is it up, and is this its address?"
        return ClusterUnavailableError(f"cannot {attempt}: {where} is not reachable ({_why(error)}): {remedy}")
    return ClusterUnavailableError(f"cannot {attempt}: the connection to the API server failed ({_why(error)})")


def _why(error: aiohttp.ClientError | OSError) -> str:
    """Say it as the system does; asyncio's and aiohttp's own words name calls and classes."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number > 0 and not isinstance(cause, ssl.SSLError):
        return os.strerror(number)
    return one_line(getattr(cause, "strerror", None) or str(cause)) or type(cause).__name__


def strange_answer(attempt: str, what: str) -> ClusterUnavailableError:
    """Return the error for what no API server answers, as a proxy before it does, with a status of success."""
    message = f"cannot {attempt}: the answer is {what}; check the server's URL, and what stands before it"
    return ClusterUnavailableError(message)


def one_line(text: str) -> str:
    """Return a message of somebody else's as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
