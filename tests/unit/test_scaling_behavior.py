"""`autoscaling.behavior` as in a HorizontalPodAutoscaler: windows, policies, tolerance."""

from dataclasses import replace
from typing import Any

import pytest
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, spec, workers

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.behavior import MAX_EVENTS, remembered
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Change, ScaleEvent
from queueworker_operator.scaling.history import unwritten
from queueworker_operator.scaling.observation import QueueObservation


def pods(value: int, seconds: int) -> dict[str, Any]:
    return {"type": "Pods", "value": value, "period_seconds": seconds}


def percent(value: int, seconds: int) -> dict[str, Any]:
    return {"type": "Percent", "value": value, "period_seconds": seconds}


def numbers(ticker: Ticker, backlog: int, seconds: int) -> list[int]:
    """Return the number after each second."""
    found = []
    for _ in range(seconds):
        ticker.tick(queue(waiting=backlog))
        found.append(ticker.replicas)
    return found


def test_a_policy_counts_from_the_number_at_the_start_of_its_period():
    wish = spec(target=10, scale_up={"policies": [pods(2, 5)]})
    ticker = Ticker(wish, replicas=1, history=CONFIRMED)
    assert numbers(ticker, 100, 12) == [3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 7, 7]
    limited = ticker.decisions[0]
    assert (limited.reason, limited.desired) == (Reason.SCALE_UP_RATE_LIMITED, 3)
    assert ticker.decisions[1].recheck_at == NOON + 1 + 5


def test_what_was_taken_away_within_the_period_may_come_back():
    wish = spec(target=10, window=0, scale_up={"policies": [pods(1, 60)]})
    history = replace(CONFIRMED, scale_events=(ScaleEvent(at=NOON - 10, change=-4),))
    assert decide(seen(queue(waiting=200), replicas=4), wish, history, NOON).desired == 9


@pytest.mark.parametrize(("select", "expected"), [("Max", 12), ("Min", 6), ("Disabled", 4)])
def test_select_policy_of_several_ways_up(select: str, expected: int):
    wish = spec(target=10, scale_up={"policies": [pods(2, 60), percent(200, 60)], "select_policy": select})
    assert decide(seen(queue(waiting=200), replicas=4), wish, CONFIRMED, NOON).desired == expected


@pytest.mark.parametrize(("select", "expected"), [("Max", 2), ("Min", 8), ("Disabled", 10)])
def test_select_policy_of_several_ways_down(select: str, expected: int):
    down = {"policies": [pods(2, 60), percent(80, 60)], "select_policy": select}
    wish = spec(target=10, window=0, min_replicas=1, scale_down=down)
    decision = decide(seen(queue(), replicas=10), wish, CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (expected, Reason.SCALE_DOWN_RATE_LIMITED)


def test_a_percentage_leads_from_zero_to_the_first_pods():
    wish = spec(target=10, scale_up={"policies": [percent(100, 15)]})
    ticker = Ticker(wish, history=CONFIRMED)
    assert numbers(ticker, 200, 1) == [2]


def test_no_policies_and_the_default_go_down_in_one_step():
    for down in ({}, {"policies": []}):
        wish = spec(target=10, window=0, min_replicas=1, scale_down=down)
        assert decide(seen(queue(), replicas=20), wish, CONFIRMED, NOON).desired == 1


def test_a_drop_within_a_period_never_exceeds_the_policy():
    """I6, on a backlog that drains at once."""
    wish = spec(target=10, window=0, min_replicas=1, scale_down={"policies": [pods(3, 10)]})
    ticker = Ticker(wish, replicas=20, history=CONFIRMED)
    found = [20, *numbers(ticker, 0, 80)]
    assert found[-1] == 1
    assert all(found[i] - found[i + 10] <= 3 for i in range(len(found) - 10))


def busy(at: float, *, waiting: int = 0, active: int = 50) -> QueueObservation:
    """100 jobs a second of half a second each: 5 pods of 10 slots have work, 7 leave headroom."""
    return queue(at=at, waiting=waiting, active=active, completed_count=int(100 * (at - NOON)), failed_count=0)


def after_a_scale_in(replicas: int, *, before: int, **wish: Any) -> Ticker:
    """Return a minute of that load, at whose end the last pods went."""
    ticker = Ticker(spec(expected_ms=500, max_replicas=7, **wish), replicas=replicas, history=CONFIRMED)
    ticker.paused = True
    for _ in range(70):
        ticker.tick(busy(ticker.now + 1))
    ticker.paused = False
    change = Change(at=ticker.now, before=before, after=replicas, reason=Reason.KEEP_UP, backlog=0)
    ticker.history = replace(ticker.history, changes=(change,))
    return ticker


def test_a_scale_in_stands_against_headroom_for_the_window():
    """Arrivals of a minute tremble by more than the tolerance: the pods would go and come all day."""
    ticker = after_a_scale_in(6, before=7)
    gone = ticker.now
    held = ticker.tick(busy(ticker.now + 1))
    assert (held.desired, held.reason, held.limits[-1].before) == (6, Reason.WITHIN_TOLERANCE, 7)
    assert held.limits[-1].until == held.recheck_at == gone + 120
    while ticker.now < gone + 119:
        assert ticker.tick(busy(ticker.now + 1)).desired == 6
    assert ticker.tick(busy(ticker.now + 1)).desired == 7


def waiting_since(ticker: Ticker, age: float | None, **counts: Any) -> QueueObservation:
    """Return the next look, where the oldest job has waited for so many seconds."""
    at = ticker.now + 1
    oldest = None if age is None else int((at - age) * 1000)
    look = busy(at, waiting=counts["waiting"], active=counts.pop("active", 60))
    assert look.snapshot is not None
    return replace(look, snapshot=replace(look.snapshot, oldest_ready_ms=oldest, **counts))


@pytest.mark.parametrize(
    ("waiting", "age", "expected"),
    [(0, None, 6), (350, 0.0, 6), (350, 5.0, 6), (350, 5.1, 7), (350, None, 7), (450, 0.0, 7)],
)
def test_a_fraction_of_a_pod_is_withheld_while_jobs_wait_for_a_moment(waiting: int, age: float | None, expected: int):
    """15 s are left to wait: with what they add to the arrivals, 350 jobs need 6.5 pods in all and 450 need 6.9.

    6 pods do 120 jobs a second, so that 350 wait for 3 s at the most, of the 5 that are a sixth of maxWaitSeconds.
    """
    ticker = after_a_scale_in(6, before=7)
    assert ticker.tick(waiting_since(ticker, age, waiting=waiting)).desired == expected


def test_a_fraction_is_not_withheld_where_the_ready_pods_would_take_long_over_the_jobs():
    """Of 6 pods 3 are ready: they do 60 jobs a second and would need 5.8 s for those that wait."""
    ticker = after_a_scale_in(6, before=7)
    look = waiting_since(ticker, 0.0, waiting=350)
    assert ticker.tick(look, workers_=workers(6, ready=3)).desired == 7


@pytest.mark.parametrize(("percent_kept", "expected"), [(0, 7), (5, 7), (10, 6), (100, 6)])
def test_the_fraction_is_within_the_tolerance_and_never_above_a_tenth(percent_kept: int, expected: int):
    down = {"tolerance_percent": percent_kept}
    ticker = after_a_scale_in(6, before=7, scale_down=down)
    assert ticker.tick(waiting_since(ticker, 0.0, waiting=350)).desired == expected
    ticker = after_a_scale_in(6, before=7, scale_down=down)
    assert ticker.tick(waiting_since(ticker, 0.0, waiting=450)).desired == 7


def fallen(look: QueueObservation, *, replicas: int, **wish: Any) -> int:
    """Return the number where the last pods went a second ago."""
    change = Change(at=NOON - 1, before=2 * replicas, after=replicas, reason=Reason.KEEP_UP, backlog=0)
    history = replace(CONFIRMED, changes=(change,))
    return decide(seen(look, replicas=replicas), spec(max_replicas=1000, **wish), history, NOON).desired


def test_a_scale_in_never_holds_back_pods_that_waiting_jobs_need():
    """109 pods for jobs of 0.1 s, 100 slots a second each, that have 15 s left: one more than 100 may be missing."""
    jobs = {"active": 1000, "oldest_ready_ms": int(NOON * 1000)}
    wide = {"scale_down": {"tolerance_percent": 100}, "window": 3600, "expected_ms": 100}
    assert fallen(queue(waiting=15 * 100 * 109, **jobs), replicas=100, expected_ms=100) == 109
    assert fallen(queue(waiting=15 * 100 * 200, **jobs), replicas=100, **wide) == 200


@pytest.mark.parametrize("rule", ["backlogPerReplica", "lookAhead"])
def test_a_scale_in_withholds_nothing_that_another_rule_asks_for(rule: str):
    """Less than a pod more than the 10 that there are."""
    wide = {"scale_down": {"tolerance_percent": 100}, "window": 3600}
    if rule == "backlogPerReplica":
        look = queue(waiting=105, oldest_ready_ms=int(NOON * 1000))
        assert fallen(look, replicas=10, target=10, **wide) == 11
    else:
        # The 10 pods do 640 jobs each until the end of the horizon and 300 after it: 9400 of these.
        look = queue(active=50, delayed=9500, delayed_due_soon=9500, horizon_ms=32_000)
        assert fallen(look, replicas=10, expected_ms=500, **wide) == 11


def test_a_growth_that_is_too_small_waits_for_no_scale_in_to_be_past():
    """The tolerance of scaleUp holds it, before and after the window alike."""
    ticker = after_a_scale_in(6, before=7, scale_up={"tolerance_percent": 20})
    ticker.spec = ticker.spec.model_copy(
        update={"autoscaling": spec(expected_ms=500, max_replicas=9, scale_up={"tolerance_percent": 20}).autoscaling}
    )
    held = ticker.tick(busy(ticker.now + 1))
    assert (held.desired, held.reason, held.limits[-1].until) == (6, Reason.WITHIN_TOLERANCE, None)
    assert "7 lies within 20 percent of 6" in held.message


@pytest.mark.parametrize(("replicas", "before", "wish"), [(6, 5, {}), (6, 7, {"window": 0})])
def test_only_a_scale_in_of_the_window_stands_against_headroom(replicas: int, before: int, wish: dict[str, Any]):
    ticker = after_a_scale_in(replicas, before=before, **wish)
    assert ticker.tick(busy(ticker.now + 1)).desired == 7


def test_from_zero_headroom_is_not_withheld():
    ticker = after_a_scale_in(0, before=1)
    assert ticker.tick(busy(ticker.now + 1, waiting=50, active=50)).desired == 7


def test_what_the_minimum_takes_back_is_taken_back_whole():
    ticker = after_a_scale_in(5, before=7)
    ticker.spec = spec(expected_ms=500, max_replicas=7, min_replicas=6)
    assert ticker.tick(busy(ticker.now + 1)).desired == 7


def test_the_window_up_waits_for_the_lowest_recommendation():
    wish = spec(target=10, scale_up={"stabilization_window_seconds": 30})
    ticker = Ticker(wish, replicas=2, history=CONFIRMED)
    ticker.run(queue(waiting=20), seconds=5)
    held = ticker.tick(queue(waiting=100))
    assert (held.desired, held.reason, held.limits[-1].until) == (2, Reason.SCALE_UP_RATE_LIMITED, ticker.now + 30)
    ticker.run(queue(waiting=60), seconds=29)
    assert ticker.replicas == 2
    assert ticker.tick(queue(waiting=100)).desired == 6


def test_the_minimum_waits_for_no_window_and_no_policy():
    slow = {"stabilization_window_seconds": 300, "policies": [pods(1, 600)]}
    decision = decide(seen(queue(), replicas=1), spec(min_replicas=5, scale_up=slow), CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (5, Reason.AT_MINIMUM)


@pytest.mark.parametrize(("backlog", "expected"), [(190, 20), (181, 20), (180, 20), (172, 20)])
def test_a_change_below_the_tolerance_is_not_made(backlog: int, expected: int):
    """The demand counts, not the whole pods that it is rounded up to: 17.2 of 20 are 86 percent, but of 19 are 91."""
    wish = spec(target=10, window=0, min_replicas=1, max_replicas=50)
    decision = decide(seen(queue(waiting=backlog), replicas=20), wish, CONFIRMED, NOON)
    assert decision.desired == expected
    assert (decision.reason is Reason.WITHIN_TOLERANCE) is (expected == 20)


@pytest.mark.parametrize(("percent_kept", "expected"), [(0, 5), (10, 6), (50, 10), (99, 20), (100, 20)])
def test_a_scale_in_leaves_the_tolerance_to_spare(percent_kept: int, expected: int):
    down = {"tolerance_percent": percent_kept}
    wish = spec(target=10, window=0, min_replicas=1, max_replicas=50, scale_down=down)
    decision = decide(seen(queue(waiting=50), replicas=20), wish, CONFIRMED, NOON)
    assert decision.desired == expected
    assert decision.reason is (Reason.WITHIN_TOLERANCE if expected == 20 else Reason.BACKLOG_ABOVE_TARGET)
    spare = f"5 would leave less than {percent_kept} percent to spare, {expected} do"
    assert (spare in decision.message) is (percent_kept > 0)


def test_demand_that_trembles_around_whole_pods_moves_nothing():
    ticker = Ticker(spec(target=10, window=0, min_replicas=1), replicas=5, history=CONFIRMED)
    for backlog in (50, 51, 48, 54, 46, 51, 50, 46, 54) * 3:
        ticker.tick(queue(waiting=backlog))
    assert [(before, after) for _, before, after in ticker.writes] == [(5, 6)]


def test_the_window_remembers_what_the_tolerance_made_of_a_demand():
    ticker = Ticker(spec(target=10, window=60, min_replicas=1), replicas=6, history=CONFIRMED)
    ticker.tick(queue(waiting=46))
    ticker.run(queue(waiting=40), seconds=60)
    assert ticker.replicas == 6
    assert ticker.tick(queue(waiting=40)).desired == 5


def test_no_headroom_lies_beyond_a_cap_that_is_no_estimate():
    """Of a concurrency of 4 and 2 slots the third pod would never find a job."""
    look = seen(queue(waiting=900, concurrency=2, global_concurrency=4), replicas=3)
    assert decide(look, spec(window=0, queues={"killmail": 2}), CONFIRMED, NOON).desired == 2


def test_minimum_maximum_and_zero_are_reached_exactly():
    wide = {"tolerance_percent": 100}
    wish = spec(target=10, window=0, min_replicas=19, max_replicas=21, scale_down=wide, scale_up=wide)
    assert decide(seen(queue(), replicas=20), wish, CONFIRMED, NOON).desired == 19
    assert decide(seen(queue(waiting=900), replicas=20), wish, CONFIRMED, NOON).desired == 21
    idle = replace(CONFIRMED, idle_since=NOON - 999)
    assert decide(seen(queue(), replicas=1), spec(window=0, scale_down=wide), idle, NOON).desired == 0


def test_events_are_bounded_and_count_rather_too_long_than_too_short():
    autoscaling = spec(scale_down={"policies": [pods(1, 600)]}).autoscaling
    assert autoscaling is not None
    events: tuple[ScaleEvent, ...] = ()
    for second in range(200):
        events = remembered(events, autoscaling, change=-1, now=NOON + second)
    assert len(events) == MAX_EVENTS
    assert sum(event.change for event in events) == -200
    assert remembered(events, autoscaling, change=0, now=NOON + 10_000) == ()


def test_a_change_that_was_not_carried_out_is_no_event():
    wish = spec(target=10, scale_up={"policies": [pods(2, 60)]})
    after = decide(seen(queue(waiting=200), replicas=4), wish, CONFIRMED, NOON).history
    assert (after.scale_events, after.last_growth_at) == ((ScaleEvent(at=NOON, change=2),), NOON)
    kept = unwritten(after, CONFIRMED)
    assert (kept.scale_events, kept.last_growth_at, kept.last_growth_completions) == ((), None, None)
