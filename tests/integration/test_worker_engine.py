"""The engine on a real server: order, retries, locks, limits, and what other BullMQ programs read of it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any

import bullmq
import pytest
import redis.asyncio
from worker_support import Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.fetch import Marker
from queueworker_worker.engine.options import Limiter
from queueworker_worker.engine.outcome import completed
from queueworker_worker.engine.pooled import link_to
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


@pytest.fixture
def queue(client: redis.asyncio.Redis) -> bullmq.Queue:
    return bullmq.Queue("q", {"connection": client})


async def test_takes_plain_jobs_first_then_by_priority_each_in_the_order_added(
    redis_settings: ConnectionSettings, queue: bullmq.Queue
) -> None:
    for data, opts in [
        ("p5", {"priority": 5}),
        ("a", {}),
        ("p1", {"priority": 1}),
        ("b", {}),
        ("p5b", {"priority": 5}),
    ]:
        await queue.add("any", data, opts)
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 5)
    assert recorder.ran == ["a", "b", "p1", "p5", "p5b"]


@pytest.mark.parametrize("milliseconds", [0, 100, 250, 1300])
async def test_idle_worker_starts_new_and_delayed_jobs_without_waiting_for_a_timeout(
    milliseconds: int, redis_settings: ConnectionSettings, queue: bullmq.Queue
) -> None:
    late: list[float] = []

    async def note(job: Job) -> None:
        late.append(time.time() * 1000 - (job.timestamp + milliseconds))

    async with working(note, redis_settings, drain_delay_seconds=5.0) as worker:
        await eventually(lambda: worker.ready)
        await asyncio.sleep(0.05)
        await queue.add("any", {}, {"delay": milliseconds})
        await eventually(lambda: late)
    assert -5 <= late[0] < 300


async def test_marker_that_comes_when_no_slot_listens_is_put_back(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    link, blocking = link_to(redis_settings), link_to(redis_settings)
    marker, stopped = Marker(link, blocking, "marker", longest_block=5), asyncio.Event()
    assert await marker.wait(0.05, stopped) is None
    marker.leave()
    await client.zadd("marker", {"1": 1_700_000_000_000})
    await eventually(lambda: client.zscore("marker", "1"))
    assert await marker.wait(1, stopped) == 1_700_000_000_000
    stopped.set()
    assert await marker.wait(1, stopped) is None
    await marker.aclose()
    assert await client.zrange("marker", 0, -1) == ["0"]
    await link.aclose()


async def test_delayed_job_is_started_by_the_worker_that_did_not_pop_its_marker(
    redis_settings: ConnectionSettings, queue: bullmq.Queue
) -> None:
    """One worker pops the marker of the delayed job and is then busy: the other must still be on time."""
    started: dict[str, float] = {}

    async def note(job: Job) -> None:
        started[job.name] = time.monotonic()
        await asyncio.sleep(job.data)

    async with (
        working(note, redis_settings, name="one", drain_delay_seconds=5.0) as one,
        working(note, redis_settings, name="two", drain_delay_seconds=5.0) as two,
    ):
        await eventually(lambda: one.ready and two.ready)
        begun = time.monotonic()
        await queue.add("delayed", 0, {"delay": 600})
        await queue.add("long", 1.2, {})
        await eventually(lambda: len(started) == 2)
    assert started["delayed"] - begun < 0.95


async def test_failed_job_is_retried_with_backoff_and_keeps_its_traces(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    tries: list[float] = []

    async def fail(job: Job) -> None:
        tries.append(time.monotonic())
        assert job.attempts_made == len(tries) - 1
        raise ValueError(f"try {len(tries)}")

    job = await queue.add("any", {}, {"attempts": 3, "backoff": {"type": "exponential", "delay": 100}})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert len(tries) == 3
    assert 0.09 < gaps[0] < 0.18, gaps
    assert 0.19 < gaps[1] < 0.35, gaps
    stored = await bullmq.Job.fromId(queue, job.id)
    assert stored is not None
    assert (stored.attemptsMade, stored.attemptsStarted, stored.failedReason) == (3, 3, "try 3")
    assert [trace.splitlines()[-1] for trace in stored.stacktrace] == [f"ValueError: try {n}" for n in (1, 2, 3)]
    assert "queueworker_worker" not in "".join(stored.stacktrace)


async def test_unknown_backoff_type_falls_back_and_is_said(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, caplog: pytest.LogCaptureFixture
) -> None:
    ran = 0

    async def fail_once(job: Job) -> None:
        nonlocal ran
        ran += 1
        if ran == 1:
            raise RuntimeError("first")

    await queue.add("any", {}, {"attempts": 2, "backoff": {"type": "fibonacci", "delay": 50}})
    async with working(fail_once, redis_settings):
        await eventually(lambda: ran == 2)
    assert "unknown backoff type 'fibonacci': exponential is used" in caplog.text


async def test_unrecoverable_error_spends_no_more_attempts(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def fail(job: Job) -> None:
        raise UnrecoverableError("never again")

    job = await queue.add("any", {}, {"attempts": 5})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert await client.hget(KEYS.job(job.id), "atm") == "1"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncio.CancelledError(), "CancelledError"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
    ],
)
async def test_nothing_that_a_processor_raises_ends_the_worker(
    error: BaseException,
    reason: str,
    redis_settings: ConnectionSettings,
    queue: bullmq.Queue,
    client: redis.asyncio.Redis,
) -> None:
    ran: list[str] = []

    async def fail(job: Job) -> None:
        ran.append(job.name)
        if job.name == "bad":
            raise error

    job = await queue.add("bad", {}, {})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
        await queue.add("good", {}, {})
        await eventually(lambda: ran == ["bad", "good"])
    assert await client.hget(KEYS.job(job.id), "failedReason") == reason


async def test_processor_that_cancels_its_own_task_fails_alone(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def cancel_itself(job: Job) -> None:
        task = asyncio.current_task()
        assert task is not None
        if job.name == "bad":
            task.cancel()
            await asyncio.sleep(1)

    job = await queue.add("bad", {}, {})
    good = await queue.add("good", {}, {})
    async with working(cancel_itself, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("completed"), good.id))
    assert await client.zscore(KEYS.of("failed"), job.id)


async def test_result_that_is_not_json_fails_the_job(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def odd(job: Job) -> Any:
        return object()

    job = await queue.add("any", {}, {"attempts": 3})
    async with working(odd, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert "is not JSON" in str(await client.hget(KEYS.job(job.id), "failedReason"))


async def test_jobs_that_cannot_be_read_fail_with_the_reason(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    await client.hset(KEYS.job("broken"), mapping={"name": "x", "data": "{no json", "opts": "{}"})
    await client.lpush(KEYS.of("wait"), "broken", "missing")
    recorder = Recorder()
    async with working(recorder, redis_settings):
        await eventually(lambda: client.zcard(KEYS.of("failed")), what="two failed")
        await eventually(lambda: _is(client.zcard(KEYS.of("failed")), 2))
    assert recorder.ran == []
    assert "data is not JSON" in str(await client.hget(KEYS.job("broken"), "failedReason"))
    assert "no name" in str(await client.hget(KEYS.job("missing"), "failedReason"))


async def _is(answer: Any, wanted: Any) -> bool:
    return bool(await answer == wanted)


async def test_stock_bullmq_reads_what_we_wrote(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def answer(job: Job) -> Any:
        await job.update_progress({"percent": 50})
        await job.log("half way")
        return {"sum": 3, "text": "grün"}

    job = await queue.add("any", {"a": 1}, {"attempts": 4, "removeOnComplete": False})
    async with working(answer, redis_settings, name="pod-7"):
        await eventually(lambda: client.zscore(KEYS.of("completed"), job.id))
    stored = await bullmq.Job.fromId(queue, job.id)
    assert stored is not None
    assert stored.returnvalue == {"sum": 3, "text": "grün"}
    assert (stored.attemptsMade, stored.attemptsStarted, stored.progress) == (1, 1, {"percent": 50})
    assert stored.processedOn <= stored.finishedOn
    assert abs(time.time() * 1000 - stored.finishedOn) < 10_000
    assert (await queue.getJobLogs(job.id))["logs"] == ["half way"]
    assert await client.hget(KEYS.job(job.id), "pb") == "pod-7"
    assert await client.hget(KEYS.of("metrics:completed"), "count") == "1"
    events = [fields["event"] for _, fields in await client.xrange(KEYS.of("events"))]
    assert events == ["added", "waiting", "active", "progress", "completed", "drained"]
    assert not await client.exists(KEYS.lock(job.id))


async def test_finished_jobs_are_kept_by_their_own_policy_or_a_bounded_default(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    policies: list[dict[str, Any]] = [{"removeOnComplete": True}, {"removeOnComplete": False}, {}]
    jobs = [await queue.add("any", {}, {"removeOnComplete": None, **policy}) for policy in policies]
    async with working(Recorder(), redis_settings) as worker:
        await eventually(lambda: worker.jobs_done == 3)
    assert [bool(await client.zscore(KEYS.of("completed"), job.id)) for job in jobs] == [False, True, True]


async def test_lock_is_kept_while_a_job_outlives_it_also_through_the_drain(
    redis_settings: ConnectionSettings, queue: bullmq.Queue
) -> None:
    """Concurrency 2 with one idle slot: the end of the idle slot must not end the renewal."""
    first, second = Recorder(1.5), Recorder()
    await queue.add("any", 1, {})
    async with working(first, redis_settings, name="first", concurrency=2, lock_duration_ms=400) as leaving:
        await eventually(lambda: first.ran)
        async with working(second, redis_settings, name="second", lock_duration_ms=400):
            leaving.drain()
            await eventually(lambda: leaving.jobs_done)
    assert (first.ran, second.ran) == ([1], [])


async def test_lock_carries_the_name_and_is_renewed(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder(1.2)
    job = await queue.add("any", 1, {})
    async with working(recorder, redis_settings, name="pod-a", concurrency=2, lock_duration_ms=300) as worker:
        await eventually(lambda: recorder.ran)
        worker.drain()
        ends = time.monotonic() + 0.9
        while time.monotonic() < ends:
            owner = await client.get(KEYS.lock(job.id))
            assert owner is not None
            assert owner.rpartition(":")[0] == "pod-a"
            await asyncio.sleep(0.02)
    assert await client.zscore(KEYS.of("completed"), job.id)
    assert await client.hget(KEYS.job(job.id), "stc") is None


async def test_limiter_is_honoured(redis_settings: ConnectionSettings, queue: bullmq.Queue) -> None:
    await queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(12)])
    times: list[float] = []

    async def note(job: Job) -> None:
        times.append(time.monotonic())

    async with working(note, redis_settings, concurrency=3, limiter=Limiter(max=4, duration_ms=400)):
        await eventually(lambda: len(times) == 12)
    assert 0.75 < times[-1] - times[0] < 1.4


async def test_global_concurrency_holds_over_workers(redis_settings: ConnectionSettings, queue: bullmq.Queue) -> None:
    running = most = 0
    done: list[int] = []

    async def count(job: Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done.append(job.data)

    await queue.setGlobalConcurrency(2)
    await queue.addBulk([{"name": "any", "data": n, "opts": {}} for n in range(20)])
    async with (
        working(count, redis_settings, name="one", concurrency=3),
        working(count, redis_settings, name="two", concurrency=3),
    ):
        await eventually(lambda: len(done) == 20)
    assert most == 2


async def test_leaving_worker_passes_its_place_in_the_global_concurrency_on(
    redis_settings: ConnectionSettings, queue: bullmq.Queue
) -> None:
    await queue.setGlobalConcurrency(1)
    leaving, staying = Recorder(0.6), Recorder()
    await queue.add("any", 1, {})
    async with working(leaving, redis_settings, name="leaves", drain_delay_seconds=5.0) as first:
        await eventually(lambda: leaving.ran)
        async with working(staying, redis_settings, name="stays", drain_delay_seconds=5.0) as second:
            await eventually(lambda: second.ready)
            await queue.add("any", 2, {})
            first.drain()
            await eventually(lambda: first.jobs_done)
            await eventually(lambda: staying.ran == [2], seconds=1)


async def test_given_back_job_is_taken_at_once_with_no_attempt_counted_and_its_priority(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    started: list[tuple[str, float]] = []
    never = asyncio.Event()

    def note(name: str) -> Any:
        async def run(job: Job) -> None:
            started.append((name, time.monotonic()))
            if name == "one":
                await never.wait()

        return run

    job = await queue.add("any", {}, {"priority": 7})
    async with working(note("one"), redis_settings, name="one") as one:
        await eventually(lambda: started)
        async with working(note("two"), redis_settings, name="two", drain_delay_seconds=5.0) as two:
            await eventually(lambda: two.ready)
            await asyncio.sleep(0.1)
            given_back = time.monotonic()
            await one.give_back()
            assert one.jobs_given_back == 1
            await eventually(lambda: len(started) == 2)
    assert started[1][0] == "two"
    assert started[1][1] - given_back < 1.0
    fields = await client.hgetall(KEYS.job(job.id))
    assert (fields["atm"], fields.get("stc"), fields["priority"], fields["pb"]) == ("1", None, "7", "two")


async def test_processor_may_finish_while_it_is_being_cancelled(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def stubborn(job: Job) -> str:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(0.1)
        return "saved in time"

    job = await queue.add("any", {}, {})
    async with working(stubborn, redis_settings) as worker:
        await eventually(lambda: worker.jobs_running)
        await worker.give_back()
    assert await client.hget(KEYS.job(job.id), "returnvalue") == completed("saved in time").value


async def test_processor_that_ignores_the_cancel_loses_its_job_all_the_same(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    free = asyncio.Event()

    async def deaf(job: Job) -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    job = await queue.add("any", {}, {})
    async with working(deaf, redis_settings) as worker:
        await eventually(lambda: worker.jobs_running)
        await worker.give_back(grace=0.2)
        assert (worker.jobs_given_back, worker.jobs_left) == (1, 0)
        assert await client.lrange(KEYS.of("wait"), 0, -1) == [job.id]
        assert not await client.exists(KEYS.lock(job.id))
        free.set()
    assert worker.jobs_done == 0


async def test_error_in_answer_to_the_cancel_costs_no_attempt(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    async def wrapping(job: Job) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            raise RuntimeError("interrupted") from error

    job = await queue.add("any", {}, {})
    async with working(wrapping, redis_settings) as worker:
        await eventually(lambda: worker.jobs_running)
        await worker.give_back()
    assert await client.hget(KEYS.job(job.id), "atm") is None
    assert await client.lrange(KEYS.of("wait"), 0, -1) == [job.id]


async def test_job_whose_children_have_not_ended_fails(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    job = await queue.add("any", {}, {"attempts": 5})
    await client.sadd(KEYS.job(job.id) + ":dependencies", "bull:other:1")
    async with working(Recorder(), redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    assert await client.hget(KEYS.job(job.id), "failedReason") == "it has children that have not ended"


async def test_scheduler_goes_on(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder()
    await queue.upsertJobScheduler("often", {"every": 150, "limit": 4}, "tick", {"n": 1}, {"priority": 3})
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) == 4)
        await asyncio.sleep(0.4)
    assert recorder.ran == [{"n": 1}] * 4
    assert await client.hget(KEYS.of("repeat:often"), "ic") == "4"


async def test_scheduler_with_a_pattern_has_its_next_job_waiting(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder()
    await queue.upsertJobScheduler("secondly", {"pattern": "* * * * * *", "tz": "Europe/Berlin"}, "tick", {}, {})
    async with working(recorder, redis_settings):
        await eventually(lambda: len(recorder.ran) >= 2)
    (following,) = await client.zrange(KEYS.of("delayed"), 0, -1)
    assert following.startswith("repeat:secondly:")
    opts = json.loads(str(await client.hget(KEYS.job(following), "opts")))
    assert opts["repeat"]["pattern"] == "* * * * * *"
    assert opts["repeat"]["count"] >= 2


async def test_presence_and_statistics_are_written_and_the_presence_ends(
    redis_settings: ConnectionSettings, queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    await client.zadd(KEYS.workers, {"dead": 1})
    await client.hset(KEYS.worker, "dead", "{}")
    for name in ("fast", "fast", "slow"):
        await queue.add(name, {}, {})

    async def work(job: Job) -> None:
        await asyncio.sleep(0.05 if job.name == "slow" else 0)

    async with working(work, redis_settings, name="pod-a", concurrency=3) as worker:
        await eventually(lambda: worker.ready and worker.jobs_done == 3)
        assert json.loads(str(await client.hget(KEYS.worker, "pod-a"))) == {"slots": 3, "maxStalledCount": 3}
        assert abs(time.time() * 1000 - float(await client.zscore(KEYS.workers, "pod-a") or 0)) < 2_000
    assert await client.zrange(KEYS.workers, 0, -1) == []
    assert await client.hgetall(KEYS.worker) == {}
    stats = {field: int(value) for field, value in (await client.hgetall(KEYS.statistics)).items()}
    assert (stats["fast:jobs"], stats["slow:jobs"]) == (2, 1)
    assert 50 <= stats["slow:ms"] < 400
    assert sum(value for field, value in stats.items() if field.startswith("fast:h")) == 2


async def test_two_thousand_jobs_of_nothing(redis_settings: ConnectionSettings, queue: bullmq.Queue) -> None:
    await queue.addBulk([{"name": "any", "data": n, "opts": {"removeOnComplete": True}} for n in range(2_000)])
    recorder = Recorder()
    begun = time.monotonic()
    async with working(recorder, redis_settings, concurrency=10) as worker:
        await eventually(lambda: worker.jobs_done == 2_000)
        print(f"{2_000 / (time.monotonic() - begun):.0f} jobs/s at concurrency 10")
    assert sorted(recorder.ran) == list(range(2_000))
