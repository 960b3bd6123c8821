"""Changes of one job, and of what a queue allows: paused, limits, priorities."""

from __future__ import annotations

import pytest
from bullmq import Queue as BullQueue
from finished_jobs import add_failed
from redis.asyncio import Redis
from valkeyserver import free_port

from queueworker import InvalidJobError, Queue
from queueworker.errors import JobNotFoundError, JobStateError, RedisReadError
from queueworker.settings import ConnectionSettings


async def test_pause_and_resume(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n")
    assert not await queue.is_paused()
    await queue.pause()
    await queue.pause()
    assert await queue.is_paused()
    assert await client.zscore("bull:q:marker", "0") is None
    await queue.resume()
    assert not await queue.is_paused()
    assert await client.zscore("bull:q:marker", "0") == 0


async def test_resume_brings_back_all_jobs_that_bullmq_5_put_aside(queue: Queue, client: Redis) -> None:
    await client.hset("bull:q:meta", "paused", 1)
    await client.rpush("bull:q:paused", *map(str, range(15_000)))
    await client.rpush("bull:q:wait", "new")
    await queue.resume()
    assert await client.exists("bull:q:paused") == 0
    assert await client.llen("bull:q:wait") == 15_001


async def test_global_concurrency_and_rate_limit(queue: Queue, client: Redis) -> None:
    assert await queue.global_concurrency() is None
    await queue.set_global_concurrency(4)
    assert await queue.global_concurrency() == 4
    await queue.set_global_rate_limit(10, 1000)
    limit = await queue.global_rate_limit()
    assert limit is not None
    assert (limit.max, limit.duration_ms) == (10, 1000)
    bull = BullQueue("q", {"connection": client})
    assert await bull.getGlobalConcurrency() == 4
    assert await bull.getGlobalRateLimit() == {"max": 10, "duration": 1000}
    assert await queue.remove_global_concurrency()
    assert not await queue.remove_global_concurrency()
    assert await queue.remove_global_rate_limit()
    assert await queue.global_rate_limit() is None
    with pytest.raises(InvalidJobError, match="at least 1"):
        await queue.set_global_concurrency(0)


async def test_a_rate_limit_by_hand_is_bullmqs(queue: Queue, client: Redis) -> None:
    await queue.rate_limit(60_000)
    ours = await client.get("bull:q:limiter")
    await client.delete("bull:q:limiter")
    await BullQueue("q", {"connection": client}).rateLimit(60_000)
    assert await client.get("bull:q:limiter") == ours
    assert await queue.remove_rate_limit()
    assert not await queue.remove_rate_limit()


async def test_one_job_gets_another_priority(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="a", priority=5)
    await queue.enqueue("n", job_id="b", priority=5)
    await queue.change_priority("b", 1)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["b", "a"]
    assert await client.hget("bull:q:b", "priority") == "1"
    with pytest.raises(JobNotFoundError, match="has no job c"):
        await queue.change_priority("c", 1)
    with pytest.raises(JobNotFoundError, match="has no job meta"):
        await queue.change_priority("meta", 1)
    with pytest.raises(InvalidJobError, match="1 \\(first\\)"):
        await queue.change_priority("a", 0)


async def test_one_job_gets_another_delay(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="a", delay=1000)
    await queue.enqueue("n", job_id="b", delay=5000)
    await queue.change_delay("a", 60_000)
    assert await client.zrange("bull:q:delayed", 0, -1) == ["b", "a"]
    await queue.enqueue("n", job_id="now")
    with pytest.raises(JobStateError, match="job now is prioritized: only delayed"):
        await queue.change_delay("now", 1)
    with pytest.raises(JobNotFoundError):
        await queue.change_delay("none", 1)


async def test_one_job_is_retried_or_the_reason_why_not_is_said(queue: Queue, client: Redis) -> None:
    await add_failed(queue, client, 1, priority=3)
    await queue.retry_job("f0", reset_attempts=True)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["f0"]
    with pytest.raises(JobStateError, match="job f0 is prioritized: only failed and completed jobs can be retried"):
        await queue.retry_job("f0")
    with pytest.raises(JobNotFoundError, match="queue q has no job gone"):
        await queue.retry_job("gone")


async def test_one_job_is_promoted(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="a", delay=10_000)
    await queue.promote_job("a")
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["a"]
    with pytest.raises(JobStateError, match="only delayed jobs can be promoted"):
        await queue.promote_job("a")


async def test_one_job_is_removed_unless_a_worker_holds_it(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="a")
    await client.set("bull:q:a:lock", "token")
    with pytest.raises(JobStateError, match="job a is locked"):
        await queue.remove("a")
    await client.delete("bull:q:a:lock")
    await queue.remove("a")
    assert not await client.keys("bull:q:a*")
    with pytest.raises(JobNotFoundError):
        await queue.remove("a")


@pytest.mark.parametrize("name", ["meta", "id", "prioritized", "events", "none"])
async def test_no_key_of_the_queue_itself_is_removed(queue: Queue, client: Redis, name: str) -> None:
    await queue.enqueue("n")
    before = sorted(await client.keys("*"))
    with pytest.raises(JobNotFoundError):
        await queue.remove(name)
    assert sorted(await client.keys("*")) == before


async def test_the_next_run_of_a_scheduler_stays(queue: Queue, client: Redis) -> None:
    scheduled = await queue.schedule("s", every=60_000)
    with pytest.raises(JobStateError, match="next run of a scheduler"):
        await queue.remove(str(scheduled.next_job_id))


async def test_looking_fails_as_a_reading(redis_settings: ConnectionSettings) -> None:
    nowhere = ConnectionSettings(host="127.0.0.1", port=free_port())
    async with Queue("q", nowhere) as queue:
        for look in (queue.exists, queue.is_paused, queue.global_concurrency, queue.global_rate_limit):
            with pytest.raises(RedisReadError, match="not reachable"):
                await look()
