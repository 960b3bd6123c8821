"""When the reader of one Redis reads which queue, and whom it wakes; in virtual time."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import virtual_time
from hypothesis import given, settings
from hypothesis import strategies as st
from queues_world import BUSY, REDIS, Bench, FakeServer, clock, gaps, keys

from queueworker.settings import ConnectionSettings
from queueworker_operator.queues import Pace
from queueworker_operator.queues.budget import COUNTS_SECONDS

pytestmark = pytest.mark.usefixtures("no_logs")


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abcd"), st.integers(0, 2)), max_size=12),
    st.integers(0, 1000),
)
def test_without_events_no_queue_is_ever_read_more_often_than_its_interval(
    changes: list[tuple[float, str, int]], seed: int
) -> None:
    async def main() -> None:
        bench = Bench(seed=seed, redis=FakeServer(can_wait=False))
        bench.subscribe(*"abcd")
        for pause, queue, waiting in changes:
            bench.server.set(queue, waiting=waiting)
            await asyncio.sleep(pause)
        await asyncio.sleep(20)
        for queue in "abcd":
            # The second read is where the queue's place between the others is drawn.
            found = gaps(bench.server.times(queue)[1:])
            assert min(found) > 0.999
            assert max(found) < 5.3
        await bench.queues.close()

    virtual_time.run(main())


def test_a_quiet_queue_is_read_every_30_s_and_one_without_events_every_5() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(), mute=FakeServer(can_wait=False))
        bench.subscribe("a")
        bench.subscribe("b", host="mute")
        await asyncio.sleep(130)
        assert 29 < min(gaps(bench.server.times("a")[1:])) <= max(gaps(bench.server.times("a"))) < 31
        assert (
            4.9 < min(gaps(bench.servers["mute"].times("b")[1:])) <= max(gaps(bench.servers["mute"].times("b"))) < 5.3
        )
        await bench.queues.close()

    virtual_time.run(main())


def test_a_quiet_queue_is_read_within_a_second_or_so_where_a_second_reading_is_asked_for() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(40)
        asked_at, read = clock(), len(bench.server.times("a"))
        bench.queues.wake_after_next_read("a")
        await asyncio.sleep(1.3)
        assert len(bench.server.times("a")) == read + 1
        assert bench.server.times("a")[-1] - asked_at >= 0.99
        await bench.queues.close()

    virtual_time.run(main())


def test_queues_made_together_are_spread_over_the_interval_and_read_in_batches() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(seconds_per_queue=1e-6))
        for number in range(1000):
            bench.server.set(f"q{number}", **BUSY)
        bench.subscribe(*(f"q{number}" for number in range(1000)))
        await asyncio.sleep(10)
        late = [call for call in bench.server.reads if call.at > 1003]
        assert len(late) <= 7 * 5, "a grid of a quarter of a second"
        assert max(len(call.queues) for call in bench.server.reads) <= 250
        assert all(len(bench.server.times(f"q{number}")) >= 7 for number in range(1000))
        await bench.queues.close()

    virtual_time.run(main())


def test_other_settings_are_another_reader_and_the_old_one_ends() -> None:
    async def main() -> None:
        bench = Bench()
        bench.subscribe("a")
        await asyncio.sleep(1)
        bench.queues.subscribe("a", ConnectionSettings(host="redis", username="new"), (keys("a"),))
        assert not bench.reading("a").tried
        await asyncio.sleep(1)
        assert (bench.server.opened, bench.server.closed) == (2, 1)
        assert bench.reading("a").tried
        bench.queues.unsubscribe("a")
        await asyncio.sleep(0.1)
        assert bench.server.closed == 2
        assert bench.queues.readings("a") == ()
        bench.queues.wake_after_next_read("a")
        assert not await bench.queues.refresh("a")
        await bench.queues.close()

    virtual_time.run(main())


def test_other_queues_of_the_same_server_are_read_by_the_same_reader() -> None:
    async def main() -> None:
        bench = Bench()
        bench.queues.subscribe("k", REDIS, (keys("a"), keys("b")))
        await asyncio.sleep(1)
        before = bench.reading("k").read_at
        bench.queues.subscribe("k", REDIS, (keys("b"), keys("c")))
        assert bench.reading("k").read_at == before
        bench.queues.subscribe("k", REDIS, (keys("d"),))
        await asyncio.sleep(1)
        assert bench.reading("k").problem is None
        assert (bench.server.opened, bench.server.closed) == (1, 0)
        assert bench.discarded == [("redis", name) for name in "abc"]
        reads = len(bench.server.times("a"))
        await asyncio.sleep(60)
        assert len(bench.server.times("a")) == reads
        await bench.queues.close()

    virtual_time.run(main())


def test_a_queue_is_read_as_far_ahead_as_the_furthest_of_its_subscribers_asks() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.set("a", **BUSY)
        bench.server.set("b", **BUSY)
        bench.queues.subscribe("near", REDIS, (keys("a"), keys("b")), horizon_seconds=10)
        bench.queues.subscribe("far", REDIS, (keys("a"),), horizon_seconds=60)

        async def horizons() -> list[int]:
            await asyncio.sleep(2.5)
            return [bench.queues.readings("near")[at].snapshot.horizon_ms for at in (0, 1)]

        assert await horizons() == [60_000, 10_000]
        bench.queues.subscribe("far", REDIS, (keys("a"),), horizon_seconds=20)
        assert await horizons() == [20_000, 10_000]
        bench.queues.unsubscribe("far")
        assert await horizons() == [10_000, 10_000]
        assert bench.server.opened == 1
        assert bench.discarded == [], "the other key reads it still"
        await bench.queues.close()

    virtual_time.run(main())


def test_numbers_that_decide_wake_at_once_and_mere_progress_every_five_seconds() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.set("a", **BUSY)
        bench.queues.subscribe("k", REDIS, (keys("a"), keys("b")))
        await asyncio.sleep(3)
        settled = len(bench.wakes)
        for second in range(20):
            bench.server.set("a", **BUSY, completed=second, completed_count=second)
            await asyncio.sleep(1)
        assert 3 <= len(bench.wakes) - settled <= 4
        settled = len(bench.wakes)
        for second in range(20):
            bench.server.set("a", waiting=4 + second)
            await asyncio.sleep(1)
        assert 19 <= len(bench.wakes) - settled <= 20
        await bench.queues.close()

    virtual_time.run(main())


def test_a_key_is_woken_once_for_a_read_of_all_its_queues() -> None:
    async def main() -> None:
        bench = Bench()
        bench.queues.subscribe("k", REDIS, tuple(keys(name) for name in "abcdef"))
        await asyncio.sleep(0.5)
        assert len(bench.wakes) == 1
        await bench.queues.close()

    virtual_time.run(main())


def test_those_who_serve_the_same_queue_know_each_other_whatever_user_reads_it() -> None:
    async def main() -> None:
        bench = Bench()
        other = ConnectionSettings(host="redis", username="other")
        bench.queues.subscribe("one", REDIS, (keys("a"), keys("b")))
        bench.queues.subscribe("two", other, (keys("b"), keys("c")))
        bench.queues.subscribe("three", ConnectionSettings(host="redis", db=1), (keys("b"),))
        assert bench.wakes == [(1000.0, "one")]
        assert bench.queues.sharers("one", keys("b")) == ("two",)
        assert bench.queues.sharers("two", keys("b")) == ("one",)
        assert bench.queues.sharers("one", keys("a")) == bench.queues.sharers("three", keys("b")) == ()
        bench.queues.unsubscribe("two")
        assert bench.queues.sharers("one", keys("b")) == ()
        assert bench.queues.sharers("two", keys("b")) == ()
        assert len(bench.wakes) == 2, "who is alone again is told"
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("seconds_per_queue", "queues", "expected"), [(100e-6, 200, 1.0), (300e-6, 200, 3.0), (None, 500, 1.5)]
)
def test_reads_of_busy_queues_take_at_most_two_percent_of_the_servers_time(
    seconds_per_queue: float | None, queues: int, expected: float
) -> None:
    async def main() -> None:
        server = FakeServer(seconds=0.05, seconds_per_queue=seconds_per_queue)
        bench = Bench(redis=server, pace=Pace(details=1e6))
        names = [f"q{number}" for number in range(queues)]
        for name in names:
            server.set(name, **BUSY)
        bench.subscribe(*names)
        await asyncio.sleep(60)
        server.reads.clear()
        await asyncio.sleep(30)
        read = sum(len(call.queues) for call in server.reads)
        assert read * (seconds_per_queue or COUNTS_SECONDS) / 30 <= 0.0205
        assert read >= queues * 30 / expected * 0.9
        assert max(itertools.chain(*(gaps(server.times(name)) for name in names))) < expected + 1
        await bench.queues.close()

    virtual_time.run(main())
