"""With BullMQ for Node on the other side: schedulers, which either side makes and either side carries on."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from nodeside import NodeSide
from redis.asyncio import Redis
from worker_support import eventually, working

from queueworker import Queue, cron
from queueworker.settings import ConnectionSettings
from queueworker_worker.job import Job

EVERY_MS = 200


async def test_interval_of_node_is_carried_on_by_our_worker_to_its_limit(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis
) -> None:
    jobs: list[Job] = []

    async def note(job: Job) -> None:
        jobs.append(job)

    template = {"name": "tick", "data": {"n": 1}, "opts": {"attempts": 2}}
    async with working(note, redis_settings):
        await node.queue("q", "upsertJobScheduler", "s", {"every": EVERY_MS, "limit": 4}, template)
        await eventually(lambda: len(jobs) == 4)
        await eventually(lambda: _nothing_is_left_to_do(node, "q"))
    assert [(job.name, job.data, job.attempts, job.scheduler_id) for job in jobs] == [("tick", {"n": 1}, 2, "s")] * 4
    assert _even(_due(job.id) for job in jobs)
    scheduler = await node.queue("q", "getJobScheduler", "s")
    assert (scheduler["iterationCount"], scheduler["limit"], scheduler["every"]) == (4, 4, EVERY_MS)
    # The script reckons from the second one on, so the first slot is the one after the next.
    assert await client.zcard("bull:q:completed") == 4


async def test_interval_of_ours_is_carried_on_by_the_node_worker_to_its_limit(
    node: NodeSide, redis_settings: ConnectionSettings
) -> None:
    await node.worker("q")
    async with Queue("q", redis_settings) as queue:
        await queue.schedule("s", {"n": 1}, every=EVERY_MS, limit=4, name="tick", attempts=2)
        await eventually(lambda: len(node.notes("completed", queue="q")) == 4)
        await eventually(lambda: _nothing_is_left_to_do(node, "q"))
    jobs = node.ran("q")
    assert [(job["name"], job["data"], job["opts"]["attempts"]) for job in jobs] == [("tick", {"n": 1}, 2)] * 4
    assert _even(_due(job["id"]) for job in jobs)
    assert (await node.queue("q", "getJobScheduler", "s"))["iterationCount"] == 4


@pytest.mark.parametrize("made_by", ["node", "us"])
async def test_a_scheduler_goes_from_one_sides_worker_to_the_others_and_back(
    node: NodeSide, redis_settings: ConnectionSettings, made_by: str
) -> None:
    ids: list[str] = []

    def seen() -> list[str]:
        return [job["id"] for job in node.ran("q")] + ids

    async def note(job: Job) -> None:
        ids.append(job.id)

    if made_by == "node":
        await node.queue("q", "upsertJobScheduler", "s", {"pattern": "* * * * * *", "tz": "Asia/Kolkata"})
    else:
        async with Queue("q", redis_settings) as queue:
            await queue.schedule("s", cron="* * * * * *", tz="Asia/Kolkata")
    for side in ("us", "node", "us"):
        # A worker that the machine keeps from ending at once runs more than one.
        before = len(seen())
        if side == "us":
            async with working(note, redis_settings):
                await eventually(lambda before=before: len(seen()) > before)
        else:
            handle = await node.worker("q")
            await eventually(lambda before=before: len(seen()) > before)
            await node.worker_call(handle, "close")
    ran = len(seen())
    assert ran >= 3
    assert len(set(seen())) == ran, "each iteration runs once"
    assert all(_due(one) % 1000 == 0 for one in seen())
    assert (await node.queue("q", "getJobScheduler", "s"))["iterationCount"] == ran + 1, "the next one waits"
    assert await node.queue("q", "getDelayedCount") == 1


async def test_both_workers_at_once_run_each_iteration_once(node: NodeSide, redis_settings: ConnectionSettings) -> None:
    ids: list[str] = []

    async def note(job: Job) -> None:
        ids.append(job.id)

    await node.worker("q")
    async with working(note, redis_settings), Queue("q", redis_settings) as queue:
        await queue.schedule("s", every=100, limit=12)
        await eventually(lambda: len(ids) + len(node.ran("q")) == 12)
        await eventually(lambda: _nothing_is_left_to_do(node, "q"))
    ran = sorted([*ids, *(job["id"] for job in node.ran("q"))], key=_due)
    assert len(set(ran)) == 12
    assert _even((_due(one) for one in ran), every=100)


PLANS: dict[str, dict[str, Any]] = {
    "an interval": {"every": 3_600_000},
    "an interval with a limit": {"every": 3_600_000, "limit": 5},
    "a pattern": {"pattern": "30 4 * * 1-5", "tz": "America/New_York"},
    "a pattern with seconds and a limit": {"pattern": "15 30 4 1 * *", "tz": "UTC", "limit": 3},
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
async def test_the_same_scheduler_is_stored_the_same_by_both_sides(
    node: NodeSide, redis_settings: ConnectionSettings, client: Redis, plan: dict[str, Any]
) -> None:
    opts = {"priority": 7, "attempts": 4, "backoff": {"type": "fixed", "delay": 10}}
    opts |= {"removeOnComplete": True, "removeOnFail": {"count": 3}}
    template = {"name": "tick", "data": {"text": "žluť", "n": None}, "opts": opts}
    theirs = await node.queue("theirs", "upsertJobScheduler", "s", plan, template)
    how = {"cron" if name == "pattern" else name: value for name, value in plan.items()}
    async with Queue("ours", redis_settings) as queue:
        ours = await queue.schedule("s", template["data"], name="tick", **how, **opts)
    stored, other = await client.hgetall("bull:ours:repeat:s"), await client.hgetall("bull:theirs:repeat:s")
    # An interval begins at the moment of the call.
    moving = ("startDate", "offset") if "every" in plan else ()
    for hash_of in (stored, other):
        for field in moving:
            hash_of.pop(field, None)
        for field in ("data", "opts"):
            hash_of[field] = json.loads(hash_of[field])
    assert stored == other
    job = await client.hgetall(f"bull:ours:{ours.next_job_id}")
    their_job = await client.hgetall(f"bull:theirs:{theirs['id']}")
    assert set(job) == set(their_job)
    same = ("name", "priority", "rjk")
    assert [job[field] for field in same] == [their_job[field] for field in same]
    assert json.loads(job["data"]) == json.loads(their_job["data"])
    our_options, their_options = json.loads(job["opts"]), json.loads(their_job["opts"])
    assert set(our_options) == set(their_options)
    assert our_options["repeat"].keys() >= plan.keys()
    if "pattern" in plan:
        assert ours.next_job_id == theirs["id"]


@pytest.mark.parametrize(("first", "then"), [("node", "us"), ("us", "node")])
async def test_either_side_changes_and_removes_the_others_scheduler(
    node: NodeSide, redis_settings: ConnectionSettings, first: str, then: str
) -> None:
    async with Queue("q", redis_settings) as queue:

        async def upsert(side: str, pattern: str, n: int) -> None:
            if side == "us":
                await queue.schedule("s", {"n": n}, cron=pattern, tz="UTC")
            else:
                await node.queue("q", "upsertJobScheduler", "s", {"pattern": pattern, "tz": "UTC"}, {"data": {"n": n}})

        await upsert(first, "0 4 1 * *", 1)
        await upsert(then, "0 5 1 * *", 2)
        schedulers = await node.queue("q", "getJobSchedulers")
        stored = [(one["key"], one["pattern"], one["template"]["data"]) for one in schedulers]
        assert stored == [("s", "0 5 1 * *", {"n": 2})]
        (next_job,) = await node.queue("q", "getJobs", ["delayed", "waiting", "prioritized"])
        assert next_job["data"] == {"n": 2}, "the next job is made anew"
        if then == "us":
            assert await node.queue("q", "removeJobScheduler", "s") is True
            assert not await queue.unschedule("s")
        else:
            assert await queue.unschedule("s")
            assert await node.queue("q", "removeJobScheduler", "s") is False
        assert await node.queue("q", "getJobs", ["delayed", "waiting", "prioritized"]) == []


PATTERNS = [
    *("* * * * *", "*/15 * * * * *", "0 * * * *", "30 2 * * *", "0 3 * * *", "15 1,2,3 * * *", "0 0 1 * *"),
    *("0 12 * * 1-5", "0 0 29 2 *", "5 4 * * sun", "0 0 * * 0", "0 0 * * 7", "59 23 31 12 *", "0 */6 * * *"),
    *("10-50/20 8-18/5 * 1,7 *", "30 30 2 * * *", "0 0 L * *", "0 0 13 * 5", "0 0-23 * * *", "0 0 * * 5L"),
]
NAMES = ["@daily", "@hourly", "@minutely", "@weekdays", "@weekends", "@weekly", "@monthly", "@yearly", "@secondly"]
EVERY_HOUR = {"* * * * *", "*/15 * * * * *", "0 * * * *", "0 0-23 * * *"}
ZONES = [
    *("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Sydney", "Pacific/Chatham"),
    "Africa/Casablanca",
]
"""Not those that leap at midnight, where Node leaves the day out, or by half an hour, where it is half an hour late."""


def _moments(tz: str) -> list[int]:
    """Some days of 2026, and every 50 minutes from three hours before a change of the clocks to three after it."""
    zone, start = ZoneInfo(tz), datetime(2026, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=n) for n in range(365 * 24)]
    changes = [
        hour
        for hour in hours
        if (hour - timedelta(hours=1)).astimezone(zone).utcoffset() != hour.astimezone(zone).utcoffset()
    ]
    around = [change + timedelta(minutes=minutes) for change in changes for minutes in range(-185, 185, 50)]
    return [round(moment.timestamp() * 1000) for moment in [*hours[::2922], *around]]


async def test_both_sides_reckon_the_next_time_of_a_pattern_alike(node: NodeSide) -> None:
    """In many zones and around every change of their clocks, from before it, in it, and after it."""
    cases = [
        (pattern, tz, ms)
        for tz in ZONES
        for ms in _moments(tz)
        for pattern in PATTERNS
        # From within the second pass of an hour Node begins that hour anew; for us it was over with the first one.
        if pattern in EVERY_HOUR or not datetime.fromtimestamp(ms / 1000, ZoneInfo(tz)).fold
    ]
    cases += [(name, "UTC", ms) for ms in _moments("UTC") for name in NAMES]
    asked = [{"ms": ms, "repeat": {"pattern": pattern, "tz": tz}} for pattern, tz, ms in cases]
    theirs = await node.do("nextOfPattern", cases=asked, seconds=60)
    ours = [_next_by_us(pattern, tz, ms) for pattern, tz, ms in cases]
    wrong = [
        f"{pattern} {tz} after {_in(tz, ms)}: {_in(tz, us)}, not {_in(tz, they)}"
        for (pattern, tz, ms), us, they in zip(cases, ours, theirs, strict=True)
        if us != they
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong[:40])


def _next_by_us(pattern: str, tz: str, ms: int) -> int | str:
    try:
        return cron.next_ms(pattern, tz=ZoneInfo(tz), after_ms=ms)
    except ValueError as error:
        return str(error)


def _in(tz: str, ms: int | str | None) -> str:
    return datetime.fromtimestamp(ms / 1000, ZoneInfo(tz)).isoformat() if isinstance(ms, int) else str(ms)


def _due(job_id: str) -> int:
    return int(job_id.rpartition(":")[2])


def _even(due: Any, *, every: int = EVERY_MS) -> bool:
    """Whether times follow one another by whole intervals; the first one is the moment of the call."""
    gaps = [after - before for before, after in itertools.pairwise(sorted(due))]
    return all(gap > 0 for gap in gaps) and all(gap % every == 0 for gap in gaps[1:])


async def _nothing_is_left_to_do(node: NodeSide, queue: str) -> bool:
    counts = await node.queue(queue, "getJobCounts", "waiting", "active", "prioritized", "delayed")
    return sum(counts.values()) == 0
