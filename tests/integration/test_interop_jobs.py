"""With BullMQ for Node on the other side: what a job carries there and back."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from nodeside import UNDEFINED, NodeSide
from redis.asyncio import Redis
from stalls import Stalls
from worker_support import eventually, working

from queueworker import Priority, Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.errors import UnrecoverableError
from queueworker_worker.job import Job

PAYLOADS: dict[str, Any] = {
    "an object": {"id": 90_000_001, "nested": {"list": [1, 2.5, None, True, {}], "empty": []}},
    "no object": [1, "two", None],
    "a text": "text",
    "a number": 12.75,
    "false": False,
    "unicode": {"žluťoučký": "kůň 🐎 \u2028 \u0000 ﷽", "日本": "語", "quote": "\"\\/'\n"},
    "the largest integer that Node knows": 2**53 - 1,
    "a big one": {"text": "äöü🚀" * 100_000},
}
EVERY_PAYLOAD = pytest.mark.parametrize("data", PAYLOADS.values(), ids=PAYLOADS.keys())


@EVERY_PAYLOAD
async def test_data_and_result_travel_whole_from_node_through_our_worker(
    node: NodeSide, redis_settings: ConnectionSettings, data: Any
) -> None:
    async def echo(job: Job) -> Any:
        assert job.data == data
        return {"of": job.data}

    await node.listen("q")
    async with working(echo, redis_settings):
        job_id = await node.add("q", "any", data)
        assert await node.wait_until_finished("q", job_id) == {"of": data}
    assert (await node.job("q", job_id))["returnvalue"] == {"of": data}


@EVERY_PAYLOAD
async def test_data_and_result_travel_whole_from_us_through_the_node_worker(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, data: Any
) -> None:
    await node.worker("q", "echo")
    async with Queue("q", redis_settings) as queue:
        added = await queue.enqueue("any", data)
    await eventually(lambda: node.notes("completed", queue="q"))
    assert node.ran("q")[0]["data"] == data
    assert json.loads(await client.hget(f"bull:q:{added.id}", "returnvalue")) == {"of": data}


async def test_null_and_undefined_data_of_node(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    """What JSON cannot say BullMQ for Node stores as an empty object."""
    seen: list[Any] = []

    async def note(job: Job) -> None:
        seen.append(job.data)

    async with working(note, redis_settings):
        await node.queue("q", "add", "null", None)
        await node.queue("q", "add", "undefined", UNDEFINED)
        await node.queue("q", "add", "inside", {"a": UNDEFINED, "b": None, "c": [UNDEFINED]})
        await eventually(lambda: len(seen) == 3)
    assert seen == [None, {}, {"b": None, "c": [None]}]


async def test_no_data_of_ours_is_an_empty_object(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    await node.worker("q", "echo")
    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("any")
        await queue.enqueue("any", {"b": None})
        await eventually(lambda: len(node.notes("completed", queue="q")) == 2)
    assert [job["data"] for job in node.ran("q")] == [{}, {"b": None}]


async def test_no_result_is_null_on_both_sides(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    async def nothing(_: Job) -> None:
        return None

    await node.listen("ours")
    await node.listen("theirs")
    await node.worker("theirs", "nothing")
    async with working(nothing, redis_settings, queue="ours"):
        for queue in ("ours", "theirs"):
            job_id = await node.add(queue, "any")
            assert await node.wait_until_finished(queue, job_id) is None
            assert (await node.job(queue, job_id))["returnvalue"] is None


STORED: dict[str, dict[str, Any]] = {
    "plain": {},
    "with an id": {"jobId": "character-90000001"},
    "delayed": {"delay": 60_000},
    "delayed with a priority": {"delay": 60_000, "priority": 7},
    "lifo": {"lifo": True},
    "retried": {"attempts": 5, "backoff": {"type": "exponential", "delay": 250, "jitter": 0.5}},
    "a number as backoff": {"attempts": 2, "backoff": 500},
    "kept": {"removeOnComplete": {"age": 60, "count": 10}, "removeOnFail": False, "keepLogs": 5, "stackTraceLimit": 2},
    "not kept": {"removeOnComplete": True, "removeOnFail": 100},
    "deduplicated": {"deduplication": {"id": "d"}},
    "throttled": {"deduplication": {"id": "d", "ttl": 5_000}},
    "debounced": {"delay": 5_000, "deduplication": {"id": "d", "ttl": 5_000, "extend": True, "replace": True}},
    "keeping the last": {"deduplication": {"id": "d", "keepLastIfActive": True}},
}
DEFAULTS: dict[str, Any] = {
    "delay": 0,
    "priority": 5,
    "attempts": 3,
    "backoff": {"type": "exponential", "delay": 1000},
    "removeOnComplete": {"age": 3600, "count": 1000},
    "removeOnFail": {"age": 604_800, "count": 5000},
}
"""What we always send and BullMQ for Node leaves out: a priority, attempts and bounds for finished jobs."""


@pytest.mark.parametrize("options", STORED.values(), ids=STORED.keys())
async def test_the_same_job_is_stored_the_same_by_both_sides(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, options: dict[str, Any]
) -> None:
    asked = DEFAULTS | options
    if options.get("lifo"):
        del asked["priority"]
    data = {"text": "žluť 🚀", "n": [1, None]}
    now = time.time_ns() // 1_000_000
    their_id = await node.add("theirs", "name", data, **{**asked, "timestamp": now})
    async with Queue("ours", redis_settings, now_ms=lambda: now) as queue:
        ours = await queue.enqueue("name", data, **options)
    stored, other = await client.hgetall(f"bull:ours:{ours.id}"), await client.hgetall(f"bull:theirs:{their_id}")
    our_options, their_options = json.loads(stored.pop("opts")), json.loads(other.pop("opts"))
    assert our_options.pop("jobId") == ours.id, "an id is always sent, so that a request sent again adds nothing"
    assert their_options.pop("jobId", their_id) == their_id
    assert their_options.pop("timestamp") == now
    assert our_options == their_options
    # As JSON: we escape what is not ASCII.
    assert json.loads(stored.pop("data")) == json.loads(other.pop("data"))
    assert stored == other
    for part in ("prioritized", "delayed", "marker"):
        scores = [
            [score for _, score in await client.zrange(f"bull:{queue}:{part}", 0, -1, withscores=True)]
            for queue in ("ours", "theirs")
        ]
        assert scores[0] == scores[1], part
    renamed = {"theirs": "ours", their_id: ours.id}
    keys = {":".join(renamed.get(part, part) for part in key.split(":")) for key in await client.keys("bull:theirs:*")}
    assert set(await client.keys("bull:ours:*")) == keys


async def test_what_we_leave_out_is_what_we_document(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis
) -> None:
    await node.worker("q")
    async with Queue("q", redis_settings) as queue:
        added = await queue.enqueue("any", priority=Priority.HIGH)
        await eventually(lambda: node.ran("q"))
    seen = node.ran("q")[0]
    assert seen["opts"] == {**DEFAULTS, "priority": 1, "jobId": added.id}
    assert (seen["id"], seen["name"], seen["priority"], seen["attemptsMade"]) == (added.id, "any", 1, 0)


@pytest.mark.timing
@pytest.mark.parametrize("kind", ["fixed", "exponential"])
async def test_node_asks_for_attempts_and_our_worker_makes_them(
    node: NodeSide, redis_settings: ConnectionSettings, stalls: Stalls, kind: str
) -> None:
    tries: list[float] = []

    async def fail(job: Job) -> None:
        tries.append(time.monotonic())
        raise ValueError(f"try {job.attempts_made + 1}: žluť")

    await node.listen("q")
    async with working(fail, redis_settings):
        job_id = await node.add("q", "any", {}, attempts=3, backoff={"type": kind, "delay": 150})
        await eventually(lambda: node.events("q", "retries-exhausted"))
        job = await eventually(lambda: node.job("q", job_id))
    gaps = [round(after - before, 2) for before, after in itertools.pairwise(tries)]
    expected = [0.15, 0.15] if kind == "fixed" else [0.15, 0.3]
    most = 0.4 + stalls.between(tries[0], tries[-1])
    assert len(gaps) == 2
    assert all(least - 0.02 <= gap < least + most for gap, least in zip(gaps, expected, strict=True)), gaps
    assert job["failedReason"] == "try 3: žluť"
    assert [f"try {n}: žluť" in trace for n, trace in enumerate(job["stacktrace"], 1)] == [True] * 3
    assert "ValueError" in job["stacktrace"][0]
    assert (job["attemptsMade"], job["attemptsStarted"]) == (3, 3)
    assert await node.job("q", job_id, "getState") == "failed"
    assert node.events("q", "retries-exhausted") == [{"jobId": job_id, "attemptsMade": "3"}]


@pytest.mark.timing
@pytest.mark.parametrize("kind", ["fixed", "exponential"])
async def test_we_ask_for_attempts_and_the_node_worker_makes_them(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, stalls: Stalls, kind: str
) -> None:
    await node.worker("q", "fails")
    asked = time.monotonic()
    async with Queue("q", redis_settings) as queue:
        added = await queue.enqueue("any", {"succeedsAt": 3}, attempts=3, backoff={"type": kind, "delay": 150})
        await eventually(lambda: node.notes("completed", queue="q"))
    began = [note["at"] for note in node.notes("ran", queue="q")]
    gaps = [after - before for before, after in itertools.pairwise(began)]
    expected = [150, 150] if kind == "fixed" else [150, 300]
    most = 400 + stalls.since(asked) * 1000
    assert len(gaps) == 2
    assert all(least - 20 <= gap < least + most for gap, least in zip(gaps, expected, strict=True)), gaps
    job = await client.hgetall(f"bull:q:{added.id}")
    assert json.loads(job["returnvalue"]) == "at last"
    assert job["atm"] == "3"
    assert ["try 1" in trace or "try 2" in trace for trace in json.loads(job["stacktrace"])] == [True, True]


async def test_attempts_of_one_job_are_counted_over_both_sides(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    seen: list[int] = []

    async def second(job: Job) -> str:
        seen.append(job.attempts_made)
        return "ours"

    # It waits until Node's worker has gone, however long that takes.
    job_id = await node.add("q", "any", {"succeedsAt": 9}, attempts=2, backoff={"type": "fixed", "delay": 60_000})
    handle = await node.worker("q", "fails")
    await eventually(lambda: node.notes("failed", queue="q"))
    await node.worker_call(handle, "close")
    await node.job("q", job_id, "promote")
    async with working(second, redis_settings):
        await eventually(lambda: seen)
        await eventually(lambda: _state(node, "q", job_id, "completed"))
    job = await node.job("q", job_id)
    assert seen == [1]
    assert (job["attemptsMade"], job["returnvalue"], len(job["stacktrace"])) == (2, "ours", 1)


async def test_unrecoverable_error_of_ours_ends_a_job_of_node(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    async def fail(_: Job) -> None:
        raise UnrecoverableError("there is no such thing")

    async with working(fail, redis_settings):
        job_id = await node.add("q", "any", {}, attempts=5)
        await eventually(lambda: _state(node, "q", job_id, "failed"))
    job = await node.job("q", job_id)
    assert (job["failedReason"], job["attemptsMade"]) == ("there is no such thing", 1)


async def test_unrecoverable_error_of_node_ends_a_job_of_ours(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis
) -> None:
    await node.worker("q", "unrecoverable")
    async with Queue("q", redis_settings) as queue:
        added = await queue.enqueue("any", attempts=5)
    await eventually(lambda: node.notes("failed", queue="q"))
    assert await client.hget(f"bull:q:{added.id}", "failedReason") == "there is no such thing"
    assert len(node.ran("q")) == 1


async def test_progress_and_logs_of_our_worker_reach_node(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    steps: list[Any] = [50, {"phase": "valuing", "of": [1, 2]}, "nearly ✓", True]

    async def tell(job: Job) -> str:
        for step in steps:
            await job.update_progress(step)
        for n in range(4):
            count = await job.log(f"line {n} ✓")
        return f"{count} kept"

    await node.listen("q")
    async with working(tell, redis_settings):
        job_id = await node.add("q", "any", {}, keepLogs=3)
        assert await node.wait_until_finished("q", job_id) == "3 kept"
    assert [event["data"] for event in node.events("q", "progress")] == steps
    assert (await node.job("q", job_id))["progress"] is True
    logs = await node.queue("q", "getJobLogs", job_id)
    assert logs == {"logs": ["line 1 ✓", "line 2 ✓", "line 3 ✓"], "count": 3}


async def test_progress_and_logs_of_the_node_worker_are_stored_as_ours_are(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis
) -> None:
    await node.worker("q", "tells")
    data = {"progress": [10, {"phase": "žluť"}], "lines": [f"line {n} ✓" for n in range(4)], "result": [1]}
    async with Queue("q", redis_settings) as queue:
        added = await queue.enqueue("any", data, keep_logs=3)
    await eventually(lambda: client.zscore("bull:q:completed", added.id))
    assert json.loads(await client.hget(f"bull:q:{added.id}", "progress")) == {"phase": "žluť"}
    assert await client.lrange(f"bull:q:{added.id}:logs", 0, -1) == ["line 1 ✓", "line 2 ✓", "line 3 ✓"]


async def test_data_updated_by_either_worker_is_there_at_the_next_attempt(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    async def rewrite(job: Job) -> Any:
        await job.update_data({**job.data, "step": job.data.get("step", 0) + 1})
        if job.data["step"] < 2:
            raise ValueError("once more")
        return job.data

    await node.worker("theirs", "rewrites")
    await node.listen("theirs")
    await node.listen("ours")
    async with working(rewrite, redis_settings, queue="ours"):
        for queue in ("ours", "theirs"):
            job_id = await node.add(queue, "any", {"text": "žluť"}, attempts=2)
            assert await node.wait_until_finished(queue, job_id) == {"text": "žluť", "step": 2}
            assert (await node.job(queue, job_id))["data"] == {"text": "žluť", "step": 2}


@pytest.mark.parametrize(
    ("option", "kept"), [(True, 0), (False, 5), (2, 2), ({"count": 3}, 3), ({"age": 3600}, 5), (0, 0)], ids=str
)
async def test_policies_of_node_jobs_for_finished_jobs_are_kept_by_our_worker(
    node: NodeSide, redis_settings: ConnectionSettings, option: Any, kept: int
) -> None:
    async def half(job: Job) -> None:
        if job.name == "fails":
            raise ValueError("no")

    async with working(half, redis_settings):
        for name in ("works", "fails"):
            for n in range(5):
                await node.add("q", name, n, removeOnComplete=option, removeOnFail=option)
        await eventually(lambda: _idle(node, "q"))
        counts = await node.queue("q", "getJobCounts", "completed", "failed")
    assert counts == {"completed": kept, "failed": kept}


async def test_policies_of_our_jobs_for_finished_jobs_are_kept_by_the_node_worker(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis
) -> None:
    await node.worker("q", "fails")
    async with Queue("q", redis_settings) as queue:
        for n in range(4):
            await queue.enqueue("works", {"succeedsAt": 1}, job_id=f"w{n}", remove_on_complete={"count": 2})
            await queue.enqueue("fails", {"succeedsAt": 9}, job_id=f"f{n}", attempts=1, remove_on_fail=n != 2)
        await eventually(lambda: len(node.ran("q")) == 8)
        await eventually(lambda: _idle(node, "q"))
    assert await client.zrange("bull:q:completed", 0, -1) == ["w2", "w3"]
    assert await client.zrange("bull:q:failed", 0, -1) == ["f2"]


async def test_metrics_of_our_worker_are_read_by_node_and_counted_on_by_its_worker(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    async def work(job: Job) -> None:
        if job.name == "fails":
            raise ValueError("no")

    async with working(work, redis_settings):
        for name in ("works", "fails", "works"):
            await node.add("q", name)
        await eventually(lambda: _idle(node, "q"))
    metrics = await node.queue("q", "getMetrics", "completed")
    assert (metrics["meta"]["count"], (await node.queue("q", "getMetrics", "failed"))["meta"]["count"]) == (2, 1)
    await node.worker("q", "echo", metrics={"maxDataPoints": 1440})
    await node.add("q", "works")
    await eventually(lambda: node.notes("completed", queue="q"))
    assert (await node.queue("q", "getMetrics", "completed"))["meta"]["count"] == 3


async def test_each_side_names_who_ran_the_job(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    async def nothing(_: Job) -> None:
        return None

    async with working(nothing, redis_settings, name="pod-1"):
        job_id = await node.add("q", "any")
        await eventually(lambda: _state(node, "q", job_id, "completed"))
    assert (await node.job("q", job_id))["processedBy"] == "pod-1"


async def _state(node: NodeSide, queue: str, job_id: str, state: str) -> bool:
    return bool(await node.job(queue, job_id, "getState") == state)


async def _idle(node: NodeSide, queue: str) -> bool:
    return bool(sum((await node.queue(queue, "getJobCounts", "waiting", "active", "prioritized")).values()) == 0)
