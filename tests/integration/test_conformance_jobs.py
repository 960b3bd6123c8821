"""What BullMQ documents of jobs, from adding to removing, as our client and worker do it.

Plain order and priorities: `test_worker_engine`; deduplication and LIFO: `test_interop_deduplication` and
`test_interop_orders`; what administration does to the keys: `test_client_admin`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from worker_support import Recorder, eventually, working

from queueworker import Job as NewJob
from queueworker import JobStateError, Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job


class Held:
    """Remembers the data of the jobs that it ran, and holds them until told."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.go_on = asyncio.Event()

    async def __call__(self, job: Job) -> None:
        self.ran.append(job.data)
        await self.go_on.wait()


async def ended(queue: Queue, **counts: int) -> bool:
    return await queue.counts(*counts) == counts


async def test_lifo_jobs_come_before_those_that_wait(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    await queue.enqueue("any", "prioritized", priority=1)
    for n in range(3):
        await queue.enqueue("any", n, lifo=True)
    async with working(recorder, redis_settings):
        await eventually(lambda: ended(queue, completed=4))
    assert recorder.ran == [2, 1, 0, "prioritized"]


async def test_a_changed_priority_changes_the_order(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    ids = [(await queue.enqueue("any", n, priority=5)).id for n in range(4)]
    await queue.change_priority(ids[3], 1)
    await queue.change_priority(ids[0], 9)
    async with working(recorder, redis_settings):
        await eventually(lambda: ended(queue, completed=4))
    assert recorder.ran == [3, 1, 2, 0]


async def test_a_delayed_job_takes_its_priority_when_it_is_due(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    recorder = Recorder()
    await queue.enqueue("any", "due first, not urgent", priority=9, delay=50)
    await queue.enqueue("any", "due then, urgent", priority=1, delay=60)
    await asyncio.sleep(0.2)
    async with working(recorder, redis_settings):
        await eventually(lambda: ended(queue, completed=2))
    assert recorder.ran == ["due then, urgent", "due first, not urgent"]


async def test_a_changed_delay_holds_on_a_worker_that_already_sleeps(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ran: list[float] = []

    async def note(_: Job) -> None:
        ran.append(time.monotonic())

    async with working(note, redis_settings, drain_delay_seconds=60.0) as worker:
        sooner = (await queue.enqueue("any", delay=60_000)).id
        await eventually(lambda: worker.ready)
        await asyncio.sleep(0.2)
        began = time.monotonic()
        await queue.change_delay(sooner, 200)
        await eventually(lambda: ran)
    assert ran[0] - began >= 0.19


async def test_a_promoted_job_runs_now(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    async with working(recorder, redis_settings, drain_delay_seconds=60.0) as worker:
        added = await queue.enqueue("any", "promoted", delay=60_000)
        await eventually(lambda: worker.ready)
        await queue.promote_job(added.id)
        await eventually(lambda: recorder.ran)


async def test_delayed_jobs_run_though_newer_ones_keep_the_worker_busy(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    names: list[str] = []

    async def note(job: Job) -> None:
        names.append(job.name)
        await asyncio.sleep(0.01)

    await queue.enqueue_many(NewJob.create("plain", priority=5) for _ in range(100))
    await queue.enqueue("delayed", priority=1, delay=200)
    async with working(note, redis_settings):
        await eventually(lambda: ended(queue, completed=101))
    assert names.index("delayed") < 100


async def test_a_removed_job_never_runs(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    ids = [(await queue.enqueue("any", n)).id for n in range(3)]
    await queue.remove(ids[1])
    async with working(recorder, redis_settings):
        await eventually(lambda: ended(queue, completed=2))
    assert recorder.ran == [0, 2]


async def test_an_active_job_cannot_be_removed(redis_settings: ConnectionSettings, queue: Queue) -> None:
    held = Held()
    async with working(held, redis_settings):
        added = await queue.enqueue("any", 1)
        await eventually(lambda: held.ran)
        with pytest.raises(JobStateError):
            await queue.remove(added.id)
        held.go_on.set()
        await eventually(lambda: ended(queue, completed=1))
    await queue.remove(added.id)
    assert await queue.job(added.id) is None


async def test_an_id_may_be_used_again_once_its_job_is_removed(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    recorder = Recorder()
    async with working(recorder, redis_settings):
        for n in range(2):
            assert (await queue.enqueue("any", n, job_id="one", remove_on_complete=True)).added
            await eventually(lambda: ended(queue, active=0, prioritized=0, completed=0))
        assert (await queue.enqueue("any", 2, job_id="kept")).added
        await eventually(lambda: ended(queue, completed=1))
        assert not (await queue.enqueue("any", 3, job_id="kept")).added, "a job that is kept holds its id"
    assert recorder.ran == [0, 1, 2]


async def test_a_drain_leaves_running_jobs_and_what_comes_after(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    held = Held()
    await queue.enqueue_many(NewJob.create("any", n) for n in range(10))
    async with working(held, redis_settings):
        await eventually(lambda: held.ran)
        await queue.drain()
        await queue.enqueue("any", "after")
        held.go_on.set()
        await eventually(lambda: ended(queue, completed=2))
    assert held.ran == [0, "after"]


async def test_an_obliterated_queue_begins_anew(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    await queue.enqueue_many(NewJob.create("any", n) for n in range(5))
    await queue.pause()
    await queue.obliterate()
    assert not await queue.is_paused()
    await queue.enqueue("any", "anew")
    async with working(recorder, redis_settings):
        await eventually(lambda: ended(queue, completed=1))
    assert recorder.ran == ["anew"]


async def test_a_completed_job_may_be_run_again(redis_settings: ConnectionSettings, queue: Queue) -> None:
    results: list[Any] = []

    async def work(job: Job) -> int:
        results.append(job.data)
        return len(results)

    async with working(work, redis_settings):
        added = await queue.enqueue("any", {"n": 1})
        await eventually(lambda: ended(queue, completed=1))
        await queue.retry_job(added.id)
        await eventually(lambda: len(results) == 2)
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert (job.return_value, results) == (2, [{"n": 1}, {"n": 1}])


async def test_data_of_the_producer_are_not_shared_between_jobs(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    seen: list[Any] = []

    async def work(job: Job) -> None:
        job.data["seen"] = True
        seen.append(dict(job.data))

    data = {"n": 1}
    async with working(work, redis_settings):
        for _ in range(2):
            await queue.enqueue("any", data)
        await eventually(lambda: ended(queue, completed=2))
    assert data == {"n": 1}
    assert [job.data for job in await queue.jobs("completed")] == [{"n": 1}] * 2, "only update_data stores data"
