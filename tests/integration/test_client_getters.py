"""Reading a queue: the same as BullMQ's own getters tell, and what they do not."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from bullmq import FlowProducer
from bullmq import Queue as BullQueue
from redis.asyncio import Redis
from stockworker import stock_working
from worker_support import eventually

from queueworker import Queue, RedisReadError, scripts
from queueworker.metrics import MINUTE_MS, MetricsPoint
from queueworker.records import DependencyCounts
from queueworker.settings import ConnectionSettings


@pytest.fixture
async def full_queue(queue: Queue, client: Redis, redis_settings: ConnectionSettings) -> Queue:
    """A queue with jobs in every state, put there by BullMQ itself."""
    theirs = BullQueue("q", {"connection": client})

    async def process(job: Any, token: str) -> str:
        if job.data["n"] % 2:
            raise ValueError(f"no luck with {job.data['n']}")
        return "done"

    for n in range(10):
        await theirs.add("finished", {"n": n}, {"jobId": f"finished-{n}"})
    async with stock_working(process, redis_settings, queue="q"):
        await eventually(lambda: _are_finished(queue, 10))
    for n in range(5):
        await theirs.add("active", {"n": n}, {"jobId": f"active-{n}"})
    for n in range(5):
        await client.rpoplpush("bull:q:wait", "bull:q:active")
        await client.set(f"bull:q:active-{n}:lock", f"worker-1:{n}", px=600_000)
    for n in range(7):
        await theirs.add("waiting", {"n": n}, {"jobId": f"waiting-{n}", "lifo": n == 6})
        await theirs.add("prioritized", {"n": n}, {"jobId": f"prioritized-{n}", "priority": n % 3 + 1})
        await theirs.add("delayed", {"n": n}, {"jobId": f"delayed-{n}", "delay": 1_000_000 - 1000 * n})
    flow = FlowProducer(client)
    for n in range(3):
        await flow.add(
            {
                "name": "parent",
                "queueName": "q",
                "opts": {"jobId": f"parent-{n}"},
                "children": [{"name": "child", "queueName": "children", "opts": {"jobId": f"child-{n}"}}],
            }
        )
    return queue


async def _are_finished(queue: Queue, count: int) -> bool:
    counts = await queue.counts("completed", "failed")
    return sum(counts.values()) == count


async def test_counts_are_those_of_bullmq(full_queue: Queue, client: Redis) -> None:
    counts = await full_queue.counts()
    assert counts == {
        "waiting": 7,
        "prioritized": 7,
        "delayed": 7,
        "active": 5,
        "waiting-children": 3,
        "completed": 5,
        "failed": 5,
        "paused": 0,
    }
    theirs = await BullQueue("q", {"connection": client}).getJobCounts()
    assert {**counts, "waiting": counts["waiting"]} == {**counts, **{k: v for k, v in theirs.items() if k in counts}}
    assert await full_queue.counts("wait", "failed") == {"waiting": 7, "failed": 5}
    with pytest.raises(ValueError, match="'done' is no state"):
        await full_queue.counts("done")


async def test_counts_per_priority(full_queue: Queue, client: Redis) -> None:
    assert await full_queue.counts_per_priority() == {0: 7, 1: 3, 2: 2, 3: 2}
    assert await full_queue.counts_per_priority(5, 3, 0) == {5: 0, 3: 2, 0: 7}
    await client.delete("bull:q:wait", "bull:q:prioritized")
    assert await full_queue.counts_per_priority() == {}


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_are_those_of_bullmq(full_queue: Queue, client: Redis, newest_first: bool) -> None:
    theirs = BullQueue("q", {"connection": client})
    for state, count in (await full_queue.counts()).items():
        part = "wait" if state == "waiting" else state
        ids = [job.id for job in await theirs.getJobs([part], 0, -1, not newest_first)]
        assert len(ids) == count
        for start, end in ((0, 99), (0, 1), (1, 3), (2, 2), (50, 60)):
            jobs = await full_queue.jobs(state, start=start, end=end, newest_first=newest_first)
            assert [job.id for job in jobs] == ids[start : end + 1], (state, start, end)
            assert {job.state for job in jobs} <= {state}
    both = await full_queue.jobs("active", "failed", end=1)
    assert [job.state for job in both] == ["active", "active", "failed", "failed"]


async def test_the_first_waiting_job_is_the_one_that_runs_next(full_queue: Queue) -> None:
    jobs = await full_queue.jobs("waiting")
    assert [job.id for job in jobs] == ["waiting-6", *(f"waiting-{n}" for n in range(6))], "lifo first"
    due = [job.due_on for job in await full_queue.jobs("delayed")]
    assert due == sorted(due, key=lambda one: one or 0)
    assert all(job.timestamp and job.due_on and job.due_on > job.timestamp for job in await full_queue.jobs("delayed"))


async def test_jobs_removed_meanwhile_are_left_out(full_queue: Queue, client: Redis) -> None:
    await client.delete("bull:q:waiting-3", "bull:q:finished-2")
    await client.rpush("bull:q:wait", "0:17")  # a marker of BullMQ 4
    assert "waiting-3" not in [job.id for job in await full_queue.jobs("waiting")]
    assert [job.id async for job in full_queue.all_jobs("completed", page_size=2)] == [
        f"finished-{n}" for n in (0, 4, 6, 8)
    ]


async def test_all_jobs_while_workers_take_them(queue: Queue, client: Redis) -> None:
    """Between any two pages jobs arrive, are taken and are removed; those that stay come exactly once."""
    theirs = BullQueue("q", {"connection": client})
    await theirs.addBulk([{"name": "n", "data": {}, "opts": {"jobId": f"w-{n}"}} for n in range(300)])
    seen: list[str] = []
    async for job in queue.all_jobs("wait", page_size=10):
        seen.append(job.id)
        if len(seen) % 5 == 0:
            await client.rpop("bull:q:wait")
            await theirs.add("n", {}, {})
        if len(seen) % 20 == 0:
            await client.lrem("bull:q:wait", 1, f"w-{len(seen) - 15}")
    stayed = [one for one in reversed(await client.lrange("bull:q:wait", 0, -1)) if one.startswith("w-")]
    assert 200 < len(stayed) < 250
    assert len(seen) == len(set(seen))
    assert [one for one in seen if one in stayed] == stayed


async def test_one_job_with_everything(queue: Queue, client: Redis, redis_settings: ConnectionSettings) -> None:
    theirs = BullQueue("q", {"connection": client})
    options = {
        "attempts": 3,
        "backoff": {"type": "fixed", "delay": 60_000},
        "deduplication": {"id": "d"},
        "priority": 4,
    }
    await theirs.add("mail", {"to": "žluť 🚀"}, {"jobId": "one", **options})
    waiting = await queue.job("one")
    assert waiting is not None
    assert (waiting.state, waiting.priority, waiting.processed_on, waiting.attempts) == ("prioritized", 4, None, 3)

    async def process(job: Any, token: str) -> None:
        await job.updateProgress({"percent": 50})
        await job.log("first")
        await job.log("second")
        await client.hset("bull:q:one", "pb", "pod-1")
        reached.set()
        await go_on.wait()
        raise ValueError("no luck")

    reached, go_on = asyncio.Event(), asyncio.Event()
    async with stock_working(process, redis_settings, queue="q") as stock:
        async with asyncio.timeout(40):
            await reached.wait()
        active = await queue.job("one")
        (listed,) = await queue.jobs("active")
        go_on.set()
        delayed = await eventually(lambda: _in_state(queue, "one", "delayed"))
    assert active is not None
    assert active.lock_owner is not None
    assert active.lock_owner.startswith(str(stock.worker.id))
    assert active.lock_ttl_ms is not None
    assert 0 < active.lock_ttl_ms <= 30_000
    assert (active.state, active.progress, active.processed_by) == ("active", {"percent": 50}, "pod-1")
    assert (active.attempts_started, active.attempts_made, active.stalled_count) == (1, 0, 0)
    assert listed.lock_owner == active.lock_owner
    stored = await theirs.backend.getJobData("one")
    assert (delayed.name, delayed.data) == ("mail", {"to": "žluť 🚀"})
    assert delayed.opts["deduplication"] == {"id": "d"}
    assert delayed.opts["backoff"] == options["backoff"]
    assert delayed.timestamp == int(stored["timestamp"])
    assert delayed.processed_on == int(stored["processedOn"])
    assert delayed.due_on is not None
    assert 59_000 < delayed.due_on - delayed.processed_on < 90_000
    assert (delayed.delay, delayed.attempts_made, delayed.failed_reason) == (60_000, 1, "no luck")
    assert len(delayed.stacktrace) == 1
    assert "ValueError" in delayed.stacktrace[0]
    assert (delayed.deduplication_id, delayed.lock_owner, delayed.unreadable) == ("d", None, {})
    logs = await queue.logs("one", 1, 5)
    assert (logs.lines, logs.total) == (("second",), 2)
    assert (await queue.logs("nobody")).total == 0


async def _in_state(queue: Queue, job_id: str, state: str) -> Any:
    job = await queue.job(job_id)
    return job if job is not None and job.state == state else None


async def test_the_state_of_every_job(full_queue: Queue) -> None:
    for state, count in (await full_queue.counts()).items():
        jobs = await full_queue.jobs(state)
        assert len(jobs) == count
        for listed in jobs:
            one = await full_queue.job(listed.id)
            assert one is not None
            assert (one.state, one.name, one.data, one.due_on) == (state, listed.name, listed.data, listed.due_on)


async def test_a_failed_and_a_completed_job(full_queue: Queue) -> None:
    failed, completed = await full_queue.job("finished-3"), await full_queue.job("finished-4")
    assert failed is not None
    assert completed is not None
    assert (failed.failed_reason, failed.return_value) == ("no luck with 3", None)
    assert (completed.failed_reason, completed.return_value) == (None, "done")
    assert completed.finished_on is not None
    assert completed.processed_on is not None
    assert completed.finished_on >= completed.processed_on


async def test_a_parent_and_its_children(full_queue: Queue, client: Redis, redis_settings: ConnectionSettings) -> None:
    parent = await full_queue.job("parent-1")
    assert parent is not None
    assert parent.dependency_counts == DependencyCounts(unprocessed=1, processed=0, ignored=0, failed=0)
    assert (await full_queue.children("parent-1")).unprocessed == ("bull:children:child-1",)
    async with stock_working(_return_unicode, redis_settings, queue="children"):
        parent = await eventually(lambda: _in_state(full_queue, "parent-1", "waiting"))
    assert parent.dependency_counts == DependencyCounts(unprocessed=0, processed=1, ignored=0, failed=0)
    children = await full_queue.children("parent-1")
    assert children.values == {"bull:children:child-1": {"ä": 1}}
    async with Queue("children", redis_settings) as queue:
        child = await queue.job("child-1")
    assert child is not None
    assert (child.parent_key, child.dependency_counts) == ("bull:q:parent-1", None)
    assert (await full_queue.children("waiting-1")).values == {}


async def _return_unicode(job: Any, token: str) -> dict[str, int]:
    return {"ä": 1}


@pytest.mark.parametrize("job_id", ["nobody", "meta", "wait", "completed", "events", "repeat:every", "", "id"])
async def test_what_is_no_job_is_none(full_queue: Queue, client: Redis, job_id: str) -> None:
    await full_queue.schedule("every", every=60_000)
    assert await client.exists("bull:q:repeat:every")
    assert await full_queue.job(job_id) is None


async def test_damaged_jobs_are_read_and_told(queue: Queue, client: Redis) -> None:
    raw = client.connection_pool.connection_kwargs
    async with Redis(host=raw["host"], port=raw["port"]) as binary:
        await binary.hset(
            "bull:q:bad", mapping={"name": b"\xff", "data": b"\xfe{", "opts": "", "timestamp": "x", "stacktrace": "1"}
        )
        await binary.hset(b"bull:q:\xffid", mapping={"name": "n", "data": b'"\xff"', "timestamp": "5"})
        await binary.lpush("bull:q:wait", "bad", b"\xffid")
    bad, odd = await queue.jobs("waiting")
    assert bad == await queue.job("bad")
    assert bad.name is not None
    assert bad.name.encode("utf-8", "surrogateescape") == b"\xff"
    assert bad.data.encode("utf-8", "surrogateescape") == b"\xfe{"
    assert (bad.timestamp, bad.opts, bad.stacktrace, bad.delay) == (None, {}, (), 0)
    assert set(bad.unreadable) == {"data", "opts", "timestamp", "stacktrace"}
    assert (odd.id, odd.data, odd.unreadable) == ("\udcffid", "\udcff", {})
    assert odd == await queue.job(odd.id)


async def test_a_key_of_another_type_is_named(queue: Queue, client: Redis) -> None:
    await client.set("bull:q:failed", "?")
    for reading in (queue.counts(), queue.jobs("failed"), queue.job("nobody")):
        with pytest.raises(RedisReadError, match="bull:q:failed holds another type") as caught:
            await reading
        assert caught.value.reason == "InvalidQueueKey"


async def test_metrics_as_bullmq_collects_them(queue: Queue, client: Redis) -> None:
    """BullMQ's own function, called with times of our choice."""
    source = scripts.load("moveToFinished").source
    functions = [_lua_function(source, name) for name in ("batches", "collectMetrics")]
    call = "collectMetrics(KEYS[1], KEYS[1] .. ':data', 5, ARGV[1])"
    script = "\n".join(["local rcall = redis.call", *functions, call])
    start = 28_000_000 * MINUTE_MS
    for minute, jobs in ((0, 2), (1, 3), (4, 1), (5, 2)):
        for second in range(jobs):
            await client.eval(script, 1, "bull:q:metrics:failed", start + minute * MINUTE_MS + second * 1000)
    found = await queue.metrics("failed")
    assert (found.kind, found.total, found.kept) == ("failed", 8, 5)
    assert found.running == MetricsPoint(start + 5 * MINUTE_MS, 2)
    assert [(point.minute_ms, point.count) for point in found.points] == [
        (start + minute * MINUTE_MS, jobs) for minute, jobs in ((4, 1), (3, 0), (2, 0), (1, 3), (0, 2))
    ]
    assert (await queue.metrics("failed", 3, 3)).points == found.points[3:4]
    assert (await queue.metrics()).total is None, "no worker keeps them for completed jobs"
    with pytest.raises(ValueError, match="use completed or failed"):
        await queue.metrics("waiting")
    with pytest.raises(ValueError, match="0 <= start <= end"):
        await queue.metrics(start=5, end=4)


def _lua_function(source: str, name: str) -> str:
    found = re.search(rf"^local function {name}\(.*?^end$", source, re.MULTILINE | re.DOTALL)
    assert found is not None, f"BullMQ's script has no function {name} any more"
    return found[0]


async def test_workers_by_their_heartbeat(queue: Queue, client: Redis) -> None:
    assert await queue.workers() == []
    seconds, _ = await client.time()
    now_ms = seconds * 1000
    await client.zadd(queue.keys.workers, {"pod-b": now_ms, "pod-a": now_ms - 60_000, "shy": now_ms + 60_000})
    about = {"slots": 10, "maxStalledCount": 3}
    await client.hset(queue.keys.worker, mapping={"pod-b": json.dumps(about), "pod-a": "{"})
    a, b, shy = await queue.workers()
    assert (a.name, a.alive, a.slots, a.last_heartbeat_ms) == ("pod-a", False, None, now_ms - 60_000)
    assert 60_000 <= a.age_ms < 90_000
    assert (b.name, b.alive, b.slots, b.max_stalled_count) == ("pod-b", True, 10, 3)
    assert (shy.name, shy.alive, shy.age_ms, shy.slots) == ("shy", True, 0, None)


async def test_statistics_by_job_name(queue: Queue, client: Redis) -> None:
    assert await queue.job_statistics() == []
    await client.hset(queue.keys.statistics, mapping={"mail:jobs": 4, "mail:ms": 100, "mail:h5": 4})
    (mail,) = await queue.job_statistics()
    assert (mail.name, mail.jobs, mail.mean_ms, mail.p50_ms) == ("mail", 4, 25, 24)
