from __future__ import annotations

import ssl

import pytest
import redis.exceptions as redis_errors

from queueworker.errors import RedisReadError
from queueworker.failures import EXPECTED, access_error, ask_again, may_pass, refuses_scripts


def certificate_error() -> Exception:
    error = redis_errors.ConnectionError("Error 1 connecting to redis:6379.")
    error.__cause__ = ssl.SSLCertVerificationError("certificate verify failed")
    return error


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (
            redis_errors.ConnectionError("Error 111\nconnecting"),
            "RedisUnreachable",
            "not reachable (Error 111 connecting)",
        ),
        (redis_errors.TimeoutError("Timeout reading"), "RedisUnreachable", "no answer in time"),
        (redis_errors.ConnectionError("Error 111 connecting to ssl-redis:6379."), "RedisUnreachable", "ssl-redis"),
        (TimeoutError(), "RedisUnreachable", "no answer in time"),
        (OSError(113, "No route to host"), "RedisUnreachable", "No route to host"),
        (redis_errors.BusyLoadingError("loading"), "RedisUnreachable", "still loading"),
        (redis_errors.ClusterDownError("CLUSTERDOWN Hash slot not served"), "RedisUnreachable", "not served"),
        (redis_errors.RedisClusterException("cannot be connected"), "RedisUnreachable", "cluster"),
        (redis_errors.AuthenticationError("invalid username-password pair"), "RedisAuthFailed", "check user name"),
        (
            redis_errors.NoPermissionError("User reader has no permissions to run the 'client|list' command"),
            "RedisDenied",
            "grant +client|list",
        ),
        (redis_errors.NoPermissionError("No permissions to access a key"), "RedisDenied", "pattern"),
        (
            redis_errors.ResponseError("ACL failure in script: User u has no permissions to run the 'xadd' command"),
            "RedisDenied",
            "grant +xadd",
        ),
        (redis_errors.ResponseError("unknown command 'ROLE'"), "RedisDenied", "does not know"),
        (redis_errors.OutOfMemoryError("command not allowed"), "RedisMemoryFull", "raise maxmemory"),
        (redis_errors.ReadOnlyError("You can't write"), "RoleNotMaster", "replica"),
        (redis_errors.MasterDownError("MASTERDOWN"), "RoleNotMaster", "replica"),
        (redis_errors.ResponseError("WRONGTYPE Operation against a key"), "InvalidQueueKey", "another type"),
        (certificate_error(), "RedisTLSError", "certificate"),
        (ConnectionAbortedError("SSL handshake is taking longer than 1.5 seconds"), "RedisTLSError", "speaks TLS"),
        (redis_errors.ResponseError("ERR odd"), "RedisUnreachable", "ERR odd"),
    ],
)
def test_each_failure_has_a_reason_and_one_line(error: Exception, reason: str, said: str) -> None:
    assert isinstance(error, EXPECTED)
    ours = access_error(RedisReadError, error, address="redis:6379/0")
    assert isinstance(ours, RedisReadError)
    assert ours.reason == reason
    assert said in str(ours)
    assert str(ours).startswith("Redis redis:6379/0: ")
    assert "\n" not in str(ours)


def test_a_server_that_repeats_the_words_of_a_command_is_cut_short() -> None:
    error = redis_errors.ResponseError("unknown command 'AUTH', with args beginning with: 'secret' ")
    assert "secret" not in str(access_error(RedisReadError, error, address="redis:6379/0"))


def test_only_what_was_lost_on_the_way_is_worth_another_try() -> None:
    assert may_pass(redis_errors.ConnectionError("reset"))
    assert may_pass(redis_errors.TimeoutError("late"))
    assert may_pass(ConnectionResetError())
    assert may_pass(redis_errors.ReadOnlyError("You can't write against a read only replica."))
    assert not may_pass(redis_errors.AuthenticationError("no"))
    assert not may_pass(redis_errors.ResponseError("no"))
    assert not may_pass(certificate_error())


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (redis_errors.NoPermissionError("User x has no permissions to run the 'evalsha_ro' command"), True),
        (redis_errors.NoPermissionError("ACL failure in script: No permissions to access a key"), True),
        (redis_errors.NoPermissionError("No permissions to access a key"), False),
        (redis_errors.ResponseError("unknown command 'EVALSHA_RO', with args beginning with: 'x'"), True),
        (redis_errors.ResponseError("ERR bad lua script for redis cluster"), True),
        (redis_errors.ResponseError("WRONGTYPE Operation against a key"), False),
        (redis_errors.NoScriptError("NOSCRIPT"), False),
        (redis_errors.OutOfMemoryError("OOM"), False),
        (redis_errors.ResponseError("BUSY Redis is busy running a script"), False),
        (redis_errors.ConnectionError("reset"), False),
        (["a", "reply"], False),
    ],
)
def test_a_refusal_of_scripts_differs_from_a_state_of_the_server(error: object, refused: bool) -> None:
    assert refuses_scripts(error) is refused


def test_a_name_that_cannot_be_sent_is_not_called_an_outage() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "q\ud800".encode()
    failure = access_error(RedisReadError, caught.value, address="here")
    assert failure.reason == "InvalidQueueKey"
    assert "UTF-8" in str(failure)


@pytest.mark.parametrize(
    ("error", "calls"),
    [(redis_errors.ConnectionError("reset"), 2), (redis_errors.NoPermissionError("denied"), 1)],
)
async def test_what_may_pass_is_asked_a_second_time_and_no_third(error: Exception, calls: int) -> None:
    asked = []

    async def ask() -> None:
        asked.append(error)
        raise error

    with pytest.raises(type(error)):
        await ask_again(ask)
    assert len(asked) == calls
