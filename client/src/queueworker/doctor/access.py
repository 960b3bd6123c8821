"""Which commands the user of the connection lacks, found out by ACL DRYRUN: nothing is run.

What is needed is read off BullMQ's scripts themselves, for an ACL holds for commands within scripts too.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from typing import Any

from queueworker import scripts
from queueworker.command import Command
from queueworker.doctor.findings import Finding, error, ok, unknown
from queueworker.keys import QueueKeys

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]

_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "worker": (
        *("moveToActive", "moveToFinished", "moveToDelayed", "moveToWaitingChildren", "moveStalledJobsToWait"),
        *("moveJobFromActiveToWait", "retryJob", "extendLock", "extendLocks", "releaseLock", "updateProgress"),
        *("updateData", "addLog", "saveStacktrace", "updateJobScheduler"),
    ),
    "producer": (
        *("addStandardJob", "addDelayedJob", "addPrioritizedJob", "addParentJob", "addJobScheduler"),
        *("removeJobScheduler", "removeDeduplicationKey"),
    ),
    "operator": (),
}
_DIRECT: Mapping[str, tuple[str, ...]] = {
    "worker": ("EVALSHA", "SCRIPT LOAD", "BZPOPMIN", "PING", "HSET", "HDEL", "HINCRBY", "HGETALL", "MGET", "ZADD"),
    # Which way to push is an argument of the scripts.
    "producer": ("EVALSHA", "SCRIPT LOAD", "EXISTS", "HDEL", "HGET", "LPUSH", "RPUSH"),
    # It reads by a script where that is allowed, but these do.
    "operator": (
        *("EXISTS", "GET", "HGET", "HGETALL", "HLEN", "HMGET", "INFO", "LLEN", "LRANGE", "MGET", "PTTL", "ROLE"),
        *("TIME", "XREAD", "XREVRANGE", "ZCARD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE"),
    ),
}
ROLES = tuple(_SCRIPTS)
DEFAULT_ROLES = ("worker", "producer")

# What stands after the command's name: K a key of the queue. Commands that are missing here take one key.
_WORDS = {
    **dict.fromkeys(
        ("GET", "HGETALL", "INCR", "HLEN", "LLEN", "LPOP", "RPOP", "PTTL", "SCARD", "SMEMBERS", "ZCARD"), "K"
    ),
    **dict.fromkeys(("ZPOPMIN", "DEL", "EXISTS", "MGET", "TTL", "TYPE", "PERSIST"), "K"),
    **dict.fromkeys(("HGET", "HDEL", "HEXISTS", "HMGET", "INCRBY", "LPUSH", "RPUSH", "PEXPIRE", "SADD", "SREM"), "K 1"),
    **dict.fromkeys(("SISMEMBER", "ZREM", "ZSCORE", "LINDEX", "BZPOPMIN", "LPOS", "SET", "DECRBY", "EXPIRE"), "K 1"),
    **dict.fromkeys(
        ("HSET", "HMSET", "HINCRBY", "LRANGE", "LREM", "LSET", "LTRIM", "ZADD", "ZCOUNT", "ZRANGE"), "K 1 1"
    ),
    **dict.fromkeys(("ZRANGEBYSCORE", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZREMRANGEBYRANK", "ZREMRANGEBYSCORE"), "K 1 1"),
    **dict.fromkeys(("HSETNX", "PSETEX", "SETEX", "ZINCRBY"), "K 1 1"),
    **dict.fromkeys(("RPOPLPUSH", "RENAME", "SMOVE"), "K K"),
    "XADD": "K * 1 1",
    "XTRIM": "K MAXLEN 1",
    "EVALSHA": "0123456789012345678901234567890123456789 1 K",
    "SCRIPT LOAD": "return",
    "XREAD": "COUNT 1 STREAMS K 0",
    "XREVRANGE": "K + - COUNT 1",
    **dict.fromkeys(("PING", "TIME", "INFO", "ROLE"), ""),
}
_CALL = re.compile(r"""(?:rcall|redis\.call)\(\s*["']([A-Za-z]+)["']""")


@cache
def commands_needed(role: str) -> tuple[str, ...]:
    """Return the commands that a role needs, in the order of the alphabet."""
    within = {found.upper() for name in _SCRIPTS[role] for found in _CALL.findall(scripts.load(name).source)}
    return tuple(sorted(within | set(_DIRECT[role])))


async def check(run: Run, keys: QueueKeys, role: str) -> Finding:
    """Find out what the user of the connection may not do that a role does on this queue."""
    name = f"acl {role}"
    (user,) = await run([("ACL", "WHOAMI")])
    if isinstance(user, BaseException):
        return _cannot_tell(name)
    needed = commands_needed(role)
    replies = await run([dry_run(str(user), command, keys) for command in needed])
    if any(isinstance(reply, BaseException) for reply in replies):
        return _cannot_tell(name)
    denied = [command for command, reply in zip(needed, replies, strict=True) if not _is_allowed(reply)]
    if not denied:
        return ok(name, f"user {user} may run all {len(needed)} commands that {_a(role)} needs", queue=keys.queue)
    if all(_is_about_keys(reply) for reply in replies if not _is_allowed(reply)):
        message = f"user {user} may not use the keys of the queue"
        return error(name, message, f"grant the pattern ~{keys.base}* to this user", queue=keys.queue)
    listed = [command.lower().replace(" ", "|") for command in denied]
    message = f"user {user} lacks what {_a(role)} needs: {', '.join(listed)}"
    return error(name, message, f"grant {' '.join(f'+{one}' for one in listed)} to this user", queue=keys.queue)


def dry_run(user: str, command: str, keys: QueueKeys) -> Command:
    """Return the ACL DRYRUN of a command on a key of the queue."""
    words = _WORDS[command].split()
    return ("ACL", "DRYRUN", user, *command.split(), *(keys.of("meta") if word == "K" else word for word in words))


def _a(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"


def _is_allowed(reply: Any) -> bool:
    return reply is True or str(reply) == "OK"


def _is_about_keys(reply: Any) -> bool:
    return "access the" in str(reply)


def _cannot_tell(name: str) -> Finding:
    message = "the server does not tell: ACL DRYRUN is denied to this user, or the server is older than 7"
    return unknown(name, message, "grant +acl|whoami +acl|dryrun to look, or compare with the documented ACL")
