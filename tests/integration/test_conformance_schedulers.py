"""What BullMQ documents of job schedulers, as our client and worker do it.

What is stored and refused: `test_client_queue`, `test_interop_schedulers`; the times of patterns: `test_client_cron`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

from worker_support import eventually, working

from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job


class Ticks:
    """Remembers the jobs that ran and when, in Unix milliseconds."""

    def __init__(self, *, fails: bool = False) -> None:
        self.jobs: list[Job] = []
        self.at: list[int] = []
        self._fails = fails

    async def __call__(self, job: Job) -> None:
        self.at.append(round(time.time() * 1000))
        self.jobs.append(job)
        if self._fails:
            raise ValueError("no")

    @property
    def due(self) -> list[int]:
        return [int(job.id.rpartition(":")[2]) for job in self.jobs]


async def test_an_interval_begins_at_once_and_goes_on_evenly(redis_settings: ConnectionSettings, queue: Queue) -> None:
    ticks = Ticks()
    async with working(ticks, redis_settings):
        before = int(time.time() * 1000)
        await queue.schedule("s", every=200)
        after = time.time() * 1000
        await eventually(lambda: len(ticks.jobs) >= 5)
        await queue.unschedule("s")
    gaps = [due - due_before for due_before, due in itertools.pairwise(ticks.due)]
    assert all(gap > 0 and gap % 200 == 0 for gap in gaps[1:]), gaps
    assert before <= ticks.due[0] <= after
    assert all(at >= due for at, due in zip(ticks.at, ticks.due, strict=True)), "none before its time"


async def test_a_pattern_with_seconds_fires_on_the_second(redis_settings: ConnectionSettings, queue: Queue) -> None:
    ticks = Ticks()
    async with working(ticks, redis_settings):
        await queue.schedule("s", {"n": 1}, cron="* * * * * *", tz="UTC", name="tick", attempts=2)
        await eventually(lambda: len(ticks.jobs) >= 2)
        await queue.unschedule("s")
    assert all(due % 1000 == 0 for due in ticks.due)
    made = [(job.name, job.data, job.attempts, job.scheduler_id) for job in ticks.jobs]
    assert made == [("tick", {"n": 1}, 2, "s")] * len(made)


async def test_one_job_only_waits_however_often_the_scheduler_is_stored(queue: Queue) -> None:
    for n in range(5):
        await queue.schedule("s", {"n": n}, cron="0 3 * * *", tz="UTC")
    (job,) = await queue.jobs("delayed")
    assert job.data == {"n": 4}, "the template of the last call"
    assert [one.data for one in await queue.schedules()] == [{"n": 4}]


async def test_missed_runs_do_not_pile_up_while_no_worker_runs(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ticks = Ticks()
    await queue.schedule("s", every=100)
    await asyncio.sleep(1.0)
    assert sum((await queue.counts()).values()) == 1
    async with working(ticks, redis_settings):
        await eventually(lambda: len(ticks.jobs) >= 3)
        await queue.unschedule("s")
    taken = ticks.jobs[0].processed_on
    assert taken is not None
    assert ticks.due[1] > taken - 100, "the runs in between are left out"


async def test_the_limit_is_how_many_jobs_are_made(redis_settings: ConnectionSettings, queue: Queue) -> None:
    ticks = Ticks()
    async with working(ticks, redis_settings):
        await queue.schedule("s", every=60, limit=3)
        await eventually(lambda: len(ticks.jobs) == 3)
        await asyncio.sleep(0.3)
    assert len(ticks.jobs) == 3
    assert sum((await queue.counts("waiting", "prioritized", "delayed")).values()) == 0


async def test_the_start_is_when_a_pattern_begins(queue: Queue) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=10)
    made = await queue.schedule("s", cron="30 4 * * *", tz="Europe/Berlin", start=start)
    first = datetime.fromtimestamp(made.next_run_ms / 1000, UTC)
    assert start < first <= start + timedelta(days=1)


async def test_the_end_ends_a_pattern(redis_settings: ConnectionSettings, queue: Queue) -> None:
    ticks = Ticks()
    end = datetime.now(UTC) + timedelta(seconds=4.2)
    async with working(ticks, redis_settings):
        await queue.schedule("s", cron="* * * * * *", tz="UTC", end=end)
        await eventually(lambda: _nothing_waits(queue))
        await asyncio.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()) + 0.3)
    assert 1 <= len(ticks.jobs) <= 5
    assert all(due <= end.timestamp() * 1000 for due in ticks.due)


async def test_immediately_adds_the_first_job_of_a_pattern_at_once(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ticks = Ticks()
    async with working(ticks, redis_settings):
        await queue.schedule("s", cron="0 3 1 1 *", tz="UTC", immediately=True)
        await eventually(lambda: ticks.jobs)
        await eventually(lambda: _has_delayed(queue))
    (scheduler,) = await queue.schedules()
    assert (scheduler.next_run.month, scheduler.next_run.day, scheduler.next_run.hour) == (1, 1, 3)
    assert len(ticks.jobs) == 1


async def test_the_next_job_is_added_when_the_one_before_begins_not_when_it_ends(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ticks, go_on = Ticks(), asyncio.Event()

    async def hold(job: Job) -> None:
        await ticks(job)
        await go_on.wait()

    async with working(hold, redis_settings, concurrency=5):
        await queue.schedule("s", every=150, limit=4)
        await eventually(lambda: len(ticks.jobs) == 4)
        go_on.set()


async def test_a_failing_job_does_not_end_its_schedule(redis_settings: ConnectionSettings, queue: Queue) -> None:
    ticks = Ticks(fails=True)
    async with working(ticks, redis_settings):
        await queue.schedule("s", every=100, limit=3, attempts=1)
        await eventually(lambda: len(ticks.jobs) == 3)
        await eventually(lambda: _nothing_waits(queue))
    assert (await queue.counts("failed"))["failed"] == 3


async def test_retries_of_a_scheduled_job_add_no_further_runs(redis_settings: ConnectionSettings, queue: Queue) -> None:
    ticks = Ticks(fails=True)
    async with working(ticks, redis_settings):
        await queue.schedule("s", cron="0 3 1 1 *", tz="UTC", immediately=True, attempts=3, backoff=0)
        await eventually(lambda: len(ticks.jobs) == 3)
        await eventually(lambda: _has_delayed(queue))
    assert len({job.id for job in ticks.jobs}) == 1
    assert (await queue.counts("delayed", "failed")) == {"delayed": 1, "failed": 1}


async def test_a_removed_scheduler_lets_its_running_job_end_and_makes_no_more(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ticks, go_on = Ticks(), asyncio.Event()

    async def hold(job: Job) -> None:
        await ticks(job)
        await go_on.wait()

    async with working(hold, redis_settings):
        await queue.schedule("s", every=200)
        await eventually(lambda: ticks.jobs)
        assert await queue.unschedule("s")
        go_on.set()
        await asyncio.sleep(0.8)
        await eventually(lambda: _nothing_waits(queue))
    assert len(ticks.jobs) == 1
    assert await queue.schedules() == []
    assert (await queue.counts("completed"))["completed"] == 1


async def test_another_interval_takes_effect_with_the_next_job(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ticks = Ticks()
    await queue.schedule("s", every=3_600_000)
    async with working(ticks, redis_settings):
        await eventually(lambda: ticks.jobs)
        await queue.schedule("s", every=100, limit=10)
        await eventually(lambda: len(ticks.jobs) >= 4)
        await queue.unschedule("s")
    (_, *later) = ticks.due
    assert all((after - before) % 100 == 0 for before, after in itertools.pairwise(later[1:]))


async def test_another_interval_goes_on_soon_after_a_run_that_was_missed(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ticks = Ticks()
    await queue.schedule("s", every=3_600_000)
    async with working(ticks, redis_settings) as worker:
        await eventually(lambda: worker.jobs_done == 1)
        worker.pause()
        await queue.schedule("s", every=100)
        await asyncio.sleep(0.3)
        worker.resume()
        await eventually(lambda: len(ticks.jobs) >= 4)
        await queue.unschedule("s")


async def _nothing_waits(queue: Queue) -> bool:
    return sum((await queue.counts("waiting", "prioritized", "delayed", "active")).values()) == 0


async def _has_delayed(queue: Queue) -> bool:
    return (await queue.counts("delayed", "active")) == {"delayed": 1, "active": 0}
