"""The decision on loads of the field, each with its numbers."""

from dataclasses import replace

import pytest
from scaling_world import (
    CONFIRMED,
    NOON,
    Plant,
    Ticker,
    details,
    job,
    pod,
    queue,
    seen,
    spec,
    unreadable,
    workers,
)

from queueworker.details import FinishedJob
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling import demand
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import QueueObservation


def votes(decision: Decision) -> dict[str, int]:
    return {vote.rule: vote.replicas for vote in decision.votes}


def moves(ticker: Ticker) -> list[tuple[int, int]]:
    return [(before, after) for _, before, after in ticker.writes]


def test_an_empty_queue_is_scaled_to_zero_for_that_reason_however_fast_jobs_came_before():
    """Jobs that came in the last minute ask for pods, and no slot would find one: nothing is left to do."""
    ticker = Ticker(spec=spec(max_replicas=10, window=0, cooldown_seconds=5, target=100), replicas=5)
    for second in range(30):
        ticker.tick(queue(waiting=200, active=50, completed_count=500 * second, failed_count=0))
    decision = ticker.run(queue(completed_count=500 * 30, failed_count=0), seconds=20)
    assert (decision.desired, decision.reason) == (0, Reason.SCALED_TO_ZERO)


@pytest.mark.parametrize("number", [5e-324, 1e-15, 1e-9, 0.5])
def test_any_demand_is_one_pod_at_the_least(number: float):
    """One job of 2 ms that may wait a day is a billionth of a pod, and is done by none if there is none."""
    assert demand.ceil(number) == 1
    assert demand.ceil(0.0) == 0
    assert demand.ceil(3.0000000001) == 3


def test_trickle_load_keeps_its_one_pod():
    """A job of 50 ms every ten seconds: no look sees it run, and yet it is no idle queue."""
    ticker = Ticker(spec(cooldown_seconds=60, expected_ms=50))
    Plant(ticker, job_ms=100, start_ms=1000).run(1800, per_second=0.1)
    assert moves(ticker) == [(0, 1)]


def falling_due() -> QueueObservation:
    """50 jobs a second fall due within the next minute."""
    due = {"delayed_due_quarter": 750, "delayed_due_half": 1500, "delayed_due_soon": 3000}
    return queue(delayed=3000, horizon_ms=60_000, next_delayed_ms=int(NOON * 1000) + 20, **due)


def test_fifty_jobs_a_second_falling_due_need_two_from_zero():
    decision = decide(seen(falling_due()), spec(expected_ms=100), CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (2, Reason.LOOK_AHEAD)


def test_fifty_jobs_a_second_falling_due_need_one_with_one_pod_ready():
    decision = decide(seen(falling_due(), replicas=1), spec(expected_ms=100), CONFIRMED, NOON)
    assert (decision.desired, votes(decision)["lookAhead"]) == (1, 1)


@pytest.mark.parametrize(("quarter", "half"), [(4500, 4500), (0, 6000)])
def test_a_crowd_that_falls_due_early_does_not_wait_for_the_end_of_the_horizon(quarter: int, half: int):
    """By the end of the minute one pod would have done them all, and most of them too late."""
    due = {"delayed_due_quarter": quarter, "delayed_due_half": half, "delayed_due_soon": half}
    look = seen(queue(delayed=half, horizon_ms=60_000, **due), replicas=1)
    decision = decide(look, spec(expected_ms=100), CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (2, Reason.LOOK_AHEAD)


def arriving(seconds: int, *, replicas: int, added_per_second: int = 100) -> Ticker:
    """100 jobs a second of half a second each, nothing waiting."""
    ticker = Ticker(spec(expected_ms=500), replicas=replicas, history=CONFIRMED)
    for second in range(seconds):
        counted = {"completed_count": 10_000 + 100 * second, "failed_count": 0}
        ticker.tick(queue(active=50, added_count=second * added_per_second, **counted))
    return ticker


def test_a_hundred_jobs_a_second_of_half_a_second_keep_seven():
    assert arriving(300, replicas=7).writes == []
    ticker = arriving(300, replicas=12)
    assert (ticker.replicas, ticker.decisions[-1].reason) == (7, Reason.KEEP_UP)


def test_ninety_percent_duplicates_do_not_shrink_the_fleet_nor_blow_it_up():
    """The `id` counter grows with every duplicate: ten times as fast as jobs come."""
    ticker = arriving(300, replicas=7, added_per_second=1000)
    assert (ticker.writes, ticker.decisions[-1].inputs.rates["killmail"].arrivals_per_second) == ([], 100.0)


def test_a_thousand_jobs_of_twenty_milliseconds_need_one():
    decision = decide(seen(queue(waiting=1000)), spec(expected_ms=20), CONFIRMED, NOON)
    assert (decision.desired, votes(decision)["maxWait"]) == (1, 1)
    assert decide(seen(queue(waiting=1000), replicas=1), spec(expected_ms=20), CONFIRMED, NOON).desired == 1


def test_the_very_first_job_of_an_unknown_queue_starts_one():
    decision = decide(seen(queue(waiting=1)), spec(), CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (1, Reason.ACTIVATED_FROM_ZERO)


def test_one_old_retried_job_does_not_pin_the_maximum():
    yesterday = int((NOON - 86_400) * 1000)
    for backlog, milliseconds, expected in ((1, 600_000, 1), (100, 1000, 1), (1000, 1000, 7)):
        look = seen(queue(waiting=backlog, oldest_ready_ms=yesterday))
        assert decide(look, spec(expected_ms=milliseconds), CONFIRMED, NOON).desired == expected


@pytest.mark.parametrize("first", ["mail", "video"])
def test_mixed_names_are_weighed_at_both_ends_of_the_queue(first: str):
    """Mails of 50 ms and videos of ten minutes, whichever came first: 30 s of waiting need a slot for each video."""
    took = {"mail": 50, "video": 600_000}
    done = tuple(
        FinishedJob(name=name, processed_ms=int(NOON * 1000) - ms, finished_ms=int(NOON * 1000))
        for name, ms in took.items()
        for _ in range(10)
    )
    last = ({"mail", "video"} - {first}).pop()
    known = details(next_names={first: 25}, last_names={last: 25}, finished=done)
    look = seen(replace(queue(waiting=400), details=known))
    decision = decide(look, spec(max_replicas=100), CONFIRMED, NOON)
    assert decision.inputs.rates["killmail"].service_seconds == pytest.approx(300, rel=0.01)
    assert (decision.desired, decision.reason) == (40, Reason.LIMITED_BY_SLOTS)


def test_jobs_of_an_hour_get_a_slot_each_and_keep_it():
    wish, hour = spec(queues={"killmail": 1}, expected_ms=3_600_000, window=0), {"completed_count": 0}
    ticker = Ticker(wish, history=CONFIRMED)
    ticker.tick(queue(concurrency=1, waiting=10, **hour))
    assert ticker.replicas == 10
    for left in (10, 7, 3):
        ticker.run(queue(concurrency=1, active=left, **hour), seconds=20)
        assert ticker.replicas == left


@pytest.mark.parametrize(("seconds", "expected"), [(4, 1), (30, 7)])
def test_two_jobs_a_second_allowed(seconds: int, expected: int):
    limited = {"rate_limit_max": 2, "rate_limit_duration_ms": 1000}
    look = seen(queue(waiting=5000, **limited), replicas=1)
    decision = decide(look, spec(expected_ms=seconds * 1000), CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (expected, Reason.LIMITED_BY_RATE_LIMIT)


def test_a_pod_short_of_a_node_does_not_freeze_growth():
    here = (pod("a"), pod("b", ready=False, age=60.0, scheduled_at=None))
    look = seen(queue(waiting=5000), workers_=workers(2, ready=1, pods=here))
    assert decide(look, spec(expected_ms=1000), CONFIRMED, NOON).desired == 20


@pytest.mark.parametrize(
    ("waiting", "age", "expected"), [(30, 300.0, 20), (6, 300.0, 16), (0, 300.0, 10), (30, 700.0, 17)]
)
def test_pods_that_still_start_are_kept_for_jobs_of_unknown_time_that_wait(waiting: int, age: float, expected: int):
    """Half of the pods wait for a node: for ten minutes they are on their way, then 15 and the tolerance are enough."""
    there = tuple(pod(f"w-{n}") for n in range(10))
    starting = tuple(pod(f"w-{n}", ready=False, age=age, scheduled_at=None) for n in range(10, 20))
    read = queue(waiting=waiting, active=10, concurrency=1)
    look = seen(read, workers_=workers(20, ready=10, pods=(*there, *starting)))
    assert decide(look, spec(window=0), CONFIRMED, NOON).desired == expected


def test_jobs_on_terminating_pods_ask_for_no_pod_and_keep_none():
    """Ten jobs end on a pod that is going: nobody is needed in its place."""
    leaving = details(*(job("old") for _ in range(10)))
    here = (pod("new"), pod("old", terminating=True))
    look = seen(replace(queue(active=10), details=leaving), workers_=workers(1, pods=here))
    decision = decide(look, spec(window=0), CONFIRMED, NOON)
    assert (decision.inputs.rates["killmail"].active, votes(decision)["feedback"]) == (0, 0)


@pytest.mark.parametrize(("cooldown", "holds"), [(60, Reason.COOLING_DOWN), (20, Reason.NEXT_JOB_DUE)])
def test_a_scheduler_every_minute_keeps_its_pod(cooldown: int, holds: Reason):
    """With a cooldown of a minute, and a shorter one too, it does not start 1 440 pods a day."""
    ticker = Ticker(spec(window=0, cooldown_seconds=cooldown, expected_ms=100), history=CONFIRMED)
    for second in range(1, 901):
        due = int(NOON + 60 * (second // 60 + 1)) * 1000
        run = {"waiting": 1} if second % 60 == 0 else {}
        ticker.tick(queue(delayed=1, next_delayed_ms=due, next_scheduler_ms=due, **run))
    assert moves(ticker) == [(0, 1)]
    assert holds in {decision.reason for decision in ticker.decisions[30:]}


@pytest.mark.parametrize("per_second", [0.5, 40, 75])
@pytest.mark.parametrize("known", [True, False])
def test_a_steady_load_under_the_capacity_of_one_pod_never_moves(per_second: float, known: bool):
    ticker = Ticker(spec(expected_ms=100 if known else None, min_replicas=1), replicas=1, history=CONFIRMED)
    plant = Plant(ticker).run(300, per_second=per_second)
    assert (ticker.writes, plant.longest_wait_ms <= 100) == ([], True)


@pytest.mark.parametrize("replicas", [1, 3, 10])
def test_a_queue_at_77_percent_of_its_slots_with_an_unknown_time_never_moves(replicas: int):
    ticker = Ticker(spec(max_replicas=50), replicas=replicas, history=CONFIRMED)
    ticker.run(queue(active=round(7.7 * replicas)), seconds=300)
    assert (ticker.writes, ticker.decisions[-1].reason) == ([], Reason.FEEDBACK)


def test_the_maximum_lowered_during_an_outage_holds_at_once():
    ticker = Ticker(spec(max_replicas=20), replicas=15, history=CONFIRMED)
    ticker.run(unreadable(), seconds=60)
    ticker.spec = spec(max_replicas=4)
    lowered = ticker.tick(unreadable())
    assert (lowered.desired, lowered.reason, moves(ticker)) == (4, Reason.AT_MAXIMUM, [(15, 4)])


def test_a_backlog_goes_up_in_one_write_and_is_done_within_the_target():
    """6 000 jobs of a second with ten slots a pod: 40 pods do them in 15 s, and as long a pod may take to start."""
    ticker = Ticker(spec(expected_ms=1000, max_replicas=100))
    plant = Plant(ticker, job_ms=1000, start_ms=3000)
    plant.since = [0] * 6000
    plant.run(600)
    ups = [move for move in moves(ticker) if move[1] > move[0]]
    assert ups[0] == (0, 40)
    assert len(ups) <= 2
    assert plant.longest_wait_ms <= 30_000
    assert ticker.replicas == 0


@pytest.mark.parametrize(("begin", "counters"), [(1, True), (20, True), (20, False)])
def test_a_steady_load_settles_and_then_stands_still(begin: int, counters: bool):
    """100 jobs a second of half a second need 5 pods full, 7 with room: from one pod up, and from many down."""
    ticker = Ticker(spec(expected_ms=500, min_replicas=1), replicas=begin, history=CONFIRMED)
    plant = Plant(ticker, job_ms=500).run(400, per_second=100, counters=counters)
    settled, plant.longest_wait_ms = len(ticker.writes), 0
    plant.run(300, per_second=100, counters=counters)
    assert len(ticker.writes) == settled
    assert 6 <= ticker.replicas <= 8
    assert plant.longest_wait_ms <= 100


def test_a_load_that_nobody_counts_settles_within_the_waiting_time():
    """From one pod up nothing but the backlog tells that 100 jobs a second come: it is kept short, not empty."""
    ticker = Ticker(spec(expected_ms=500, min_replicas=1), replicas=1, history=CONFIRMED)
    plant = Plant(ticker, job_ms=500).run(400, per_second=100, counters=False)
    settled, plant.longest_wait_ms = len(ticker.writes), 0
    plant.run(300, per_second=100, counters=False)
    assert len(ticker.writes) == settled
    assert ticker.replicas >= 5
    assert plant.longest_wait_ms <= 15_000


def test_a_wave_of_delayed_jobs_finds_pods_that_are_ready():
    """20 jobs a second of a second fall due from minute three on: pods need 20 s, and the first is not to wait."""
    ticker = Ticker(spec(expected_ms=1000))
    plant = Plant(ticker, job_ms=1000, start_ms=20_000)
    plant.delayed = [180_000 + 50 * n for n in range(2000)]
    plant.run(430)
    assert plant.completed == 2000
    assert plant.longest_wait_ms <= 15_000
    directions = [after > before for before, after in moves(ticker)]
    assert directions == sorted(directions, reverse=True), moves(ticker)
