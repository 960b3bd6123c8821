"""With BullMQ for Node on the other side: what either side says of a queue as a whole, and who rescues whose jobs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from nodeside import NodeSide, node_side
from redis.asyncio import Redis
from stalls import Stalls
from worker_support import SHORT_LOCK, Recorder, eventually, worker_process, working

from queueworker import Job as NewJob
from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.options import Limiter
from queueworker_worker.job import Job


@pytest.mark.parametrize("paused_by", ["node", "us"])
async def test_a_pause_by_either_side_stops_the_workers_of_both(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue, paused_by: str
) -> None:
    async def pause() -> None:
        await (node.queue("q", "pause") if paused_by == "node" else queue.pause())

    async def resume() -> None:
        # By the other side than paused it.
        await (queue.resume() if paused_by == "node" else node.queue("q", "resume"))

    recorder = Recorder()
    await node.listen("q")
    async with working(recorder, redis_settings) as worker:
        await node.worker("q", "echo")
        await eventually(lambda: worker.ready)
        await pause()
        assert await queue.is_paused()
        assert await node.queue("q", "isPaused")
        await eventually(lambda: node.events("q", "paused"))
        for n in range(4):
            await queue.enqueue("any", {"n": n}, priority=n + 1)
            await node.add("q", "any", {"n": n})
        await queue.enqueue("any", {"n": 9}, delay=50)
        await asyncio.sleep(0.5)
        assert (recorder.ran, node.ran("q")) == ([], [])
        await resume()
        assert not await queue.is_paused()
        assert not await node.queue("q", "isPaused")
        await eventually(lambda: len(node.events("q", "completed")) == 9)
        await eventually(lambda: node.events("q", "resumed"))


@pytest.mark.parametrize("set_by", ["node", "us"])
async def test_global_concurrency_holds_over_the_workers_of_both(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue, set_by: str
) -> None:
    if set_by == "node":
        await node.queue("q", "setGlobalConcurrency", 2)
        assert await queue.global_concurrency() == 2
    else:
        await queue.set_global_concurrency(2)
        assert await node.queue("q", "getGlobalConcurrency") == 2
    ours = 0
    node_takes_too = asyncio.Event()

    async def work(job: Job) -> None:
        nonlocal ours
        ours += 1
        await node_takes_too.wait()
        await asyncio.sleep(job.data["ms"] / 1000)

    await node.listen("q")
    async with working(work, redis_settings, concurrency=1):
        await queue.enqueue("any", {"ms": 0})
        # It keeps its place, for with each end it takes the next job; Node's five slots have the other place.
        await eventually(lambda: ours)
        await node.worker("q", "slow", concurrency=5)
        await queue.enqueue("any", {"ms": 0})
        await eventually(lambda: node.ran("q"))
        await queue.enqueue_many(NewJob.create("any", {"ms": 150}) for _ in range(10))
        node_takes_too.set()
        await eventually(lambda: len(node.events("q", "completed")) == 12)
    assert ours > 1, "our worker took none"
    assert ours < 12, "the Node worker took none"
    # By the order of the queue's own events never more than two are under way.
    under_way, most = 0, 0
    for note in node.notes("event", queue="q"):
        under_way += {"active": 1, "completed": -1}.get(note["event"], 0)
        most = max(most, under_way)
    assert most == 2


@pytest.mark.timing
@pytest.mark.parametrize("set_by", ["node", "us"])
async def test_global_rate_limit_holds_over_the_workers_of_both(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue, set_by: str, stalls: Stalls
) -> None:
    if set_by == "node":
        await node.queue("q", "setGlobalRateLimit", 5, 400)
        limit = await queue.global_rate_limit()
        assert limit is not None
        assert (limit.max, limit.duration_ms) == (5, 400)
    else:
        await queue.set_global_rate_limit(5, 400)
        assert await node.queue("q", "getGlobalRateLimit") == {"max": 5, "duration": 400}
    recorder = Recorder(0.01)
    await queue.enqueue_many(NewJob.create("any", {"ms": 10}) for _ in range(20))
    began = time.monotonic()
    async with working(recorder, redis_settings, concurrency=2):
        await node.worker("q", "slow", concurrency=2)
        await eventually(lambda: len(recorder.ran) + len(node.notes("completed")) == 20)
    took = time.monotonic() - began
    assert 1.15 <= took < 3.0 + stalls.since(began), "20 jobs at 5 each 400 ms begin within 1.2 s at the soonest"


@pytest.mark.timing
async def test_limiters_of_both_workers_share_one_window(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue, stalls: Stalls
) -> None:
    recorder = Recorder()
    await queue.enqueue_many(NewJob.create("any", {"ms": 0}) for _ in range(12))
    began = time.monotonic()
    async with working(recorder, redis_settings, limiter=Limiter(max=3, duration_ms=300)):
        await node.worker("q", "slow", limiter={"max": 3, "duration": 300})
        await eventually(lambda: len(recorder.ran) + len(node.notes("completed")) == 12)
    assert 0.85 <= time.monotonic() - began < 3.0 + stalls.since(began)


@pytest.mark.timing
async def test_a_queue_that_node_holds_back_is_held_back_for_our_worker(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue, stalls: Stalls
) -> None:
    await queue.set_global_rate_limit(100, 1_000)
    began = time.monotonic()
    await node.queue("q", "rateLimit", 600)
    await queue.enqueue("any")
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: recorder.ran)
    assert 0.59 <= time.monotonic() - began < 2.0 + stalls.since(began)


@pytest.mark.timing
async def test_a_queue_that_we_hold_back_is_held_back_for_the_node_worker(
    node: NodeSide, queue: Queue, stalls: Stalls
) -> None:
    await queue.set_global_rate_limit(100, 1_000)
    began = time.monotonic()
    await queue.rate_limit(600)
    await queue.enqueue("any")
    await node.worker("q")
    await eventually(lambda: node.ran("q"))
    assert 0.59 <= time.monotonic() - began < 2.0 + stalls.since(began)
    assert await node.queue("q", "getRateLimitTtl") <= 600


async def test_our_worker_rescues_the_job_of_a_killed_node_worker(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue
) -> None:
    await node.listen("q")
    seen: list[Job] = []

    async def note(job: Job) -> str:
        seen.append(job)
        return "rescued"

    with node_side(redis_settings.port) as lost:
        # Its lock is short and nobody else is to let the job go: it looks for none itself, however long it stood still.
        await lost.worker("q", "hang", lockDuration=800, skipStalledCheck=True, name="lost")
        added = await queue.enqueue("any", {"n": 1}, attempts=1)
        await eventually(lambda: lost.ran("q"))
        lost.kill()
    async with working(note, redis_settings):
        assert await node.wait_until_finished("q", added.id) == "rescued"
    assert (seen[0].stalled_count, seen[0].attempts_made) == (1, 0)
    assert [event["jobId"] for event in node.events("q", "stalled")] == [added.id]


async def test_the_node_worker_rescues_the_job_of_a_killed_worker_of_ours(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, tmp_path: Path
) -> None:
    await node.listen("ledger")
    added = await node.add("ledger", "any", {"milliseconds": 60_000})
    # However long it stood still, it does not rescue its own job.
    variables = SHORT_LOCK | {"QUEUEWORKER_SKIP_STALLED_CHECK": "true"}
    with worker_process(redis_settings, tmp_path / "worker.log", "ledger", **variables) as process:
        await process.said("is ready")
        await eventually(lambda: client.llen("bull:ledger:active"))
        process.process.kill()
        process.process.wait(10)
        handle = await node.worker("ledger", "slow", stalledInterval=300)
        assert await node.wait_until_finished("ledger", added) == "slow"
    assert node.notes("stalled", worker=handle)
    assert [job["stalledCounter"] for job in node.ran("ledger")] == [1]


async def test_jobs_of_our_worker_are_not_taken_by_node_while_it_lives(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue
) -> None:
    """A job that outlives its lock: the lock is renewed, so Node's stalled check leaves it alone."""
    ran: list[Job] = []
    over = asyncio.Event()

    async def work(job: Job) -> None:
        ran.append(job)
        await over.wait()

    # Renewed so often that a machine that stands still for seconds does not end it.
    async with working(work, redis_settings, lock_duration_ms=4_000, lock_renew_time_ms=400):
        await queue.enqueue("any", {"n": 1})
        await eventually(lambda: ran)
        await node.worker("q", "echo", stalledInterval=200)
        await asyncio.sleep(5)
        over.set()
    assert node.ran("q") == []
    assert node.notes("stalled") == []
    assert len(ran) == 1


async def test_what_our_worker_gives_back_the_node_worker_takes_at_once(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue
) -> None:
    """Not only when the lock has ended, nor when Node looks by itself: both take minutes here."""
    recorder = Recorder(60)
    async with working(recorder, redis_settings, lock_duration_ms=300_000) as worker:
        added = await queue.enqueue("any", {"n": 1}, priority=3)
        await eventually(lambda: recorder.ran)
        await node.worker("q", "echo", drainDelay=120, stalledInterval=300_000)
        await worker.give_back(grace=0.1)
        await eventually(lambda: node.notes("completed", queue="q"))
    (job,) = node.ran("q")
    assert (job["id"], job["priority"], job["attemptsMade"], job["stalledCounter"]) == (added.id, 3, 0, 0)


async def test_counts_and_states_are_the_same_on_both_sides(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue
) -> None:
    async def half(job: Job) -> None:
        if job.name == "fails":
            raise ValueError("no")

    async with working(half, redis_settings):
        for name in ("works", "works", "fails"):
            await queue.enqueue(name, attempts=1)
        await eventually(lambda: _counts(node, completed=2, failed=1))
    for n, priority in enumerate((1, 1, 7)):
        await queue.enqueue("any", n, priority=priority)
    await node.add("q", "any", {})
    await node.add("q", "any", {}, delay=60_000)
    theirs = await node.queue("q", "getJobCounts")
    ours = await queue.counts()
    assert {state: ours[state] for state in theirs if state in ours} == {s: n for s, n in theirs.items() if s in ours}
    assert {"waiting", "prioritized", "delayed", "active", "completed", "failed"} <= theirs.keys() & ours.keys()
    per_priority = await node.queue("q", "getCountsPerPriority", [0, 1, 7])
    assert {int(one): n for one, n in per_priority.items()} == await queue.counts_per_priority(0, 1, 7)
    for state in ("waiting", "prioritized", "delayed", "completed", "failed"):
        theirs_of_state = [job["id"] for job in await node.queue("q", "getJobs", [state], 0, -1, True)]
        assert sorted(theirs_of_state) == sorted(job.id for job in await queue.jobs(state)), state


async def test_either_side_administers_the_jobs_of_the_other(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue
) -> None:
    theirs = [await node.add("q", "any", n, delay=60_000) for n in range(3)]
    await queue.promote_job(theirs[0])
    await queue.change_priority(theirs[1], 4)
    await queue.remove(theirs[2])
    assert await node.job("q", theirs[0], "getState") == "waiting"
    assert (await node.job("q", theirs[1]))["priority"] == 4
    assert await node.queue("q", "getJob", theirs[2]) is None

    ours = [(await queue.enqueue("any", n, delay=60_000)).id for n in range(3)]
    await node.job("q", ours[0], "promote")
    await node.job("q", ours[1], "changePriority", {"priority": 9})
    await node.job("q", ours[2], "remove")
    first, second, third = [await queue.job(one) for one in ours]
    assert first is not None
    assert second is not None
    assert (first.state, second.priority, third) == ("prioritized", 9, None)

    drained = await queue.drain(delayed=True)
    assert drained.done == drained.matched == 4
    assert sum((await node.queue("q", "getJobCounts")).values()) == 0


async def test_failed_jobs_of_the_node_worker_are_retried_by_us_and_run_by_either(
    node: NodeSide, redis_settings: ConnectionSettings, queue: Queue
) -> None:
    handle = await node.worker("q", "unrecoverable")
    for n in range(3):
        await queue.enqueue("any", {"n": n}, priority=n + 1)
    await eventually(lambda: len(node.notes("failed", queue="q")) == 3)
    await node.worker_call(handle, "close")
    retried = await queue.retry()
    assert (retried.matched, retried.done) == (3, 3)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 3)
    assert recorder.ran == [{"n": 0}, {"n": 1}, {"n": 2}], "priorities are kept"


async def test_node_obliterates_and_nothing_of_ours_stays_but_the_workers(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, queue: Queue
) -> None:
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await queue.enqueue_many(NewJob.create("any", n) for n in range(5))
        await eventually(lambda: _counts(node, completed=5))
    await queue.enqueue("any", delay=60_000)
    await node.queue("q", "obliterate", {"force": True})
    left = {key for key in await client.keys("bull:q:*") if not key.startswith("bull:q:qw:")}
    assert left <= {"bull:q:events", "bull:q:meta", "bull:q:id", "bull:q:marker", "bull:q:stalled-check"}


async def _counts(node: NodeSide, **expected: int) -> bool:
    counts: dict[str, Any] = await node.queue("q", "getJobCounts", *expected)
    return counts == expected
