"""Looking at a server and at queues, in one go and without changing anything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import RedisCluster

from queueworker.batch import run_together
from queueworker.command import Command
from queueworker.connection import Client, connect
from queueworker.doctor import access, queues, server
from queueworker.doctor.findings import Finding, error, ok, unknown, warning
from queueworker.errors import RedisReadError
from queueworker.failures import EXPECTED, access_error
from queueworker.keys import QueueKeys
from queueworker.names import usable_queue_name
from queueworker.queue import Queue
from queueworker.settings import ConnectionSettings

MOST_QUEUES = 100
_SCAN_COUNT = 1000
_SCAN_SECONDS = 3.0
_DEADLINE_SECONDS = 10.0


async def diagnose(
    settings: ConnectionSettings,
    *,
    prefix: str = "bull",
    names: Sequence[str] = (),
    roles: Sequence[str] = access.DEFAULT_ROLES,
    now_ms: Callable[[], float] = lambda: time.time() * 1000,
) -> list[Finding]:
    """Look at the server and at the queues named, or at all that are found under the prefix.

    `roles` (`worker`, `producer`, `operator`) are what the connection's user should be able to do. A server that cannot
    be reached is a finding too. Raises SettingsError, and InvalidJobError for what can be no queue's name.
    """
    names = [usable_queue_name(one) for one in names]
    client = connect(settings, retries=0 if settings.cluster is None else 1)
    try:
        return await _diagnose(client, settings, prefix, names, roles, now_ms)
    finally:
        await client.aclose()


async def _diagnose(
    client: Client,
    settings: ConnectionSettings,
    prefix: str,
    names: list[str],
    roles: Sequence[str],
    now_ms: Callable[[], float],
) -> list[Finding]:
    async def run(commands: Sequence[Command]) -> list[Any]:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            return await run_together(client, commands, near=f"{prefix}:")

    try:
        await run([("PING",)])
    except EXPECTED as failure:
        told = access_error(RedisReadError, failure, address=settings.address)
        return [error("connection", str(told), "see that host, port, user and TLS are right and that it runs")]
    findings = [ok("connection", f"Redis {settings.address} answers"), server.tls(settings)]
    try:
        findings += await _server(run, now_ms)
        if not names:
            names, found = await _discover(client, run, prefix)
            findings.append(found)
        keys = QueueKeys(prefix, names[0] if names else "queueworker-doctor")
        findings += [await access.check(run, keys, role) for role in roles]
    except EXPECTED as failure:
        told = access_error(RedisReadError, failure, address=settings.address)
        return [*findings, error("connection", str(told), "the connection was lost: look again")]
    for name in names[:MOST_QUEUES]:
        async with Queue(name, settings, prefix=prefix, attempt_seconds=_DEADLINE_SECONDS) as queue:
            findings += await queues.check(queue)
    return findings


async def _server(run: access.Run, now_ms: Callable[[], float]) -> list[Finding]:
    before = now_ms()
    (moment,) = await run([("TIME",)])
    after = now_ms()
    about, memory, persistence, role = await run(
        [("INFO", "server"), ("INFO", "memory"), ("INFO", "persistence"), ("ROLE",)]
    )
    findings = [
        _judged("version", about, server.version),
        _judged("eviction", memory, server.eviction),
        _judged("memory", memory, server.memory),
        _judged("persistence", persistence, server.persistence),
        _judged("role", role, server.role),
    ]
    if isinstance(moment, BaseException):
        return [*findings, _denied("clock", moment)]
    server_ms = int(moment[0]) * 1000 + int(moment[1]) / 1000
    return [*findings, server.clock(server_ms, (before + after) / 2)]


def _judged(check: str, reply: Any, judge: Callable[[Any], Finding]) -> Finding:
    if isinstance(reply, BaseException):
        return _denied(check, reply)
    try:
        return judge(reply)
    except (TypeError, ValueError, LookupError) as failure:
        return unknown(check, f"the server's answer is not understood: {failure}", "tell us which server it is")


def _denied(check: str, failure: BaseException) -> Finding:
    told = str(access_error(RedisReadError, failure, address="")).removeprefix("Redis : ")
    return unknown(check, told, "grant it to this user, or look as another one")


async def _discover(client: Client, run: access.Run, prefix: str) -> tuple[list[str], Finding]:
    """Return the names of the queues under a prefix, by a walk that ends after some seconds."""
    if isinstance(client, RedisCluster):
        return [], unknown("queues", "a Cluster is not searched for queues", "name them: queueworker doctor QUEUE...")
    names: set[str] = set()
    pattern = f"{literal(prefix)}:*:meta"
    cursor, end = 0, time.monotonic() + _SCAN_SECONDS
    while True:
        replies = await run([("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)])
        if isinstance(replies[0], BaseException):
            return [], _denied("queues", replies[0])
        cursor, found = int(replies[0][0]), replies[0][1]
        names |= {key.removeprefix(f"{prefix}:").removesuffix(":meta") for key in found}
        if not cursor or time.monotonic() > end:
            break
    # A job of the id x:meta looks like a queue, but no queue has a colon in its name.
    queue_names = sorted(name for name in names if ":" not in name)
    return queue_names, _found(queue_names, prefix, complete=not cursor)


def _found(names: list[str], prefix: str, *, complete: bool) -> Finding:
    if not complete:
        message = f"{len(names)} queues found under {prefix!r} before time was up: the server holds very many keys"
        return unknown("queues", message, "name the queues: queueworker doctor QUEUE...")
    if not names:
        return warning("queues", f"no queue found under the prefix {prefix!r}", "check --prefix, host, port and db")
    if len(names) > MOST_QUEUES:
        message = f"{len(names)} queues under {prefix!r}, the first {MOST_QUEUES} of them looked at"
        return unknown("queues", message, "name the others: queueworker doctor QUEUE...")
    return ok("queues", f"{len(names)} found under the prefix {prefix!r}")


def literal(text: str) -> str:
    """Return a text as a pattern that matches itself only."""
    return "".join(f"\\{one}" if one in "*?[]\\^-" else one for one in text)
