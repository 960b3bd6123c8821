"""Reading many queues of one Redis at once.

A failed, late or partial reading is an error for the queues that it concerns, never a count of zero.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError, NoScriptError

from queueworker import plain, sample
from queueworker.batch import run_together
from queueworker.command import Command
from queueworker.connection import Client, connect, drop_idle_connections, require_decoding
from queueworker.errors import RedisReadError
from queueworker.failures import EXPECTED, access_error, is_wrong_type, may_pass, refuses_scripts, wrong_type_error
from queueworker.keys import QueueKeys, missing_hash_tag
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot

# Ways to read, best first: a server that refuses one may take the next.
_WAYS = ("EVALSHA_RO", "EVALSHA", "plain")
_TRY_AGAIN_SECONDS = 300
_CLUSTER_PARALLEL = 32
# Below the usual deadline: a server without TLS says nothing at all to a handshake.
_HANDSHAKE_SECONDS = 1.5

Outcome = QueueSnapshot | RedisReadError
_Raw = list[Any] | BaseException


class QueueReader:
    """Reads queues with one read-only script call each, or by plain commands where scripts are refused.

    The client is not closed by `aclose` unless `open` made it.
    """

    def __init__(self, client: Client, *, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = require_decoding(client)
        self._address = address
        self._clock = clock
        self._way = 0
        self._best_way_again_at = 0.0
        self._owned = False

    @classmethod
    def open(cls, settings: ConnectionSettings, *, name: str | None = None) -> Self:
        """Return a reader with a client of its own; `name` shows in CLIENT LIST."""
        # Retries are the reader's own, so that a cause is told and not the deadline; a Cluster client needs one itself.
        client = connect(
            settings,
            name=name,
            retries=0 if settings.cluster is None else 1,
            handshake_seconds=_HANDSHAKE_SECONDS,
        )
        reader = cls(client, address=settings.address)
        reader._owned = True
        return reader

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client if this reader opened it."""
        if self._owned:
            await self._client.aclose()

    @property
    def uses_scripts(self) -> bool:
        """Whether the last reading went by script: one moment per queue, and about four times faster."""
        return _WAYS[self._way] != "plain"

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int = 0, deadline_seconds: float = 2.0
    ) -> Mapping[QueueKeys, Outcome]:
        """Return a snapshot or an error for every queue asked for; raises nothing for a Redis that fails.

        `horizon_ms` is how far ahead `delayed_due_soon` looks. A server whose role is not master, and one whose memory
        is full, is an error for all queues, because its numbers are old or its workers cannot work; where ROLE or INFO
        are denied to this user, that is not known and not reported.
        """
        wanted = list(dict.fromkeys(queues))
        try:
            async with asyncio.timeout(deadline_seconds):
                return await self._read_patiently(wanted, horizon_ms)
        except TimeoutError:
            message = f"Redis {self._address}: no whole answer within {deadline_seconds:g} s"
            return dict.fromkeys(wanted, RedisReadError(message))
        except EXPECTED as error:
            return dict.fromkeys(wanted, access_error(RedisReadError, error, address=self._address))

    async def _read_patiently(self, queues: list[QueueKeys], horizon_ms: int) -> dict[QueueKeys, Outcome]:
        """Read, and once more where a pooled connection had died unnoticed; all other patience is the caller's."""
        try:
            return await self._read(queues, horizon_ms)
        except EXPECTED as error:
            if not may_pass(error):
                raise
        return await self._read(queues, horizon_ms)

    async def _read(self, queues: list[QueueKeys], horizon_ms: int) -> dict[QueueKeys, Outcome]:
        if isinstance(self._client, RedisCluster):
            return await self._read_cluster(queues, horizon_ms)
        if self._way and self._clock() >= self._best_way_again_at:
            self._way = 0
        raw, state = await self._sample(queues, horizon_ms)
        failure = _server_failure(*state, address=self._address)
        if failure is not None and failure.reason == "RoleNotMaster":
            await drop_idle_connections(self._client)
        if failure is not None:
            return dict.fromkeys(queues, failure)
        return {keys: self._outcome(keys, raw[keys]) for keys in queues}

    async def _read_cluster(self, queues: list[QueueKeys], horizon_ms: int) -> dict[QueueKeys, Outcome]:
        """Read queue by queue: each may live on another node. The client asks masters only, so the role is known."""
        limit = asyncio.Semaphore(_CLUSTER_PARALLEL)

        async def read_one(keys: QueueKeys) -> Outcome:
            if not keys.has_hash_tag:
                message = f"Redis {self._address}: {missing_hash_tag(keys)}"
                return RedisReadError(message, reason="InvalidQueueKey")
            async with limit:
                try:
                    raw, state = await self._sample([keys], horizon_ms)
                except EXPECTED as error:
                    return access_error(RedisReadError, error, address=self._address)
            return _server_failure(*state, address=self._address) or self._outcome(keys, raw[keys])

        if self._way and self._clock() >= self._best_way_again_at:
            self._way = 0
        await self._client.initialize()
        return dict(zip(queues, await asyncio.gather(*map(read_one, queues)), strict=True))

    async def _sample(self, queues: list[QueueKeys], horizon_ms: int) -> tuple[dict[QueueKeys, _Raw], tuple[Any, Any]]:
        """Return what each queue brought, and the replies to ROLE and INFO of the server."""
        raw: dict[QueueKeys, _Raw] = {}
        state: tuple[Any, Any] | None = None
        rest = queues
        while rest or state is None:
            way = _WAYS[self._way]
            if way == "plain":
                replies, state = await self._sample_plain(rest, horizon_ms)
            else:
                replies, state = await self._sample_by_script(way, rest, horizon_ms)
            raw |= replies
            rest = [keys for keys in rest if _refused(way, replies[keys])]
            if rest:
                self._step_down(from_way=way)
        wrong = [keys for keys in queues if is_wrong_type(raw[keys])]
        if wrong:
            # The script only knows that some key is wrong; the plain commands know which.
            raw |= (await self._sample_plain(wrong, horizon_ms))[0]
        return raw, state

    def _step_down(self, *, from_way: str) -> None:
        # Readings of a Cluster run side by side: only the first that is refused changes the way.
        if _WAYS[self._way] == from_way:
            self._way += 1
            self._best_way_again_at = self._clock() + _TRY_AGAIN_SECONDS

    async def _sample_by_script(
        self, command: str, queues: list[QueueKeys], horizon_ms: int
    ) -> tuple[dict[QueueKeys, _Raw], tuple[Any, Any]]:
        sha1 = sample.script().sha1
        calls = {keys: (command, sha1, *sample.script_arguments(keys, horizon_ms=horizon_ms)) for keys in queues}
        role, memory, *replies = await self._run([("ROLE",), ("INFO", "memory"), *calls.values()], near=queues)
        raw: dict[QueueKeys, _Raw] = dict(zip(queues, replies, strict=True))
        missing = [keys for keys in queues if isinstance(raw[keys], NoScriptError)]
        if missing:
            again = [("SCRIPT LOAD", sample.script().source), *(calls[keys] for keys in missing)]
            loaded, *replies = await self._run(again, near=missing)
            if isinstance(loaded, BaseException):
                replies = [loaded] * len(missing)
            raw |= zip(missing, replies, strict=True)
        return raw, (role, memory)

    async def _sample_plain(
        self, queues: list[QueueKeys], horizon_ms: int
    ) -> tuple[dict[QueueKeys, _Raw], tuple[Any, Any]]:
        role, memory, now = await self._run([("ROLE",), ("INFO", "memory"), ("TIME",)], near=queues)
        if isinstance(now, BaseException):
            raise now
        now_ms = int(now[0]) * 1000 + int(now[1]) // 1000

        async def run(commands: Sequence[Command]) -> list[Any]:
            return await self._run(commands, near=queues)

        raw = await plain.read(run, queues, now_ms=now_ms, horizon_ms=horizon_ms)
        return {**raw}, (role, memory)

    async def _run(self, commands: Sequence[Command], *, near: list[QueueKeys]) -> list[Any]:
        return await run_together(self._client, commands, near=near[0].base if near else "")

    def _outcome(self, keys: QueueKeys, raw: _Raw) -> Outcome:
        if isinstance(raw, plain.CommandFailed) and raw.wrong_type:
            return wrong_type_error(raw.key, address=self._address)
        if isinstance(raw, plain.CommandFailed):
            raw = raw.error
        if isinstance(raw, BaseException):
            return access_error(RedisReadError, raw, address=self._address)
        try:
            return sample.snapshot_of(keys, raw)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Redis {self._address}: queue {keys.queue} holds a value that BullMQ does not write: {error}"
            return RedisReadError(message, reason="InvalidQueueKey")


def _refused(way: str, reply: _Raw) -> bool:
    # EVALSHA asks for write access to its keys, which a read-only user lacks; the other ways do not.
    return way != "plain" and (refuses_scripts(reply) or (way == "EVALSHA" and isinstance(reply, NoPermissionError)))


def _server_failure(role: Any, memory: Any, *, address: str) -> RedisReadError | None:
    if isinstance(role, list | tuple) and role and str(role[0]) != "master":
        message = f"Redis {address}: its role is {role[0]}, not master: connect to the master"
        return RedisReadError(message, reason="RoleNotMaster")
    if isinstance(memory, dict) and _is_full(memory):
        message = f"its memory is full ({memory['maxmemory']} bytes, noeviction): raise maxmemory or remove jobs"
        return RedisReadError(f"Redis {address}: {message}", reason="RedisMemoryFull")
    return None


def _is_full(memory: Mapping[str, Any]) -> bool:
    limit = int(memory.get("maxmemory", 0))
    counted = int(memory.get("used_memory", 0)) - int(memory.get("mem_not_counted_for_evict", 0))
    return bool(limit) and memory.get("maxmemory_policy") == "noeviction" and counted > limit
