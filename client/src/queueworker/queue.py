"""Putting jobs on a queue.

Delivery is at least once. Adding is safe to repeat: every job has an id before it is sent, so that a request sent again
after a lost answer adds nothing.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar

import redis.exceptions as redis_errors
from redis.asyncio import RedisCluster

from queueworker import schedules
from queueworker.batch import Command, run_together
from queueworker.connection import Client, connect, drop_idle_connections, require_decoding
from queueworker.errors import RedisReadError, RedisWriteError, SettingsError
from queueworker.failures import EXPECTED, access_error, may_pass
from queueworker.jobs import Job
from queueworker.keys import QueueKeys, missing_hash_tag
from queueworker.options import usable_queue_name
from queueworker.reader import QueueReader
from queueworker.schedules import Schedule, Scheduled
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot

T = TypeVar("T")

CHUNK = 500
ATTEMPTS = 4
ATTEMPT_SECONDS = 10.0
_BACKOFF_SECONDS = 0.1
_PARALLEL = 32


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a job: its id in Redis, and whether it was added.

    Not added means a duplicate: a job with this id is still there (finished ones too, while they are kept), or the
    deduplication id belongs to the job of `id`.
    """

    id: str
    added: bool


class Queue:
    """A BullMQ queue, as a producer sees it.

        async with Queue("killmail", ConnectionSettings(host="redis")) as queue:
            await queue.enqueue("killmail", {"killmail_id": 1}, job_id="killmail-1")

    `connection` is where Redis is (default: the environment), or a redis-py client that stays the caller's. A lost
    connection is tried again; what fails then raises RedisWriteError, or RedisReadError for `stats`.
    """

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
        self._reader = QueueReader(self._client, address=self.address)

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

    async def enqueue(self, name: str, data: Any = None, **options: Any) -> Enqueued:
        """Add one job; `options` are those of `queueworker.options.JobOptions`.

        Raises InvalidJobError before anything is sent, RedisWriteError if Redis fails.
        """
        return (await self._add([Job.create(name, data, **options)]))[0]

    async def enqueue_many(self, jobs: Iterable[Job]) -> list[Enqueued]:
        """Add jobs in chunks of 500, in their order, and say of each what became of it.

        After a RedisWriteError some may have been added; the same `Job` objects can be given again.
        """
        results: list[Enqueued] = []
        for chunk in _chunks(jobs):
            results += await self._add(chunk)
        return results

    async def schedule(
        self,
        scheduler_id: str,
        data: Any = None,
        *,
        cron: str | None = None,
        every: int | None = None,
        tz: str | None = None,
        limit: int | None = None,
        name: str | None = None,
        **options: Any,
    ) -> Scheduled:
        """Have a job added again and again: by a cron pattern in the time zone `tz`, or every so many milliseconds.

        The job's name is the scheduler's id unless `name` says otherwise; at most `limit` jobs are made. The same call
        again changes nothing. Raises InvalidJobError, RedisWriteError.
        """
        plan = Schedule(id=scheduler_id, cron=cron, every=every, tz=tz, limit=limit)
        return await self._persist(
            lambda: schedules.upsert(
                self._client,
                prefix=self.prefix,
                queue=self.name,
                schedule=plan,
                name=name or scheduler_id,
                data=data,
                options=options,
            )
        )

    async def unschedule(self, scheduler_id: str) -> bool:
        """Remove a scheduler with its next job; tells whether there was one."""
        return await self._persist(
            lambda: schedules.remove(self._client, prefix=self.prefix, queue=self.name, scheduler_id=scheduler_id)
        )

    async def stats(self, *, horizon_ms: int = 0, deadline_seconds: float = 5.0) -> QueueSnapshot:
        """Return what the queue holds; raises RedisReadError, never zeros for what could not be read."""
        outcomes = await self._reader.read([self.keys], horizon_ms=horizon_ms, deadline_seconds=deadline_seconds)
        outcome = outcomes[self.keys]
        if isinstance(outcome, RedisReadError):
            raise outcome
        return outcome

    async def _add(self, jobs: Sequence[Job]) -> list[Enqueued]:
        timestamp_ms = self._now_ms()
        calls = [job.call(self.keys, timestamp_ms=timestamp_ms) for job in jobs]
        resent = False

        async def send() -> list[Enqueued]:
            nonlocal resent
            probe, resent = ("timestamp" if resent else "exists"), True
            return await self._send(jobs, calls, probe=probe, timestamp_ms=timestamp_ms)

        return await self._persist(send)

    async def _send(
        self, jobs: Sequence[Job], calls: Sequence[Command], *, probe: str, timestamp_ms: int
    ) -> list[Enqueued]:
        """Send the calls, each with a probe before it that tells an id that was there from one that is new.

        BullMQ's scripts answer both with the id. At the first sending the id must not exist; later it may, if it came
        by our own request whose answer was lost, which its timestamp shows.
        """
        commands: list[Command] = []
        for job, call in zip(jobs, calls, strict=True):
            key = self.keys.job(job.id)
            commands += [("EXISTS", key) if probe == "exists" else ("HGET", key, "timestamp"), call]
        replies = await run_together(self._client, commands, near=self.keys.base)
        added = await self._load_missing(jobs, calls, replies[1::2])
        was_there = [reply not in (0, None, str(timestamp_ms)) for reply in replies[0::2]]
        return [
            Enqueued(str(reply), added=str(reply) == job.id and not (there and not job.generated_id))
            for job, reply, there in zip(jobs, added, was_there, strict=True)
        ]

    async def _load_missing(self, jobs: Sequence[Job], calls: Sequence[Command], replies: list[Any]) -> list[Any]:
        """Return the replies, those of scripts that the server did not know asked for again; raises the first error."""
        missing = [i for i, reply in enumerate(replies) if isinstance(reply, redis_errors.NoScriptError)]
        if missing:
            sources = {jobs[i].script.source for i in missing}
            again = [*(("SCRIPT LOAD", source) for source in sources), *(calls[i] for i in missing)]
            answers = await run_together(self._client, again, near=self.keys.base)
            _raise_first(answers[: len(sources)])
            for i, answer in zip(missing, answers[len(sources) :], strict=True):
                replies[i] = answer
        _raise_first(replies)
        for job, reply in zip(jobs, replies, strict=True):
            if isinstance(reply, int) and reply < 0:
                raise RedisWriteError(f"Redis {self.address}: BullMQ refused job {job.id} with code {reply}")
        return replies

    async def _persist(self, send: Callable[[], Awaitable[T]]) -> T:
        """Call `send` until it succeeds or the attempts are used up; what it sends must be harmless to repeat."""
        async with self._parallel:
            attempt = 1
            while True:
                try:
                    async with asyncio.timeout(self._attempt_seconds):
                        return await send()
                except EXPECTED as error:
                    if attempt == ATTEMPTS or not may_pass(error):
                        raise access_error(RedisWriteError, error, address=self.address) from error
                    if isinstance(error, redis_errors.ReadOnlyError):
                        await drop_idle_connections(self._client)
                await asyncio.sleep(_BACKOFF_SECONDS * 2**attempt * random.random())  # noqa: S311 - jitter, no secret
                attempt += 1


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk


def _raise_first(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, BaseException):
            raise reply
