"""What every part of a queue's client needs: its keys, its connection, and trying again what is safe to repeat."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self, TypeVar

import redis.exceptions as redis_errors
from redis.asyncio import RedisCluster

from queueworker.batch import run_together
from queueworker.command import Command
from queueworker.connection import Client, connect, drop_idle_connections, require_decoding
from queueworker.errors import RedisAccessError, RedisWriteError, SettingsError
from queueworker.failures import EXPECTED, access_error, may_pass
from queueworker.keys import QueueKeys, missing_hash_tag
from queueworker.names import usable_queue_name
from queueworker.scripts import Script, load
from queueworker.settings import ConnectionSettings

T = TypeVar("T")

ATTEMPTS = 4
ATTEMPT_SECONDS = 10.0
_BACKOFF_SECONDS = 0.1
_PARALLEL = 32


class QueueBase:
    """One queue and how to reach it; `connection` as `Queue` says."""

    def __init__(
        self,
        name: str,
        connection: ConnectionSettings | Client | None = None,
        *,
        prefix: str = "bull",
        attempt_seconds: float = ATTEMPT_SECONDS,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.keys = QueueKeys(prefix, usable_queue_name(name))
        self._attempt_seconds = attempt_seconds
        self._now_ms = now_ms
        self._parallel = asyncio.Semaphore(_PARALLEL)
        if connection is None:
            connection = ConnectionSettings.from_environment(os.environ)
        self._owned = isinstance(connection, ConnectionSettings)
        if isinstance(connection, ConnectionSettings):
            self.address = connection.address
            # Attempts are counted here: only then is it known whether an answer was lost on the way.
            self._client: Client = connect(connection, retries=0)
        else:
            self.address = "given by the caller"
            self._client = require_decoding(connection)
        if isinstance(self._client, RedisCluster) and not self.keys.has_hash_tag:
            raise SettingsError(f"queue {name}: {missing_hash_tag(self.keys)}")

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.keys.queue

    @property
    def prefix(self) -> str:
        """The prefix of the queue's keys."""
        return self.keys.prefix

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections that this queue opened."""
        if self._owned:
            await self._client.aclose()

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands together, once, and return the reply to each, or the error that it met."""
        return await run_together(self._client, commands, near=self.keys.base)

    async def _run_script(self, name: str, keys: Sequence[str], arguments: Sequence[str | int | bytes]) -> Any:
        """Call a script of BullMQ, once; load it where the server does not know it."""
        return (await self._run_scripts(name, [(keys, arguments)]))[0]

    async def _run_scripts(
        self, name: str | Script, calls: Sequence[tuple[Sequence[str], Sequence[str | int | bytes]]]
    ) -> list[Any]:
        """Call a script, BullMQ's by its name, several times in one go; return the replies or raise the first error."""
        script = name if isinstance(name, Script) else load(name)
        commands: list[Command] = [("EVALSHA", script.sha1, len(keys), *keys, *words) for keys, words in calls]
        replies = await self._run(commands)
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]
        if missing:
            loaded, *again = await self._run([("SCRIPT LOAD", script.source), *(commands[i] for i in missing)])
            raise_first([loaded])
            for i, reply in zip(missing, again, strict=True):
                replies[i] = reply
        raise_first(replies)
        return replies

    async def _answers(
        self, commands: Sequence[Command], *, kind: type[RedisAccessError] = RedisWriteError
    ) -> list[Any]:
        """Send commands that are harmless to repeat until they are answered; raises as `_persist` does."""

        async def send() -> list[Any]:
            replies = await self._run(commands)
            raise_first(replies)
            return replies

        return await self._persist(send, kind=kind)

    async def _persist(self, send: Callable[[], Awaitable[T]], *, kind: type[RedisAccessError] = RedisWriteError) -> T:
        """Call `send` until it succeeds or the attempts are used up; what it sends must be harmless to repeat.

        Raises RedisWriteError, or the `kind` that is given.
        """
        async with self._parallel:
            attempt = 1
            while True:
                try:
                    async with asyncio.timeout(self._attempt_seconds):
                        return await send()
                except EXPECTED as error:
                    if attempt == ATTEMPTS or not may_pass(error):
                        raise access_error(kind, error, address=self.address) from error
                    if isinstance(error, redis_errors.ReadOnlyError):
                        await drop_idle_connections(self._client)
                await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt * random.random())  # noqa: S311 - jitter, no secret
                attempt += 1


def raise_first(replies: Sequence[Any]) -> None:
    """Raise the first error among replies."""
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
