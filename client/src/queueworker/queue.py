"""Putting jobs on a queue.

Delivery is at least once. Adding is safe to repeat: every job has an id before it is sent, so that a request sent again
after a lost answer adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import redis.exceptions as redis_errors

from queueworker import schedules
from queueworker.admin import QueueAdmin
from queueworker.base import raise_first
from queueworker.batch import Command, run_together
from queueworker.errors import RedisWriteError
from queueworker.getters import QueueGetters
from queueworker.jobs import Job
from queueworker.schedules import Schedule, Scheduled

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a job: its id in Redis, and whether it was added.

    Not added means a duplicate: a job with this id is still there (finished ones too, while they are kept), or the
    deduplication id belongs to the job of `id`.
    """

    id: str
    added: bool


class Queue(QueueAdmin, QueueGetters):
    """A BullMQ queue, as a producer sees it.

        async with Queue("killmail", ConnectionSettings(host="redis")) as queue:
            await queue.enqueue("killmail", {"killmail_id": 1}, job_id="killmail-1")

    `connection` is where Redis is (default: the environment), or a redis-py client that stays the caller's. A lost
    connection is tried again; what fails then raises RedisWriteError, or RedisReadError for `stats`.
    """

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
            raise_first(answers[: len(sources)])
            for i, answer in zip(missing, answers[len(sources) :], strict=True):
                replies[i] = answer
        raise_first(replies)
        for job, reply in zip(jobs, replies, strict=True):
            if isinstance(reply, int) and reply < 0:
                raise RedisWriteError(f"Redis {self.address}: BullMQ refused job {job.id} with code {reply}")
        return replies


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    rest = iter(jobs)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
