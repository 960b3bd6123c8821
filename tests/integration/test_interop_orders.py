"""With BullMQ for Node on the other side: in which order, and when, jobs start."""

from __future__ import annotations

import asyncio
import time

import pytest
from nodeside import NodeSide
from stalls import Stalls
from worker_support import Recorder, eventually, working

from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job as RunningJob


async def test_node_adds_and_our_worker_runs_first_in_first_out(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    await node.queue("q", "addBulk", [{"name": "any", "data": n} for n in range(20)])
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 20)
    assert recorder.ran == list(range(20))


async def test_we_add_and_the_node_worker_runs_first_in_first_out(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue_many(Job.create("any", {"n": n}) for n in range(20))
    await node.worker("q")
    await eventually(lambda: len(node.notes("completed", queue="q")) == 20)
    assert [job["data"]["n"] for job in node.ran("q")] == list(range(20))


async def test_node_adds_last_in_first_out(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    for n in range(3):
        await node.add("q", "any", n)
    for n in range(3, 6):
        await node.add("q", "any", n, lifo=True)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 6)
    assert recorder.ran == [5, 4, 3, 0, 1, 2]


async def test_we_add_last_in_first_out(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    async with Queue("q", redis_settings) as queue:
        await node.add("q", "any", {"n": 0})
        for n in (1, 2):
            await queue.enqueue("any", {"n": n}, lifo=True)
    await node.worker("q")
    await eventually(lambda: len(node.ran("q")) == 3)
    assert [job["data"]["n"] for job in node.ran("q")] == [2, 1, 0]


PRIORITIES = [10, 1, 5, 10, 2_097_151, 1, 5]
"""In the order added; same priorities keep theirs."""
SORTED = sorted(range(len(PRIORITIES)), key=lambda n: PRIORITIES[n])


async def test_node_adds_priorities(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    for n, priority in enumerate(PRIORITIES):
        await node.add("q", "any", n, priority=priority)
    await node.add("q", "any", -1)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == len(PRIORITIES) + 1)
    assert recorder.ran == [-1, *SORTED], "a job without a priority comes before all that have one"


async def test_we_add_priorities(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue_many(Job.create("any", {"n": n}, priority=p) for n, p in enumerate(PRIORITIES))
    await node.worker("q")
    await eventually(lambda: len(node.ran("q")) == len(PRIORITIES))
    assert [job["data"]["n"] for job in node.ran("q")] == SORTED
    assert [job["priority"] for job in node.ran("q")] == sorted(PRIORITIES)


async def test_priorities_of_both_sides_are_one_order(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    async with Queue("q", redis_settings) as queue:
        for n, priority in enumerate(PRIORITIES):
            if n % 2:
                await queue.enqueue("any", n, priority=priority)
            else:
                await node.add("q", "any", n, priority=priority)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == len(PRIORITIES))
    assert recorder.ran == SORTED


async def test_both_workers_share_one_queue_and_run_each_job_once(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    ours: list[int] = []

    async def work(job: RunningJob) -> None:
        ours.append(job.data["n"])
        # The first one until Node has its first, however long that takes to begin.
        await eventually(lambda: node.ran("q"))
        await asyncio.sleep(0.01)

    async with Queue("q", redis_settings) as queue, working(work, redis_settings):
        await queue.enqueue_many(Job.create("any", {"n": n, "ms": 10}) for n in range(40))
        await eventually(lambda: ours)
        await node.worker("q", "slow")
        await eventually(lambda: len(ours) + len(node.notes("completed", queue="q")) == 40)
        theirs = [job["data"]["n"] for job in node.ran("q")]
    assert sorted(ours + theirs) == list(range(40))
    assert ours, "our worker took none"
    assert theirs, "the Node worker took none"


@pytest.mark.timing
@pytest.mark.parametrize("delay", [100, 250, 1300])
async def test_node_delays_a_job_for_our_worker(
    node: NodeSide, redis_settings: ConnectionSettings, delay: int, stalls: Stalls
) -> None:
    late: list[float] = []

    async def note(job: RunningJob) -> None:
        late.append(time.time() * 1000 - job.timestamp - delay)

    async with working(note, redis_settings) as worker:
        await eventually(lambda: worker.ready)
        began = time.monotonic()
        await node.add("q", "any", {}, delay=delay)
        await eventually(lambda: late)
    assert -5 <= late[0] < 300 + 1000 * stalls.since(began)


@pytest.mark.timing
async def test_we_delay_a_job_for_the_node_worker(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    await node.worker("q")
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("any", delay=250)
        await eventually(lambda: node.ran("q"))
    ran = node.notes("ran", queue="q")[0]
    assert -5 <= ran["at"] - ran["job"]["timestamp"] - 250 < 500
    assert (ran["job"]["opts"]["delay"], ran["job"]["delay"]) == (250, 0)


async def test_delayed_jobs_of_one_due_time_keep_their_order(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    """The place of a delayed job within its millisecond is part of its score, whoever adds it."""
    started = time.time_ns() // 1_000_000
    async with Queue("q", redis_settings, now_ms=lambda: started) as queue:
        for n in range(6):
            if n % 2:
                await queue.enqueue("any", n, delay=400, priority=1)
            else:
                await node.add("q", "any", n, delay=400, timestamp=started, priority=1)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 6)
    assert recorder.ran == list(range(6))
