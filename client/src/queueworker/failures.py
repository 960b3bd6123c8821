"""What the exceptions of redis-py mean, as one reason and one line that holds no secret."""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import redis.exceptions as redis_errors

from queueworker.errors import MEMORY_FULL, RedisAccessError, RedisReadError

T = TypeVar("T")
AccessError = TypeVar("AccessError", bound=RedisAccessError)

_DENIED_COMMAND = re.compile(r"permissions to run the '([^']+)' command")
# Texts of asyncio and redis-py; a mere "ssl" may be part of a host's name.
_TLS_HINTS = ("ssl handshake", "tls handshake", "[ssl")

_NO_NODE = "Redis Cluster cannot be connected. Please provide at least one reachable node: "
_WRONG_TYPE = "holds another type than BullMQ gives it: find who wrote it"
_STATES = (
    redis_errors.NoScriptError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterError,
    redis_errors.AskError,
    redis_errors.TryAgainError,
)
_STATE_WORDS = ("BUSY", "LOADING", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS")

EXPECTED = (redis_errors.RedisError, redis_errors.RedisClusterException, OSError, UnicodeError)
"""What a call of redis-py may raise when Redis or the way to it is at fault."""


class SentinelAuthenticationError(redis_errors.AuthenticationError):
    """The Sentinels, which have users of their own, refuse the login."""


def access_error(kind: type[AccessError], error: BaseException, *, address: str) -> AccessError:
    """Return `error` as one of our own, which names the server, the reason and what to do."""
    reason, what = _explain(error)
    return kind(f"Redis {address}: {what}", reason=reason)


def wrong_type_error(key: str, *, address: str) -> RedisReadError:
    """Return the error for a key that holds another type than BullMQ gives it."""
    return RedisReadError(f"Redis {address}: {key} {_WRONG_TYPE}", reason="InvalidQueueKey")


def may_pass(error: BaseException) -> bool:
    """Tell whether trying again at once may help: a connection was lost, slow, or led to a replica."""
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError) or _is_tls(error):
        return False
    passing = redis_errors.ConnectionError | redis_errors.TimeoutError | redis_errors.ReadOnlyError | OSError
    return isinstance(error, passing)


async def ask_again(ask: Callable[[], Awaitable[T]]) -> T:
    """Return what `ask` returns, which is called once more where the first call failed by what may pass."""
    try:
        return await ask()
    except EXPECTED as error:
        if not may_pass(error):
            raise
    return await ask()


def refuses_scripts(error: object) -> bool:
    """Tell whether the server does not run this script, though it may answer plain commands.

    A state of the server (loading, full, a replica) or of the keys is not a refusal.
    """
    if not isinstance(error, redis_errors.ResponseError):
        return False
    text = str(error)
    if isinstance(error, redis_errors.NoPermissionError):
        return "key" not in text or "ACL failure in script" in text
    return not isinstance(error, _STATES) and not text.startswith(_STATE_WORDS) and "WRONGTYPE" not in text


def denies_command(error: object) -> bool:
    """Tell whether the server refuses this very command to this user, or does not know it."""
    if isinstance(error, redis_errors.NoPermissionError):
        return True
    return isinstance(error, redis_errors.ResponseError) and "unknown command" in str(error).lower()


def is_wrong_type(error: object) -> bool:
    """Tell whether a key holds another type than BullMQ gives it."""
    return isinstance(error, redis_errors.ResponseError) and "WRONGTYPE" in str(error)


def _explain(error: BaseException) -> tuple[str, str]:
    if _is_tls(error):
        return (
            "RedisTLSError",
            f"TLS failed ({_tls_detail(error)}): check the CA, the server name and that it speaks TLS",
        )
    if isinstance(error, redis_errors.RedisError):
        return _explain_redis(error)
    if isinstance(error, redis_errors.RedisClusterException):
        return _explain_cluster(error)
    if isinstance(error, UnicodeEncodeError):
        return "InvalidQueueKey", "a name or an id holds characters that UTF-8 does not have: check them"
    if isinstance(error, UnicodeDecodeError):
        return "RedisUnreachable", "a reply is not UTF-8: make the client with encoding_errors='surrogateescape'"
    if isinstance(error, TimeoutError) and not str(error):
        return "RedisUnreachable", "no answer in time"
    return "RedisUnreachable", f"not reachable ({one_line(error) or type(error).__name__})"


def _explain_cluster(error: redis_errors.RedisClusterException) -> tuple[str, str]:
    """Return what kept redis-py from learning where the slots are; a denied CLUSTER SLOTS reads as no Cluster there."""
    refusals = redis_errors.AuthenticationError | redis_errors.AuthorizationError | redis_errors.NoPermissionError
    refused = next((one for one in _chain(error) if isinstance(one, refusals)), None)
    if refused is not None:
        return _explain_redis(refused)
    return "RedisUnreachable", f"the cluster cannot be used ({one_line(error).removeprefix(_NO_NODE)})"


def _explain_redis(error: redis_errors.RedisError) -> tuple[str, str]:
    text = str(error)
    if isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthenticationWrongNumberOfArgsError):
        of_sentinels = isinstance(error, SentinelAuthenticationError)
        where, whose = (" at the Sentinels", "their own ") if of_sentinels else ("", "")
        return "RedisAuthFailed", f"authentication{where} failed: check {whose}user name and password"
    is_denied = isinstance(error, redis_errors.NoPermissionError | redis_errors.AuthorizationError)
    # What a script is denied comes as an error of the script.
    if is_denied or "ACL failure in script" in text:
        return "RedisDenied", _denial(text)
    if isinstance(error, redis_errors.OutOfMemoryError):
        return "RedisMemoryFull", MEMORY_FULL
    if isinstance(error, redis_errors.ReadOnlyError | redis_errors.MasterDownError):
        return "RoleNotMaster", "this server is a replica: connect to the master"
    if "WRONGTYPE" in text:
        return "InvalidQueueKey", f"a key of the queue {_WRONG_TYPE}"
    if isinstance(error, redis_errors.BusyLoadingError):
        return "RedisUnreachable", "still loading its data"
    if isinstance(error, redis_errors.TimeoutError):
        return "RedisUnreachable", "no answer in time"
    if isinstance(error, redis_errors.ConnectionError):
        return "RedisUnreachable", f"not reachable ({one_line(error)})"
    if "unknown command" in text.lower():
        return "RedisDenied", f"it does not know a command that is needed ({one_line(error)})"
    return "RedisUnreachable", f"answered with an error ({one_line(error)})"


def _denial(text: str) -> str:
    found = _DENIED_COMMAND.search(text)
    if found is not None:
        return f"its ACL denies the command {found[1]}: grant +{found[1]} to this user"
    return "its ACL denies keys of the queue: grant this user the pattern prefix:queue:*"


def _is_tls(error: BaseException) -> bool:
    for one in _chain(error):
        if isinstance(one, ssl.SSLError):
            return True
        text = str(one).lower()
        if isinstance(one, redis_errors.ConnectionError | OSError) and any(hint in text for hint in _TLS_HINTS):
            return True
    return False


def _tls_detail(error: BaseException) -> str:
    for one in _chain(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return getattr(one, "verify_message", "") or "certificate not accepted"
        if isinstance(one, ssl.SSLError) and one.reason:
            return one.reason.lower().replace("_", " ")
    return one_line(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line, at most 200 characters, without the words of a command."""
    # What is cut off repeats the arguments of a command that the server does not know, which may be a password.
    return " ".join(str(error).partition(", with args beginning with")[0].split())[:200]
