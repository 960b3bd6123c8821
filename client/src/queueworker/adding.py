"""Putting jobs on a queue, one by one and many at once.

Adding is safe to repeat: every job has an id before it is sent, and a request that is sent again after a lost answer
first looks for what came of the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import redis.exceptions as redis_errors
from redis.asyncio import RedisCluster

from queueworker.base import QueueBase, raise_first
from queueworker.command import Command
from queueworker.errors import InvalidJobError, JobRefusedError, QueueWorkerError, RedisWriteError
from queueworker.failures import EXPECTED, access_error, may_pass
from queueworker.gathering import Gathering
from queueworker.jobs import Job
from queueworker.keys import hash_tag
from queueworker.outcome import Attempt, Enqueued, Outcome, is_ours

T = TypeVar("T")

CHUNK = 500
CHUNK_CHARACTERS = 4_000_000
"""How much data goes into one request, so that a slow link can carry it before the attempt is given up."""

_PREPARED_TOGETHER = 25


class QueueAdding(QueueBase):
    """The adding half of `Queue`."""

    @cached_property
    def _gathering(self) -> Gathering:
        return Gathering(self._settle, most=CHUNK, most_characters=CHUNK_CHARACTERS)

    async def aclose(self) -> None:
        """Close the connections that this queue opened, once all who wait for `enqueue` have their answer."""
        try:
            await self._gathering.aclose()
        finally:
            await super().aclose()

    async def enqueue(self, name: str, data: Any = None, **options: Any) -> Enqueued:
        """Add one job; `options` are those of `queueworker.options.JobOptions`.

        `parent={"id": …, "queue": "prefix:queue"}` makes it the child of a job that is there, of one that is running
        for example. What many tasks add at the same time goes to Redis together. Raises InvalidJobError before
        anything is sent, JobRefusedError if the parent is not there, RedisWriteError if Redis fails.
        """
        return await self._gathering.add(self._attempt(Job.create(name, data, **options)))

    async def enqueue_many(self, jobs: Iterable[Job]) -> list[Enqueued]:
        """Add jobs in chunks of 500, in their order, and say of each what became of it; reads them a chunk ahead.

        After a RedisWriteError some may have been added; the same `Job` objects can be given again. A JobRefusedError
        names the first job that was refused; the other jobs of its chunk were added, those of later chunks were not.
        """
        results: list[Enqueued] = []
        async with aclosing(self._chunks(jobs)) as chunks:
            attempts = await _next(chunks)
            while attempts:
                # The next chunk is prepared while the server works on this one.
                settled, following = await asyncio.gather(self._settle(attempts), _next(chunks), return_exceptions=True)
                results.extend(_or_raised(result) for result in _or_raised(settled))
                attempts = _or_raised(following)
        return results

    async def _chunks(self, jobs: Iterable[Job]) -> AsyncGenerator[list[Attempt], None]:
        """Yield what is to be sent together; raises InvalidJobError."""
        chunk: list[Attempt] = []
        characters = 0
        for number, job in enumerate(jobs, start=1):
            if not isinstance(job, Job):
                message = f"enqueue_many: {type(job).__name__} is no Job: make them by Job.create(name, data)"
                raise InvalidJobError(message)
            if chunk and (len(chunk) == CHUNK or characters + len(job.payload) > CHUNK_CHARACTERS):
                yield chunk
                chunk, characters = [], 0
            chunk.append(self._attempt(job))
            characters += len(job.payload)
            if number % _PREPARED_TOGETHER == 0:
                # The request under way meanwhile shall get on.
                await asyncio.sleep(0)
        if chunk:
            yield chunk

    def _attempt(self, job: Job) -> Attempt:
        """Return what is to be sent for a job; raises InvalidJobError."""
        self._check_parent(job)
        timestamp_ms = self._now_ms()
        return Attempt(job, job.call(self.keys, timestamp_ms=timestamp_ms), self.keys, timestamp_ms, resent=False)

    async def _settle(self, attempts: Sequence[Attempt]) -> list[Enqueued | QueueWorkerError]:
        """Send jobs together until it is known of each what became of it; raises RedisWriteError where it is not."""
        settled: dict[int, Enqueued | QueueWorkerError] = {}
        resent = False

        async def send() -> None:
            nonlocal resent
            if resent:
                settled.update(await self._arrived(attempts))
            rest = {i: replace(one, resent=resent) for i, one in enumerate(attempts) if i not in settled}
            resent = True
            replies = await self._replies(list(rest.values())) if rest else []
            for (i, one), group in zip(rest.items(), replies, strict=True):
                settled[i] = self._result(one, group)

        await self._persist(send)
        return [settled[i] for i in range(len(attempts))]

    def _result(self, attempt: Attempt, replies: Sequence[Any]) -> Enqueued | QueueWorkerError:
        """Return what became of one job, its own error too; raises what trying again may help against."""
        error = next((reply for reply in replies if isinstance(reply, BaseException)), None)
        if error is not None:
            if not isinstance(error, EXPECTED) or may_pass(error):
                raise error
            return access_error(RedisWriteError, error, address=self.address)
        try:
            return attempt.outcome(replies)
        except JobRefusedError as refused:
            return refused

    async def _arrived(self, attempts: Sequence[Attempt]) -> dict[int, Enqueued]:
        """Return which jobs an earlier request of ours added.

        They are not sent again: the script would count a child that has failed meanwhile among those to wait for.
        """
        stored = await self._run([("HGET", self.keys.job(one.job.id), "timestamp") for one in attempts])
        raise_first(stored)
        arrived = {
            i: Enqueued(one.job.id, Outcome.ADDED)
            for i, (one, found) in enumerate(zip(attempts, stored, strict=True))
            if is_ours(one.job, found, one.timestamp_ms)
        }
        return arrived | await self._overtaken({i: one for i, one in enumerate(attempts) if i not in arrived})

    async def _overtaken(self, attempts: Mapping[int, Attempt]) -> dict[int, Enqueued]:
        """Return which jobs came too late to take another one's place: a newer one stands there."""
        ids = {
            i: one.job.options.deduplication.id
            for i, one in attempts.items()
            if one.job.options.deduplication is not None and one.job.options.deduplication.replace
        }
        if not ids:
            return {}
        holders = await self._run([("GET", self.keys.of(f"de:{one}")) for one in ids.values()])
        raise_first(holders)
        held = {i: str(holder) for i, holder in zip(ids, holders, strict=True) if holder is not None}
        if not held:
            return {}
        times = await self._run([("HGET", self.keys.job(holder), "timestamp") for holder in held.values()])
        raise_first(times)
        return {
            i: Enqueued(holder, Outcome.DEDUPLICATED)
            for (i, holder), since in zip(held.items(), times, strict=True)
            if since is not None and int(since) > attempts[i].timestamp_ms
        }

    async def _replies(self, attempts: Sequence[Attempt]) -> list[list[Any]]:
        """Send the commands of all jobs together and return the replies to each job's, errors too."""
        groups = [one.commands for one in attempts]
        flat = iter(await self._run([command for group in groups for command in group]))
        replies = [[next(flat) for _ in group] for group in groups]
        await self._load_missing(attempts, replies)
        return replies

    async def _load_missing(self, attempts: Sequence[Attempt], replies: list[list[Any]]) -> None:
        """Ask again where the server did not know a script."""
        missing = [
            i for i, group in enumerate(replies) if any(isinstance(one, redis_errors.NoScriptError) for one in group)
        ]
        if not missing:
            return
        sources = {attempts[i].job.script.source for i in missing}
        groups = [attempts[i].commands for i in missing]
        again: list[Command] = [("SCRIPT LOAD", source) for source in sources]
        answers = await self._run([*again, *(command for group in groups for command in group)])
        raise_first(answers[: len(sources)])
        flat = iter(answers[len(sources) :])
        for i, group in zip(missing, groups, strict=True):
            replies[i] = [next(flat) for _ in group]

    def _check_parent(self, job: Job) -> None:
        """Raise InvalidJobError for a parent in another slot of the Cluster, which no script can reach."""
        parent = job.options.parent
        if parent is None or not isinstance(self._client, RedisCluster):
            return
        if hash_tag(parent.key) != hash_tag(self.keys.base):
            raise InvalidJobError(
                f"job {job.name}: its parent's queue {parent.queue} lies in another slot of the Cluster than "
                f"{self.keys.base}: give both the same hash tag in their prefix"
            )


def _or_raised(result: T | BaseException) -> T:
    if isinstance(result, BaseException):
        raise result
    return result


async def _next(chunks: AsyncGenerator[list[Attempt], None]) -> list[Attempt]:
    """Return the next chunk, nothing after the last."""
    return await anext(chunks, [])
