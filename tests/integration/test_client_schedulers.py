"""Job schedulers: stored as BullMQ stores them, once, over bad links too, and listed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bullmq import Queue as BullQueue
from bullsteps import finish, take
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis

from queueworker import InvalidJobError, JobRefusedError, Queue, base
from queueworker.settings import ConnectionSettings


async def stored(client: Redis, base_key: str) -> dict[str, Any]:
    """Return the hashes of a scheduler `s` and of its job, the times left out that differ by the moment."""
    scheduler: dict[str, Any] = await client.hgetall(f"{base_key}repeat:s")
    [(_, next_ms)] = await client.zrange(f"{base_key}repeat", 0, -1, withscores=True)
    job: dict[str, Any] = await client.hgetall(f"{base_key}repeat:s:{int(next_ms)}")
    for one in (scheduler, job):
        one["opts"] = json.loads(one["opts"])
    assert job["opts"].pop("jobId") == f"repeat:s:{int(next_ms)}"
    assert abs(int(job.pop("timestamp")) - job["opts"].pop("timestamp")) < 20_000, "bullmq reads its clock twice"
    assert int(job.pop("delay")) == job["opts"].pop("delay")
    job["opts"].pop("prevMillis", None)
    scheduler.pop("offset", None)
    return {"scheduler": scheduler, "job": job}


@pytest.mark.parametrize(
    "plan",
    [
        {"every": 60_000, "limit": 4},
        {"every": 60_000, "startDate": 4_000_000_000_000 // 2, "endDate": 4_200_000_000_000 // 2},
        {"pattern": "0 8 * * 1", "tz": "Europe/Berlin", "limit": 3, "endDate": 2_100_000_000_000},
    ],
)
async def test_a_scheduler_is_stored_as_bullmq_stores_it(queue: Queue, client: Redis, plan: dict[str, Any]) -> None:
    ours = {{"pattern": "cron", "startDate": "start", "endDate": "end"}.get(key, key): one for key, one in plan.items()}
    options: dict[str, Any] = {
        **{"attempts": 2, "priority": 3, "backoff": {"type": "fixed", "delay": 5}},
        **{"removeOnComplete": {"count": 1}, "removeOnFail": {"age": 5}, "keepLogs": 4},
    }
    await queue.schedule("s", {"n": 1}, name="job", **ours, **options)
    await BullQueue("theirs", {"connection": client}).upsertJobScheduler("s", plan, "job", {"n": 1}, options)
    mine, theirs = await stored(client, "bull:q:"), await stored(client, "bull:theirs:")
    assert mine == theirs
    counts = [await client.zcard(f"bull:{name}:delayed") for name in ("q", "theirs")]
    assert counts[0] == counts[1]


async def test_the_same_call_again_changes_nothing(queue: Queue, client: Redis) -> None:
    for plan in ({"cron": "0 8 * * *", "tz": "UTC"}, {"every": 60_000}, {"every": 60_000, "offset": 7}):
        first = await queue.schedule("s", {"n": 1}, **plan)
        again = await queue.schedule("s", {"n": 2}, **plan)
        assert again == first
        jobs = [key for key in await client.keys("bull:q:repeat:s:*")]
        assert jobs == [f"bull:q:{first.next_job_id}"]
        assert json.loads(str(await client.hget(jobs[0], "data"))) == {"n": 2}, "its data is brought up to date"
        assert await queue.unschedule("s")
        assert not await queue.unschedule("s")
        await client.flushall()


async def test_schedulers_are_listed_with_all_that_is_known(queue: Queue, client: Redis) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    end = start + timedelta(days=30)
    await queue.schedule("cron", {"n": 1}, cron="0 8 * * *", tz="Europe/Berlin", start=start, end=end, attempts=5)
    await queue.schedule("every", every=60_000, start=start, limit=3, name="tick")
    await queue.schedule("shifted", every=3_600_000, offset=60_000)
    listed = {one.id: one for one in await queue.schedules()}
    assert [one.next_run_ms for one in await queue.schedules()] == sorted(one.next_run_ms for one in listed.values())
    cron, every, shifted = listed["cron"], listed["every"], listed["shifted"]
    assert (cron.name, cron.pattern, cron.tz, cron.every) == ("cron", "0 8 * * *", "Europe/Berlin", None)
    assert (cron.start_ms, cron.end_ms) == (start.timestamp() * 1000, end.timestamp() * 1000)
    assert cron.next_run > start
    assert (cron.next_run.minute, cron.iterations, cron.data) == (0, 1, {"n": 1})
    assert cron.options["attempts"] == 5
    assert (every.name, every.every, every.limit, every.next_run) == ("tick", 60_000, 3, start)
    assert (shifted.offset, shifted.next_run_ms % 3_600_000) == (60_000, 60_000)
    assert await queue.get_schedule("cron") == cron
    assert await queue.get_schedule("nobody") is None
    # What BullMQ before 5 left behind.
    await client.zadd("bull:q:repeat", {"old::::0 1 * * *": 5})
    assert (await queue.schedules())[0].id == "old::::0 1 * * *"


async def test_nothing_is_stored_of_a_scheduler_that_is_refused(queue: Queue, client: Redis) -> None:
    for plan in (
        {"every": 0},
        {"cron": "0 8 * * *"},
        {"every": 5, "end": 1},
        {"every": 5, "delay": 5},
        {"every": 5, "data": float("nan")},
    ):
        with pytest.raises(InvalidJobError):
            await queue.schedule("s", **plan)
    assert await client.keys("*") == []


async def test_a_scheduler_is_there_once_over_a_lossy_link(
    redis_settings: ConnectionSettings, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_BACKOFF_SECONDS", 0.001)
    async with FaultProxy(redis_settings.host or "", redis_settings.port) as proxy:
        settings = ConnectionSettings(host=proxy.host, port=proxy.port)
        async with Queue("q", settings) as queue:
            # Unevenly: tries that take as many requests each must not meet a loss each time.
            proxy.script = [*[Mode.PASS] * 2, Mode.DROP_REPLY, *[Mode.PASS] * 5, Mode.DROP_REPLY] * 500
            for n in range(60):
                await queue.schedule(f"every-{n}", every=60_000)
                await queue.schedule(f"cron-{n}", cron="0 8 * * *", tz="UTC")
                at_once = await queue.schedule(f"now-{n}", cron="0 8 * * *", tz="UTC", immediately=True)
                assert at_once.next_run_ms <= queue._now_ms()
            assert len(await queue.schedules()) == 180
            jobs = [key for key in await client.keys("bull:q:repeat:*:*")]
            assert len(jobs) == 180, "one job of each"
            assert [await queue.unschedule(f"every-{n}") for n in range(60)] == [True] * 60
            assert proxy.connections > 60, f"the link was hardly bad: {proxy.connections} connections"


async def test_a_scheduler_that_collided_with_itself_is_stored(queue: Queue, client: Redis) -> None:
    """The answer was lost, and a worker has taken the job that was due at once before the request is repeated."""
    queue._now_ms = lambda: 1_900_000_000_000
    first = await queue.schedule("s", cron="0 8 * * *", tz="UTC", immediately=True)
    assert await client.zcard("bull:q:prioritized") == 1
    assert await take(client, "q") == first.next_job_id
    assert await queue.schedule("s", cron="0 8 * * *", tz="UTC", immediately=True) == first
    await finish(client, "q", first.next_job_id)
    assert await queue.unschedule("s")
    with pytest.raises(JobRefusedError, match=r"scheduler s was not stored: a job repeat:s:\d+ is there already"):
        await queue.schedule("s", cron="0 8 * * *", tz="UTC", immediately=True)
