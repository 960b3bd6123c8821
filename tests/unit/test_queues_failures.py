"""Servers that hang, fail or refuse, and whom it concerns; in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest
import virtual_time
from queues_world import BUSY, Bench, FakeReader, FakeServer, clock, gaps, keys

from queueworker.errors import RedisReadError, SettingsError
from queueworker.keys import QueueKeys
from queueworker.settings import ClusterSettings, ConnectionSettings, Node
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues.connection import Connection
from queueworker_operator.queues.door import Door

pytestmark = pytest.mark.usefixtures("no_logs")


def test_a_hung_read_ends_at_the_deadline_and_the_client_is_made_anew() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(1)
        bench.server.hangs = True
        bench.server.event("a", **BUSY)
        await asyncio.sleep(4.5)
        assert bench.reading("a").failures == 1
        assert "within 2 s" in bench.reading("a").problem.message
        bench.server.hangs = False
        await asyncio.sleep(7)
        assert (bench.server.opened, bench.server.closed) == (3, 2)
        assert bench.reading("a").problem is None
        await bench.queues.close()
        assert bench.server.closed == 3

    virtual_time.run(main())


class HaltingReader(FakeReader):
    """Waits for a node that hangs until its deadline, and has an answer for the other queue."""

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int | Mapping[QueueKeys, int], deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), deadline_seconds)
        hung, other = queues
        return {hung: RedisReadError("the node hangs"), other: FakeServer().snapshot(other, 0)}


async def test_a_process_that_is_held_up_over_the_deadline_keeps_what_the_reader_has() -> None:
    connection = Connection(
        ConnectionSettings(host="redis"), open_reader=lambda _: HaltingReader(FakeServer()), deadline=0.05, door=Door()
    )
    asyncio.get_running_loop().call_later(0.04, time.sleep, 0.5)
    found = await connection.read({keys("hung"): 0, keys("other"): 0})
    assert str(found[keys("hung")]) == "the node hangs"
    assert isinstance(found[keys("other")], QueueSnapshot)
    await connection.close()


def test_a_hanging_server_delays_no_other_and_holds_no_place_at_the_door() -> None:
    async def main() -> None:
        servers = {f"bad{number}": FakeServer(hangs=True) for number in range(100)}
        bench = Bench(**servers, redis=FakeServer())
        for host in servers:
            bench.subscribe(host, host=host)
        bench.subscribe("a")
        await asyncio.sleep(0.7)
        assert bench.reading("a").problem is None
        bench.server.set("a", **BUSY)
        bench.queues.wake_after_next_read("a")
        await asyncio.sleep(40)
        assert max(gaps([at for at in bench.server.times("a") if at > 1031])) < 1.3
        await bench.queues.close()

    virtual_time.run(main())


def test_so_many_servers_are_connected_to_at_the_same_moment_and_no_more() -> None:
    async def main() -> None:
        servers = {f"s{number}": FakeServer(seconds=0.1) for number in range(200)}
        bench = Bench(**servers)
        for host in servers:
            bench.subscribe(host, host=host)
        most = 0
        for _ in range(100):
            await asyncio.sleep(0.01)
            most = max(most, sum(servers[host].running for host in servers if bench.reading(host).problem is not None))
        assert most == 32
        assert all(bench.reading(host).problem is None for host in servers)
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("what"), ConditionReason.REDIS_UNREACHABLE),
        (SettingsError("TLS: the CA file x cannot be used"), ConditionReason.REDIS_TLS_ERROR),
        (RedisReadError("no", reason="SomethingNew"), ConditionReason.REDIS_UNREACHABLE),
        (RedisReadError("no", reason="InvalidQueueKey"), ConditionReason.INVALID_QUEUE_KEY),
    ],
)
def test_whatever_a_read_raises_is_a_problem_and_the_reader_goes_on(error: Exception, reason: ConditionReason) -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(error=error))
        bench.subscribe("a")
        await asyncio.sleep(30)
        assert bench.reading("a").problem.reason is reason
        assert bench.reading("a").failures == len(bench.server.reads) > 5
        assert len(bench.wakes) == 2, "the first failure, and the one that makes it unreachable"
        bench.server.error = None
        await asyncio.sleep(7)
        assert bench.reading("a").problem is None
        await bench.queues.close()

    virtual_time.run(main())


def test_while_a_server_is_down_one_read_tries_it_with_growing_pauses_and_all_its_queues_are_unknown() -> None:
    async def main() -> None:
        bench = Bench()
        names = [f"q{number}" for number in range(600)]
        bench.subscribe(*names)
        await asyncio.sleep(60)
        bench.server.error = RedisReadError("refused")
        down = clock()
        await asyncio.sleep(60)
        tries = [call for call in bench.server.reads if call.at > down]
        assert all(bench.reading(name).failures == bench.reading("q0").failures >= 3 for name in names)
        assert len(tries) <= 3 + 60 / 4
        pauses = gaps([call.at for call in tries])[-8:]
        assert 3.9 < min(pauses) <= max(pauses) < 6.1
        assert len(set(pauses)) > 1, "no jitter"
        wakes = [at for at in bench.woken("q7") if at > down]
        assert len(wakes) == 2
        bench.server.error = None
        await asyncio.sleep(6.5)
        assert all(bench.reading(name).problem is None for name in names)
        assert len([at for at in bench.woken("q7") if at > down]) == 3
        await bench.queues.close()

    virtual_time.run(main())


def test_one_queue_that_cannot_be_read_takes_no_other_with_it() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.errors["bad"] = RedisReadError("odd")
        bench.subscribe("bad", "good")
        await asyncio.sleep(40)
        assert bench.reading("bad").failures > 5
        assert (bench.reading("good").failures, bench.reading("good").problem) == (0, None)
        assert bench.server.opened == 1
        bench.server.event("good", **BUSY)
        await asyncio.sleep(0.1)
        assert bench.reading("good").snapshot.waiting == 3
        await bench.queues.close()

    virtual_time.run(main())


def test_a_reader_ends_also_where_a_read_swallows_the_cancel() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(seconds=1.0, swallows_cancel=True))
        bench.subscribe("a")
        await asyncio.sleep(0.5)
        async with asyncio.timeout(1):
            await bench.queues.close()
        assert bench.server.closed == 1

    virtual_time.run(main())


def test_on_a_cluster_the_queues_of_a_node_that_fails_take_no_other_with_them() -> None:
    async def main() -> None:
        cluster = ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host="redis"),)))
        server = FakeServer(can_wait=False)
        bench = Bench(**{"": server})
        lost = RedisReadError("refused")
        server.errors = {"a": lost, "b": lost}
        for name in "abc":
            bench.queues.subscribe(name, cluster, (keys(name),))
        await asyncio.sleep(30)
        assert bench.reading("a").failures == bench.reading("b").failures > 5
        assert bench.reading("c").problem is None
        assert max(gaps(server.times("c"))) < 5.3
        assert server.waits == []
        server.errors.clear()
        await asyncio.sleep(6)
        assert all(bench.reading(name).problem is None for name in "abc")
        await bench.queues.close()

    virtual_time.run(main())
