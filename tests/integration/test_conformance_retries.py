"""What BullMQ documents of retries and of step jobs, as our worker does it.

Attempts, fixed and exponential backoff and stack traces: `test_worker_failures`, `test_worker_outcome` and
`test_interop_jobs`.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
from stalls import Stalls
from worker_support import eventually, working

from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.options import Limiter
from queueworker_worker.errors import DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError
from queueworker_worker.job import Job

LIMITER = Limiter(max=100, duration_ms=1_000)


class Failing:
    """Fails until an attempt, and remembers when each began and what it saw."""

    def __init__(self, *, until: int = 99) -> None:
        self.until = until
        self.began: list[float] = []
        self.seen: list[tuple[Any, int]] = []

    async def __call__(self, job: Job) -> str:
        self.began.append(time.monotonic())
        self.seen.append((job.data, job.attempts_made))
        if job.attempts_made + 1 < self.until:
            raise ValueError(f"try {job.attempts_made + 1}")
        return "at last"

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.began)]


async def ended(queue: Queue, **counts: int) -> bool:
    return await queue.counts(*counts) == counts


@pytest.mark.timing
async def test_without_a_backoff_a_job_is_retried_at_once(
    redis_settings: ConnectionSettings, queue: Queue, stalls: Stalls
) -> None:
    failing = Failing()
    async with working(failing, redis_settings):
        await queue.enqueue("any", attempts=4, backoff=0)
        await eventually(lambda: ended(queue, failed=1))
    assert len(failing.began) == 4
    tries = itertools.pairwise(failing.began)
    assert all(after - before < 0.8 + stalls.between(before, after) for before, after in tries), failing.gaps


async def test_one_attempt_is_no_retry(redis_settings: ConnectionSettings, queue: Queue) -> None:
    failing = Failing()
    async with working(failing, redis_settings):
        added = await queue.enqueue("any", attempts=1)
        await eventually(lambda: ended(queue, failed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert (len(failing.began), job.failed_reason, job.attempts_made) == (1, "try 1", 1)


async def test_retried_jobs_respect_their_priority(redis_settings: ConnectionSettings, queue: Queue) -> None:
    """A job that comes back goes before those that are less urgent, though they have waited for longer."""
    ran: list[str] = []

    async def note(job: Job) -> None:
        ran.append(job.name)
        if job.name == "urgent" and job.attempts_made == 0:
            raise ValueError("once more")

    await queue.enqueue("urgent", priority=1, attempts=2, backoff=0)
    for _ in range(3):
        await queue.enqueue("later", priority=5)
    async with working(note, redis_settings):
        await eventually(lambda: ended(queue, completed=4))
    assert ran == ["urgent", "urgent", "later", "later", "later"]


@pytest.mark.timing
@pytest.mark.parametrize("kind", ["fixed", "exponential"])
async def test_jitter_shortens_a_backoff_by_its_part_at_most(
    redis_settings: ConnectionSettings, queue: Queue, kind: str, stalls: Stalls
) -> None:
    failing = Failing(until=3)
    async with working(failing, redis_settings):
        await queue.enqueue("any", attempts=3, backoff={"type": kind, "delay": 300, "jitter": 0.5})
        await eventually(lambda: ended(queue, completed=1))
    longest = [0.3, 0.3 if kind == "fixed" else 0.6]
    stalled = [stalls.between(before, after) for before, after in itertools.pairwise(failing.began)]
    measured = zip(failing.gaps, longest, stalled, strict=True)
    assert all(most / 2 - 0.02 <= gap < most + 0.4 + held_up for gap, most, held_up in measured), failing.gaps


async def test_custom_backoff_strategies_are_found_by_their_type_and_get_attempt_error_and_job(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    asked: list[tuple[int, str, str]] = []

    def linear(attempts_made: int, error: BaseException, job: Job) -> int:
        asked.append((attempts_made, str(error), job.name))
        return attempts_made * 100

    failing = Failing(until=3)
    async with working(failing, redis_settings, backoff_strategies={"linear": linear}):
        await queue.enqueue("any", attempts=3, backoff={"type": "linear"})
        await eventually(lambda: ended(queue, completed=1))
    assert asked == [(1, "try 1", "any"), (2, "try 2", "any")]
    assert failing.gaps[0] >= 0.09
    assert failing.gaps[1] >= 0.19


async def test_a_custom_backoff_below_zero_ends_the_retries(redis_settings: ConnectionSettings, queue: Queue) -> None:
    failing = Failing()
    async with working(failing, redis_settings, backoff_strategies={"never": lambda made, error, job: -1}):
        await queue.enqueue("any", attempts=5, backoff={"type": "never"})
        await eventually(lambda: ended(queue, failed=1))
    assert len(failing.began) == 1


async def test_unrecoverable_errors_may_be_subclassed(redis_settings: ConnectionSettings, queue: Queue) -> None:
    class NoSuchCharacterError(UnrecoverableError):
        pass

    calls = 0

    async def fail(_: Job) -> None:
        nonlocal calls
        calls += 1
        raise NoSuchCharacterError("no such character")

    async with working(fail, redis_settings):
        await queue.enqueue("any", attempts=5, backoff=0)
        await eventually(lambda: ended(queue, failed=1))
    assert calls == 1


async def test_discard_makes_this_attempt_the_last_one(redis_settings: ConnectionSettings, queue: Queue) -> None:
    calls = 0

    async def fail(job: Job) -> None:
        nonlocal calls
        calls += 1
        job.discard()
        raise ValueError("no use")

    async with working(fail, redis_settings):
        added = await queue.enqueue("any", attempts=5, backoff=0)
        await eventually(lambda: ended(queue, failed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert (calls, job.failed_reason) == (1, "no use")


async def test_discard_does_not_harm_a_job_that_completes(redis_settings: ConnectionSettings, queue: Queue) -> None:
    async def work(job: Job) -> str:
        job.discard()
        return "done"

    async with working(work, redis_settings):
        added = await queue.enqueue("any", attempts=5)
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert job.return_value == "done"


async def test_only_the_last_stack_traces_are_kept(redis_settings: ConnectionSettings, queue: Queue) -> None:
    async with working(Failing(), redis_settings):
        added = await queue.enqueue("any", attempts=4, backoff=0, stack_trace_limit=2)
        await eventually(lambda: ended(queue, failed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert len(job.stacktrace) == 2


async def test_a_step_job_goes_on_where_it_stood(redis_settings: ConnectionSettings, queue: Queue) -> None:
    """The step is saved in the job's data, so that a retry does not begin anew."""
    steps: list[str] = []

    async def work(job: Job) -> str:
        step = job.data.get("step", "first")
        while True:
            steps.append(step)
            if step == "first":
                await job.update_data({"step": "second"})
                step = "second"
                raise ValueError("after the first step")
            return step

    async with working(work, redis_settings):
        added = await queue.enqueue("any", {}, attempts=3, backoff=0)
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert (steps, job.return_value, job.data) == (["first", "second"], "second", {"step": "second"})


@pytest.mark.timing
@pytest.mark.parametrize("absolute", [False, True])
async def test_delayed_error_postpones_a_job_and_uses_no_attempt(
    redis_settings: ConnectionSettings, queue: Queue, absolute: bool, stalls: Stalls
) -> None:
    began: list[float] = []

    async def work(job: Job) -> str:
        began.append(time.monotonic())
        assert job.attempts_made == 0
        if len(began) < 3:
            if absolute:
                raise DelayedError(until_ms=round(time.time() * 1000) + 600)
            raise DelayedError(delay_ms=600)
        return "later"

    async with working(work, redis_settings) as worker:
        failed: list[Any] = []
        worker.on("failed", lambda job, error: failed.append(error))
        added = await queue.enqueue("any", attempts=1, priority=3)
        await eventually(lambda: ended(queue, completed=1))
    gaps = [after - before for before, after in itertools.pairwise(began)]
    stalled = [stalls.between(before, after) for before, after in itertools.pairwise(began)]
    assert all(0.58 <= gap < 1.8 + held_up for gap, held_up in zip(gaps, stalled, strict=True)), gaps
    job = await queue.job(added.id)
    assert job is not None
    assert (job.return_value, job.attempts_made, job.priority, failed) == ("later", 1, 3, [])
    assert job.failed_reason is None
    assert job.stacktrace == ()


async def test_a_postponed_job_is_delayed_and_holds_no_lock_and_no_slot(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    ran: list[str] = []

    async def work(job: Job) -> None:
        ran.append(job.name)
        if job.name == "postponed":
            raise DelayedError(delay_ms=60_000)

    async with working(work, redis_settings):
        added = await queue.enqueue("postponed")
        await eventually(lambda: ended(queue, delayed=1, active=0))
        await queue.enqueue("next")
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert (ran, job.state, job.lock_owner) == (["postponed", "next"], "delayed", None)
    assert job.due_on is not None
    assert 50_000 < job.due_on - time.time() * 1000 <= 60_000


async def test_waiting_children_error_puts_a_step_job_off_until_the_children_it_added_have_ended(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    states: list[str | None] = []

    async def work(job: Job) -> Any:
        if job.name == "child":
            record = await queue.job(job.data["parent"])
            states.append(record.state if record else None)
            return job.data["n"]
        if "step" not in job.data:
            for n in range(3):
                await queue.enqueue("child", {"n": n, "parent": job.id}, parent=job.parent)
            await job.update_data({"step": 1})
            raise WaitingChildrenError
        return sorted((await job.children_values()).values())

    async with working(work, redis_settings, concurrency=1):
        added = await queue.enqueue("parent", {}, attempts=1)
        await eventually(lambda: ended(queue, completed=4))
    parent = await queue.job(added.id)
    assert parent is not None
    assert (parent.return_value, parent.attempts_made) == ([0, 1, 2], 1)
    assert states == ["waiting-children"] * 3


async def test_waiting_children_error_without_children_runs_the_job_again_at_once(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    runs = 0

    async def work(_: Job) -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise WaitingChildrenError
        return runs

    async with working(work, redis_settings, drain_delay_seconds=60.0):
        await queue.enqueue("any", attempts=1)
        await eventually(lambda: ended(queue, completed=1))
    assert runs == 2


@pytest.mark.timing
@pytest.mark.parametrize("limiter", [LIMITER, None], ids=["with a limiter", "without"])
async def test_rate_limit_error_puts_a_job_back_and_holds_the_queue(
    redis_settings: ConnectionSettings, queue: Queue, limiter: Limiter | None, stalls: Stalls
) -> None:
    """The manual rate limit: what an API answers with 429 is nobody's failure. Other workers need a limiter for it."""
    began: list[tuple[str, float]] = []

    async def work(job: Job) -> None:
        began.append((job.name, time.monotonic()))
        assert job.attempts_made == 0
        if len(began) == 1:
            raise RateLimitError(500)

    async with working(work, redis_settings, limiter=limiter):
        first = await queue.enqueue("first", attempts=1)
        await eventually(lambda: began)
        await queue.enqueue("second")
        await eventually(lambda: ended(queue, completed=2))
    assert [name for name, _ in began] == ["first", "first", "second"]
    assert 0.45 <= began[1][1] - began[0][1] < 1.2 + stalls.between(began[0][1], began[1][1])
    job = await queue.job(first.id)
    assert job is not None
    assert (job.attempts_made, job.failed_reason) == (1, None)


async def test_rate_limit_error_holds_the_other_workers_of_the_queue_too(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    limited: list[float] = []
    ran: list[tuple[Any, float]] = []

    async def limits(_: Job) -> None:
        limited.append(time.monotonic())
        raise RateLimitError(1_000)

    async def note(job: Job) -> None:
        ran.append((job.data["n"], time.monotonic()))

    async with working(limits, redis_settings, name="one", limiter=LIMITER):
        await queue.enqueue("any", {"n": 0})
        await eventually(lambda: limited)
        await eventually(lambda: ended(queue, active=0))
    async with working(note, redis_settings, name="two", limiter=LIMITER):
        await queue.enqueue("any", {"n": 1})
        await eventually(lambda: len(ran) == 2)
    assert ran[0][1] - limited[-1] >= 0.95
    assert [n for n, _ in ran] == [0, 1], "the job that was put back is the first"
