"""Wake-ups in virtual time: at once after silence, gathered afterwards, with few calls and whatever the server does."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
import virtual_time
from hypothesis import given, settings
from hypothesis import strategies as st
from queues_world import Bench, FakeServer, clock

from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.queues import Pace
from queueworker_operator.queues.budget import AHEAD_SECONDS

pytestmark = pytest.mark.usefixtures("no_logs")


def most_in_a_second(times: list[float]) -> int:
    return max(sum(at <= other < at + 1 - 1e-9 for other in times) for at in times)


async def settled(bench: Bench, *names: str) -> float:
    """Subscribe, and let everything come to rest."""
    bench.subscribe(*names)
    await asyncio.sleep(20)
    bench.server.reads.clear()
    bench.wakes.clear()
    return clock()


def test_the_first_event_of_a_quiet_queue_is_served_at_once_and_dated() -> None:
    async def main() -> None:
        bench = Bench()
        began = await settled(bench, "a", "b")
        bench.server.event("a", waiting=1)
        await asyncio.sleep(0.04)
        assert bench.woken("a")[0] - began < 0.004
        assert bench.reading("a").snapshot.waiting == 1
        assert bench.reading("a").event_at == pytest.approx(began + 0.001)
        assert bench.woken("b") == bench.server.times("b") == []
        await bench.queues.close()

    virtual_time.run(main())


def test_a_burst_under_way_shows_what_was_told_last_unless_the_queue_is_asked_for() -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "a")
        shown = []
        for number in range(40):
            bench.server.event("a", waiting=number + 1)
            await asyncio.sleep(0.005)
            shown.append(bench.reading("a").snapshot.waiting)
        reads = len(bench.server.reads)
        assert reads > 2
        assert set(shown) == {1}, "who looks for another reason would write the number that was added so far"
        assert len(bench.woken("a")) == 1
        assert await bench.queues.refresh("a")
        assert bench.reading("a").snapshot.waiting == 40
        await bench.queues.close()

    virtual_time.run(main())


def test_what_is_kept_back_is_shown_where_the_next_read_is_late() -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "a")
        for number in range(20):
            bench.server.event("a", waiting=number + 1)
            await asyncio.sleep(0.005)
        assert bench.reading("a").snapshot.waiting == 1
        bench.server.hangs = True
        await asyncio.sleep(0.3)
        seen = bench.reading("a")
        assert seen.problem is None
        assert seen.snapshot.waiting > 1
        await bench.queues.close()

    virtual_time.run(main())


def test_an_event_during_a_read_is_gathered_for_by_the_next_one() -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "a")
        bench.server.answers_early, bench.server.seconds = True, 0.03
        read = asyncio.create_task(bench.queues.refresh("a"))
        await asyncio.sleep(0.001)
        bench.server.seconds = 0.001
        began = clock()
        for number in range(40):
            bench.server.event("a", waiting=number + 1)
            await asyncio.sleep(0.005)
        ended = clock()
        assert await read
        await asyncio.sleep(0.07)
        assert bench.reading("a").snapshot.waiting == 40
        first, *_, last = bench.woken("a")
        assert first - began < 0.04, "as soon as that read is over"
        assert last - ended < 0.06
        assert bench.reading("a").event_at >= began
        await bench.queues.close()

    virtual_time.run(main())


def test_a_pause_of_the_producer_costs_what_follows_no_more_than_twice_a_silence() -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "a")
        for number in range(3):
            bench.server.event("a", waiting=number + 1)
            await asyncio.sleep(0.13)
            assert bench.reading("a").snapshot.waiting == number + 1, "told by the time of the next"
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize("every", [0.055, 0.06, 0.08, 0.11, 0.2])
def test_a_producer_that_pauses_again_and_again_is_read_and_told_of_seldom(every: float) -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "a")
        for number in range(round(1 / every)):
            bench.server.event("a", waiting=number + 1)
            await asyncio.sleep(every)
        assert len(bench.server.reads) <= 14
        assert len(bench.woken("a")) <= 6
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("events", "every", "wakes", "reads"), [(1, 0.0, 1, 2), (20, 0.005, 2, 6), (200, 0.005, 6, 30)]
)
def test_what_follows_is_gathered_until_the_stream_is_silent(events: int, every: float, wakes: int, reads: int) -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "a")
        for number in range(events):
            bench.server.event("a", waiting=number + 1)
            await asyncio.sleep(every)
        ended = clock()
        await asyncio.sleep(0.09)
        assert bench.reading("a").snapshot.waiting == events
        times = bench.woken("a")
        assert len(times) <= wakes
        if events > 1:
            assert ended <= times[-1] <= ended + 0.07, "50 ms of silence and a read"
            assert min(later - earlier for earlier, later in itertools.pairwise(times)) > 0.05
        assert max(later - earlier for earlier, later in itertools.pairwise([*times, ended])) < 0.27
        assert len(bench.server.reads) <= reads
        await bench.queues.close()

    virtual_time.run(main())


def test_a_stream_that_spoke_is_left_alone_until_its_queue_is_quiet_again() -> None:
    async def main() -> None:
        bench = Bench()
        began = await settled(bench, "a", "b")
        bench.server.event("a", waiting=1)
        for _ in range(200):
            await asyncio.sleep(0.1)
            bench.server.event("a", waiting=1)
        # The last wait for it may have begun together with the first event.
        assert not [call for call in bench.server.waits if call.at > began + 0.1 and "a" in call.queues]
        assert len([at for at in bench.server.times("a") if at > began + 2]) <= 19, "polled like every busy queue"
        bench.server.set("a")
        await asyncio.sleep(1.5)
        assert "a" in {name for call in bench.server.waits if call.until is None for name in call.queues}
        bench.wakes.clear()
        again = clock()
        bench.server.event("a", waiting=9)
        await asyncio.sleep(0.01)
        assert [round(at - again, 3) for at in bench.woken("a")] == [0.002]
        await bench.queues.close()

    virtual_time.run(main())


def test_an_event_between_the_snapshot_and_the_wait_is_not_missed() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(seconds=0.05))
        bench.subscribe("a")
        # The fake answers with what the queue held at the end of the read; the next call begins right after.
        await asyncio.sleep(0.05)
        bench.server.event("a", waiting=1)
        await asyncio.sleep(0.25)
        assert bench.reading("a").snapshot.waiting == 1
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize(("queues", "longest"), [(3, 0.1), (600, 0.2), (1400, 0.5), (2600, 1.4)])
def test_any_number_of_queues_is_heard_on_three_connections_by_at_most_ten_calls_a_second(
    queues: int, longest: float
) -> None:
    async def main() -> None:
        bench = Bench()
        names = [f"q{number}" for number in range(queues)]
        bench.subscribe(*names)
        await asyncio.sleep(20)
        chance = random.Random(queues)
        lags = []
        for name in chance.sample(names, k=min(8, queues)):
            bench.wakes.clear()
            at = clock()
            bench.server.event(name, waiting=1)
            await asyncio.sleep(2.0)
            lags.append(bench.woken(name)[0] - at)
        assert max(lags) < longest
        assert bench.server.most_waiting <= 3
        assert max(len(call.queues) for call in bench.server.waits) <= 500
        assert most_in_a_second([call.at for call in bench.server.waits]) <= 10
        await bench.queues.close()

    virtual_time.run(main())


def test_at_rest_few_long_calls_wait() -> None:
    async def main() -> None:
        bench = Bench()
        began = await settled(bench, *(f"q{number}" for number in range(900)))
        await asyncio.sleep(60)
        assert len([call for call in bench.server.waits if call.at > began]) <= 2 * 6 + 6
        await bench.queues.close()

    virtual_time.run(main())


@pytest.mark.parametrize("sizes", [(400, 350, 250), (300, 300, 300), (334, 333, 333), (499, 1, 500)])
def test_groups_that_do_not_fit_together_are_filled_up_all_the_same(sizes: tuple[int, ...]) -> None:
    """Three groups would hold all connections, and wait with short calls for ever."""

    async def main() -> None:
        bench = Bench()
        for turn, size in enumerate(sizes):
            bench.subscribe(*(f"q{turn}-{number}" for number in range(size)))
            await asyncio.sleep(3)
        await asyncio.sleep(60)
        began = clock()
        await asyncio.sleep(60)
        calls = [call for call in bench.server.waits if call.at > began]
        assert len(calls) <= 2 * 6 + 6
        bench.server.event("q0-0", waiting=1)
        await asyncio.sleep(0.1)
        assert len(bench.woken("q0-0")) > 0
        await bench.queues.close()

    virtual_time.run(main())


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.005, 0.5))
def test_queues_that_flap_are_all_heard_within_a_second_and_cost_no_more_calls(
    seed: int, queues: int, every: float
) -> None:
    async def main() -> None:
        bench = Bench(seed=seed)
        names = [f"q{number}" for number in range(queues)]
        await settled(bench, *names)
        chance = random.Random(seed)
        began = clock()
        for _ in range(60):
            name = chance.choice(names)
            bench.server.event(name, waiting=chance.choice([0, 0, 1]))
            await asyncio.sleep(chance.random() * 2 * every)
        last = {name: bench.server.snapshot_of(name).waiting for name in names}
        await asyncio.sleep(1.3)
        assert {name: bench.reading(name).snapshot.waiting for name in names} == last
        assert bench.server.most_waiting <= 3
        assert most_in_a_second([call.at for call in bench.server.waits if call.at >= began] or [began]) <= 10
        await bench.queues.close()

    virtual_time.run(main())


def test_twelve_hundred_queues_with_an_event_each_are_all_found_within_two_seconds() -> None:
    async def main() -> None:
        server = FakeServer(seconds=0.01)
        bench = Bench(redis=server)
        names = [f"q{number}" for number in range(1200)]
        began = await settled(bench, *names)
        for name in names:
            server.event(name, waiting=1)
        await asyncio.sleep(2)
        assert all(bench.reading(name).snapshot.waiting == 1 for name in names)
        assert max(at for at, _ in bench.wakes) - began < 2
        await bench.queues.close()

    virtual_time.run(main())


def test_where_xread_is_denied_queues_are_polled_and_the_server_is_asked_again_in_five_minutes() -> None:
    async def main() -> None:
        bench = Bench(redis=FakeServer(wait_error=RedisReadError("no", reason="RedisDenied")))
        bench.subscribe("a", "b")
        await asyncio.sleep(100)
        assert len(bench.server.waits) == 1
        assert bench.reading("a").problem is None
        times = bench.server.times("a")[2:]
        assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 5.3
        bench.server.wait_error = None
        await asyncio.sleep(215)
        bench.server.event("a", waiting=1)
        await asyncio.sleep(0.01)
        assert bench.reading("a").snapshot.waiting == 1
        await bench.queues.close()

    virtual_time.run(main())


def test_a_stream_of_the_wrong_type_is_found_by_reading_and_keeps_no_other_from_being_waited_for() -> None:
    async def main() -> None:
        bench = Bench()
        await settled(bench, "bad", "good")
        wrong = RedisReadError("bull:bad:events is no stream", reason="InvalidQueueKey")
        bench.server.wrong_streams.add("bad")
        bench.server.errors["bad"] = wrong
        bench.server.event("good")
        await asyncio.sleep(3)
        assert bench.reading("bad").problem.reason is ConditionReason.INVALID_QUEUE_KEY
        assert bench.reading("good").problem is None
        at = clock()
        bench.server.event("good", waiting=1)
        await asyncio.sleep(0.01)
        assert bench.reading("good").event_at == pytest.approx(at + 0.001)
        await bench.queues.close()

    virtual_time.run(main())


def test_a_wait_that_fails_makes_the_server_be_looked_at_and_comes_back_by_itself() -> None:
    async def main() -> None:
        bench = Bench()
        began = await settled(bench, "a", "b")
        bench.server.wait_error = RedisReadError("reset")
        bench.server.event("a")
        await asyncio.sleep(20)
        assert bench.server.reads[0].at - began < 0.6
        assert bench.reading("a").problem is None
        failed = [call.at for call in bench.server.waits if call.at > began]
        assert len(failed) <= 6, "pauses that double"
        bench.server.wait_error = None
        await asyncio.sleep(31)
        bench.server.event("b", waiting=1)
        await asyncio.sleep(0.01)
        assert bench.reading("b").snapshot.waiting == 1
        await bench.queues.close()

    virtual_time.run(main())


def test_a_stream_made_anew_with_smaller_ids_is_repaired_by_the_next_safety_poll() -> None:
    async def main() -> None:
        bench = Bench()
        bench.server.event("a", waiting=0)
        await settled(bench, "a")
        bench.server.event("a", waiting=0)
        await asyncio.sleep(1)
        bench.server.forget_events("a", back_ms=3_600_000)
        bench.server.event("a", waiting=2)
        await asyncio.sleep(31)
        assert bench.reading("a").snapshot.waiting == 2
        bench.server.set("a")
        await asyncio.sleep(2)
        bench.server.event("a", waiting=7)
        await asyncio.sleep(0.5)
        assert bench.reading("a").snapshot.waiting == 7
        await bench.queues.close()

    virtual_time.run(main())


def test_a_delayed_job_is_read_when_it_comes_within_the_horizon_and_when_it_falls_due() -> None:
    async def main() -> None:
        bench = Bench()
        due = clock() + 200
        bench.server.set("a", delayed=1, next_delayed_ms=round(bench.server.now_ms() + 200_000))
        bench.subscribe("a", horizon_seconds=32)
        await asyncio.sleep(210)
        times = bench.server.times("a")
        for ahead in (32, 16, 8, 0):
            assert any(due - ahead <= at < due - ahead + 0.3 for at in times), f"{ahead} s before"
        assert len(times) <= 14
        await bench.queues.close()

    virtual_time.run(main())


def test_wakes_do_not_spend_more_than_the_budget_and_polls_go_on_beside_them() -> None:
    async def main() -> None:
        server = FakeServer(seconds=0.01, seconds_per_queue=500e-6)
        bench = Bench(redis=server, pace=Pace(details=1e6))
        server.set("busy", waiting=1)
        names = [f"q{number}" for number in range(300)]
        await settled(bench, "busy", *names)
        for _ in range(120):
            await asyncio.sleep(0.5)
            for name in names:
                server.event(name)
        spent = sum(len(call.queues) for call in server.reads) * 500e-6
        assert spent <= 0.02 * (60 + AHEAD_SECONDS) + 250 * 500e-6
        assert len(server.times("busy")) >= 6
        await bench.queues.close()

    virtual_time.run(main())
