"""Administering a queue: exact counts, priorities kept, batches that can end, and answers that get lost."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from bullmq import Queue as BullQueue
from faultproxy import FaultProxy, Mode
from finished_jobs import add_failed, finish
from redis.asyncio import Redis

from queueworker import Queue
from queueworker.changes import Change, JobFilter
from queueworker.errors import JobStateError, PartlyDoneError
from queueworker.settings import ConnectionSettings


async def test_retry_keeps_each_priority_and_the_order(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="low", priority=10)
    await queue.enqueue("n", job_id="high", priority=1)
    await queue.enqueue("n", job_id="plain-lifo", lifo=True)
    await queue.enqueue("n", job_id="first", priority=5)
    await queue.enqueue("n", job_id="second", priority=5)
    await finish(client, ["low", "high", "plain-lifo", "first", "second"])
    assert await queue.retry(batch=2) == Change(matched=5, done=5)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["high", "first", "second", "low"]
    assert await client.lrange("bull:q:wait", 0, -1) == ["plain-lifo"]
    assert await client.zcard("bull:q:failed") == 0
    assert await client.zscore("bull:q:marker", "0") == 0, "a worker that waits must be told"
    job = await client.hgetall("bull:q:high")
    assert "failedReason" not in job
    assert "finishedOn" not in job
    assert job["atm"] == "3", "attempts are kept unless asked otherwise"


async def test_the_stock_retry_loses_the_priorities(queue: Queue, client: Redis) -> None:
    """Defect D18, the reason why ours goes job by job."""
    await add_failed(queue, client, 2, priority=1)
    await BullQueue("q", {"connection": client}).retryJobs({})
    assert await client.zcard("bull:q:prioritized") == 0
    assert await client.llen("bull:q:wait") == 2


async def test_retry_can_reset_the_attempts_and_take_completed_jobs(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", job_id="done")
    await finish(client, ["done"], state="completed", reason='"v"')
    assert await queue.retry() == Change(matched=0)
    assert await queue.retry(state="completed", reset_attempts=True) == Change(matched=1, done=1)
    job = await client.hgetall("bull:q:done")
    assert not {"returnvalue", "atm", "ats"} & set(job)


async def test_filters_choose_by_name_reason_and_age(queue: Queue, client: Redis) -> None:
    await queue.enqueue("mail", job_id="a")
    await queue.enqueue("mail", job_id="b")
    await queue.enqueue("print", job_id="c")
    await finish(client, ["a", "c"], reason="Timeout after 5 s")
    await finish(client, ["b"], reason="no such user")
    seconds, _ = await client.time()
    await client.zadd("bull:q:failed", {"a": (seconds - 3600) * 1000})

    async def chosen(**conditions: Any) -> int:
        return (await queue.retry(which=JobFilter(**conditions), dry_run=True)).matched

    assert await chosen() == 3
    assert await chosen(name="mail") == 2
    assert await chosen(reason="Timeout") == 2
    assert await chosen(name="mail", reason="Timeout") == 1
    assert await chosen(reason="timeout") == 0, "case matters"
    assert await chosen(older_than_ms=1_800_000) == 1
    assert await chosen(younger_than_ms=1_800_000) == 2
    assert await chosen(older_than_ms=1_800_000, younger_than_ms=7_200_000) == 1
    assert await client.zcard("bull:q:failed") == 3, "a dry run changes nothing"
    assert (await queue.retry(which=JobFilter(name="print"))).done == 1
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["c"]


async def test_jobs_that_moved_meanwhile_are_told_apart(
    queue: Queue, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await add_failed(queue, client, 10)
    seen: list[Change] = []
    original = queue._run_scripts

    async def meddle(*arguments: Any) -> Any:
        # Between two batches somebody else retries two jobs of the second one.
        if len(seen) == 1:
            await client.zrem("bull:q:failed", ids[6], ids[7])
        return await original(*arguments)

    monkeypatch.setattr(queue, "_run_scripts", meddle)
    assert await queue.retry(batch=5, progress=seen.append) == Change(matched=10, done=8, moved=2)
    assert seen == [Change(matched=10, done=5), Change(matched=10, done=8, moved=2)]


async def test_a_job_that_fails_again_is_not_retried_again(
    queue: Queue, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_failed(queue, client, 3)
    original = queue._run_scripts

    async def fail_again(*arguments: Any) -> Any:
        replies = await original(*arguments)
        await finish(client, ["f0"])
        return replies

    monkeypatch.setattr(queue, "_run_scripts", fail_again)
    assert await queue.retry(batch=1) == Change(matched=3, done=3)
    assert await client.zrange("bull:q:failed", 0, -1) == ["f0"]


async def test_a_change_ends_between_batches_when_asked_and_says_what_is_left(queue: Queue, client: Redis) -> None:
    await add_failed(queue, client, 10)
    stop = asyncio.Event()
    change = await queue.retry(batch=4, stop=stop, progress=lambda change: stop.set())
    assert (change, change.left) == (Change(matched=10, done=4, interrupted=True), 6)
    assert await client.zcard("bull:q:failed") == 6
    assert await queue.retry() == Change(matched=6, done=6)


async def test_a_cancelled_change_leaves_every_job_in_exactly_one_place(queue: Queue, client: Redis) -> None:
    ids = await add_failed(queue, client, 1000)
    task = asyncio.create_task(queue.retry(batch=50, progress=lambda change: change.done == 500 and task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    failed = await client.zrange("bull:q:failed", 0, -1)
    waiting = await client.zrange("bull:q:prioritized", 0, -1)
    assert sorted(failed + waiting) == sorted(ids)
    assert len(waiting) == 500
    assert (await queue.retry()).done == 500


async def test_a_change_cancelled_at_any_moment_ends(queue: Queue, client: Redis) -> None:
    """By itself Python 3.11 loses a cancel that comes as something is sent."""
    moments = random.Random(11)
    for _ in range(30):
        await client.flushall()
        await add_failed(queue, client, 200)
        change = asyncio.create_task(queue.retry(batch=10))
        await asyncio.sleep(moments.uniform(0, 0.03))
        was_running = change.cancel()
        await asyncio.wait({change})
        assert change.cancelled() or not was_running, change.result()


@pytest.mark.parametrize("operation", ["retry", "clear"])
async def test_lost_answers_change_no_count(redis_settings: ConnectionSettings, client: Redis, operation: str) -> None:
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        through = ConnectionSettings(host=proxy.host, port=proxy.port)
        async with Queue("q", through) as queue:
            await add_failed(queue, client, 60)

            def lose_an_answer(change: Change) -> None:
                # Every request of the next batch loses its answer once: reading the options, then the change itself.
                proxy.script = [Mode.DROP_REPLY, Mode.PASS, Mode.DROP_REPLY]

            if operation == "retry":
                change = await queue.retry(batch=20, progress=lose_an_answer)
            else:
                change = await queue.clear("failed", batch=20, progress=lose_an_answer)
    assert change == Change(matched=60, done=60)
    assert await client.zcard("bull:q:failed") == 0
    assert await client.zcard("bull:q:prioritized") == (60 if operation == "retry" else 0)


@pytest.mark.parametrize(
    ("state", "options"),
    [("waiting", {"lifo": True}), ("prioritized", {"priority": 3}), ("delayed", {"delay": 3_600_000})],
)
async def test_clear_removes_the_jobs_of_one_state_whole(
    queue: Queue, client: Redis, state: str, options: dict[str, Any]
) -> None:
    for i in range(30):
        await queue.enqueue("n", job_id=f"j{i}", deduplication={"id": f"d{i}"}, **options)
    await client.rpush("bull:q:j0:logs", "line")
    await add_failed(queue, client, 2)
    assert await queue.clear(state, dry_run=True) == Change(matched=30)
    assert await queue.clear(state, batch=7) == Change(matched=30, done=30)
    assert not await client.keys("bull:q:j*")
    assert not await client.keys("bull:q:de:*"), "the deduplication ids are free again"
    assert await client.zcard("bull:q:failed") == 2


async def test_wait_is_another_name_for_waiting_and_active_is_refused(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", lifo=True)
    assert (await queue.clear("wait")).done == 1
    with pytest.raises(JobStateError, match="belong to their workers"):
        await queue.clear("active")
    with pytest.raises(JobStateError, match="'nowhere' is no state of a job: use one of waiting"):
        await queue.clear("nowhere")


async def test_clear_leaves_a_job_that_was_retried_a_moment_ago(
    queue: Queue, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BullMQ's own script would take it out of the state that it is in by now."""
    await add_failed(queue, client, 4)
    original = queue._run_scripts

    async def retried(*arguments: Any) -> Any:
        monkeypatch.undo()
        await queue.retry_job("f1")
        await client.set("bull:q:f2:lock", "token")
        return await original(*arguments)

    monkeypatch.setattr(queue, "_run_scripts", retried)
    assert await queue.clear("failed") == Change(matched=4, done=2, moved=2)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["f1"]
    assert await client.zrange("bull:q:failed", 0, -1) == ["f2"], "a lock protects its job"


async def test_schedulers_go_on(queue: Queue, client: Redis) -> None:
    await queue.schedule("nightly", cron="0 3 * * *", tz="UTC")
    await queue.enqueue("n", delay=1000, job_id="d")
    before = await client.zrange("bull:q:delayed", 0, -1)
    assert await queue.drain(delayed=True) == Change(matched=1, done=1)
    assert await client.zrange("bull:q:delayed", 0, -1) == [one for one in before if one != "d"]
    assert await queue.promote() == Change(matched=0)
    assert await queue.promote(include_scheduled=True) == Change(matched=1, done=1)
    assert await queue.clear("waiting") == Change(matched=0), "it is still the scheduler's next run"
    assert await client.llen("bull:q:wait") + await client.zcard("bull:q:prioritized") == 1


async def test_promote_keeps_priorities_and_begins_with_what_was_due_first(queue: Queue, client: Redis) -> None:
    for name, delay, priority in (("late", 9000, 5), ("soon", 1000, 5), ("urgent", 8000, 1)):
        await queue.enqueue("n", job_id=name, delay=delay, priority=priority)
    assert await queue.promote() == Change(matched=3, done=3)
    assert await client.zrange("bull:q:prioritized", 0, -1) == ["urgent", "soon", "late"]
    assert await client.hget("bull:q:late", "delay") == "0"


async def test_drain_takes_what_waits_and_leaves_the_rest(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n", lifo=True)
    await queue.enqueue("n", priority=2)
    await queue.enqueue("n", delay=60_000, job_id="later")
    await client.lpush("bull:q:paused", "legacy")
    await client.hset("bull:q:legacy", mapping={"name": "n", "timestamp": 1})
    await add_failed(queue, client, 1)
    assert await queue.drain(dry_run=True) == Change(matched=3)
    assert await queue.drain() == Change(matched=3, done=3)
    assert await client.zrange("bull:q:delayed", 0, -1) == ["later"]
    assert await client.zcard("bull:q:failed") == 1
    assert await queue.drain(delayed=True) == Change(matched=1, done=1)


async def test_drain_reports_over_all_states(queue: Queue) -> None:
    for i in range(6):
        await queue.enqueue("n", lifo=i < 3, **({} if i < 3 else {"priority": 1}))
    seen = []
    change = await queue.drain(batch=2, progress=lambda change: seen.append((change.done, change.matched)))
    assert seen == [(2, 6), (3, 6), (5, 6), (6, 6)]
    assert change == Change(matched=6, done=6)


async def test_a_failure_in_the_middle_says_how_far_it_came(redis_settings: ConnectionSettings, client: Redis) -> None:
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        through = ConnectionSettings(host=proxy.host, port=proxy.port)
        async with Queue("q", through) as queue:
            await add_failed(queue, client, 30)

            def cut(change: Change) -> None:
                if change.done == 20:
                    proxy.mode = Mode.RESET

            with pytest.raises(PartlyDoneError, match="20 of 30 jobs were done before") as caught:
                await queue.retry(batch=10, progress=cut)
    assert caught.value.change == Change(matched=30, done=20)
    assert await client.zcard("bull:q:failed") == 10


async def test_many_pages_are_all_found(queue: Queue, client: Redis) -> None:
    ids = [f"x{i}" for i in range(3500)]
    async with client.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.hset(f"bull:q:{one}", mapping={"name": "n", "timestamp": 1, "opts": json.dumps({})})
            pipe.lpush("bull:q:wait", one)
        await pipe.execute()
    await client.hset("bull:q:meta", "opts.maxLenEvents", 10000)
    assert await queue.clear("waiting", dry_run=True) == Change(matched=3500)
    assert await queue.clear("waiting") == Change(matched=3500, done=3500)
    assert not await client.keys("bull:q:x*")


async def test_drain_takes_jobs_around_the_next_run_of_a_scheduler(queue: Queue, client: Redis) -> None:
    await _wait_around_a_scheduler(queue, client)
    assert await queue.drain() == Change(matched=2, done=2)
    assert await client.lrange("bull:q:wait", 0, -1) == ["repeat:s:1"]
    assert await client.exists("bull:q:repeat:s:1")


async def test_the_stock_drain_keeps_a_job_without_data_and_loses_the_scheduler(queue: Queue, client: Redis) -> None:
    """The reason why ours goes job by job."""
    await _wait_around_a_scheduler(queue, client)
    await BullQueue("q", {"connection": client}).drain()
    left = await client.lrange("bull:q:wait", 0, -1)
    assert left == ["after"]
    assert not await client.exists("bull:q:after")


async def _wait_around_a_scheduler(queue: Queue, client: Redis) -> None:
    """The next run of a scheduler has come due and waits between two other jobs."""
    await queue.enqueue("n", job_id="before", lifo=True)
    await client.hset("bull:q:repeat:s:1", mapping={"name": "n", "timestamp": 1, "rjk": "s", "opts": "{}"})
    await client.zadd("bull:q:repeat", {"s": 1})
    await client.rpush("bull:q:wait", "repeat:s:1")
    await queue.enqueue("n", job_id="after", lifo=True)


async def test_a_word_that_is_misspelt_changes_nothing(queue: Queue, client: Redis) -> None:
    await add_failed(queue, client, 2)
    before = sorted(await client.keys("*"))
    for change in (queue.retry, queue.promote, queue.drain, queue.obliterate):
        with pytest.raises(TypeError, match="dryrun"):
            await change(dryrun=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="dryrun"):
        await queue.clear("failed", dryrun=True)  # type: ignore[call-arg]
    assert sorted(await client.keys("*")) == before
    assert not await queue.is_paused()


async def test_what_cannot_be_meant_is_refused(queue: Queue, client: Redis) -> None:
    await queue.enqueue("n")
    with pytest.raises(JobStateError, match="waiting jobs cannot be retried"):
        await queue.retry(state="waiting")  # type: ignore[arg-type]
    with pytest.raises(JobStateError, match="name the states"):
        await queue.clear()
