"""The decision over time: bursts, outages, restarts, deletions, queues that come and go."""

from dataclasses import replace
from math import ceil

import pytest
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, snapshot, spec, unreadable, workers

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.decide import NOT_CONSUMING_SECONDS, decide, refuse
from queueworker_operator.scaling.decision import History, Recommendation
from queueworker_operator.scaling.observation import HORIZON_SECONDS, Observation, Ownership, WorkersObservation
from queueworker_operator.scaling.queues import MISSING_SECONDS


def ups_and_downs(ticker: Ticker) -> list[tuple[int, int]]:
    return [(before, after) for _, before, after in ticker.writes]


def test_a_burst_goes_up_at_once_never_down_until_drained_and_then_to_zero():
    """500 jobs of 20 ms with two slots per pod; pods take 3 s to be ready; read ten times a second."""
    ticker = Ticker(spec(window=120, cooldown_seconds=60, queues={"killmail": 2}, max_replicas=8))
    waiting, active, ready_at, drained_at = 200, 0, 0.0, None
    for tick in range(2500):
        if tick == 1:
            waiting += 300
        ready = ticker.replicas if ticker.now >= ready_at else 0
        waiting += active
        done = min(waiting, ready * 2 * 5)
        waiting -= done
        active = min(waiting, ready * 2)
        waiting -= active
        if waiting + active == 0 and tick > 1 and drained_at is None:
            drained_at = ticker.now
        before = ticker.replicas
        ticker.tick(queue(concurrency=2, waiting=waiting, active=active), seconds=0.1)
        if before == 0 and ticker.replicas > 0:
            ready_at = ticker.now + 3
    assert drained_at is not None
    raises = [(before, after) for _, before, after in ticker.writes if after > before]
    first_fall = next(at for at, before, after in ticker.writes if after < before)
    assert raises == [(0, 8)]
    assert first_fall > drained_at + 100
    assert ticker.replicas == 0
    assert ticker.writes[-1][0] >= drained_at + 120


def test_the_window_begins_when_a_lower_number_is_first_asked_for():
    ticker = Ticker(spec(window=120, min_replicas=1, target=20))
    ticker.run(queue(waiting=200), seconds=50)
    began = ticker.now + 1
    ticker.run(queue(waiting=36), seconds=200)
    assert [(at - began, before, after) for at, before, after in ticker.writes[1:]] == [(120, 10, 2)]


def test_a_window_shorter_than_the_reads_are_apart_ends_too():
    ticker = Ticker(spec(window=20, min_replicas=1, target=20), replicas=6, history=CONFIRMED)
    held = ticker.tick(queue(waiting=36), seconds=30)
    assert (held.reason, held.recheck_at) == (Reason.STABILIZING_SCALE_DOWN, ticker.now + 20)
    assert ticker.tick(queue(waiting=36), seconds=20).desired == 2


@pytest.mark.parametrize(("window", "cooldown"), [(0, 60), (120, 60), (60, 600), (0, 0)])
def test_zero_comes_after_the_longer_of_window_and_cooldown_counted_from_idle(window: int, cooldown: int):
    ticker = Ticker(spec(window=window, cooldown_seconds=cooldown), replicas=4, history=CONFIRMED)
    ticker.run(queue(active=40), seconds=700)
    idle_at = ticker.now + 1
    ticker.run(queue(), seconds=700)
    assert ticker.replicas == 0
    assert ticker.writes[-1][0] == idle_at + max(window, cooldown)


def test_the_moment_to_look_again_is_the_one_at_which_the_number_changes():
    ticker = Ticker(spec(window=100, cooldown_seconds=300), replicas=4, history=CONFIRMED)
    while ticker.tick(queue()).desired:
        again = ticker.decisions[-1].recheck_at
        assert again is not None
        assert again > ticker.now
        early = decide(seen(queue(), replicas=ticker.replicas), ticker.spec, ticker.history, again - 0.01)
        assert early.desired == ticker.replicas
        ticker.now = again - 1
    assert ups_and_downs(ticker) == [(4, 1), (1, 0)]


def test_failed_reads_now_and_then_delay_zero_by_no_more_than_they_took():
    ticker = Ticker(spec(window=60, cooldown_seconds=60), replicas=4, history=CONFIRMED)
    for second in range(80):
        ticker.tick(unreadable() if second % 10 == 9 else queue())
    assert ticker.replicas == 0
    assert ticker.writes[-1][0] <= NOON + 1 + 60 + 2 * 8


def test_time_without_knowledge_is_no_idle_time():
    ticker = Ticker(spec(window=0, cooldown_seconds=60), replicas=4, history=CONFIRMED)
    ticker.run(queue(), seconds=30)
    ticker.run(unreadable(), seconds=100)
    ticker.run(queue(), seconds=60)
    assert ups_and_downs(ticker) == [(4, 1), (1, 0)]
    assert ticker.writes[-1][0] == NOON + 1 + 60 + 100


def test_what_was_raised_while_another_queue_was_unreadable_holds_for_the_window():
    names = {"a": 1, "b": 1}
    ticker = Ticker(spec(queues=names, window=60, min_replicas=1, target=2), replicas=2, history=CONFIRMED)
    low, high = (queue(name="a", concurrency=1, waiting=n) for n in (2, 16))
    idle = queue(name="b", concurrency=1)
    ticker.run(low, idle, seconds=70)
    ticker.tick(high, unreadable(name="b"))
    ticker.run(low, idle, seconds=59)
    assert ups_and_downs(ticker)[-1] == (1, 8)
    ticker.run(low, idle, seconds=2)
    assert ups_and_downs(ticker)[-1] == (8, 1)


def test_peaks_of_the_future_hold_nothing():
    peaks = (Recommendation(at=NOON - 10, replicas=3), Recommendation(at=NOON + 100, replicas=9))
    decision = decide(seen(queue(), replicas=9), spec(), replace(CONFIRMED, recommendations=peaks), NOON)
    assert decision.desired == 3


def test_jobs_that_run_fill_slots_too():
    look = seen(queue(concurrency=2, waiting=2, active=2), replicas=1)
    assert decide(look, spec(target=1), CONFIRMED, NOON).desired == 2


def test_an_outage_changes_nothing_and_needs_two_readings_before_a_shrink():
    ticker = Ticker(spec(window=0, min_replicas=1), replicas=5, history=CONFIRMED)
    lost = ticker.run(unreadable(), seconds=600)
    assert (lost.reason, lost.desired, ticker.writes) == (Reason.HOLDING_METRICS_UNKNOWN, 5, [])
    first = ticker.tick(queue())
    assert (first.reason, first.desired, first.recheck_at) == (Reason.CONFIRMING_SCALE_DOWN, 5, ticker.now + 1)
    assert ticker.tick(queue()).desired == 1


def test_two_looks_at_one_reading_confirm_nothing():
    look = seen(queue(), replicas=5)
    wish = spec(window=0, min_replicas=1)
    first = decide(look, wish, History(), NOON)
    second = decide(look, wish, first.history, NOON + 1)
    assert second.reason is Reason.CONFIRMING_SCALE_DOWN
    other = Observation(queues=(queue(at=NOON + 2),), workers=look.workers)
    assert decide(other, wish, second.history, NOON + 2).desired == 1


def test_a_reading_in_between_that_calls_for_no_fewer_begins_the_confirmation_anew():
    ticker = Ticker(spec(window=0, min_replicas=1), replicas=5)
    reasons = [ticker.tick(queue(waiting=n)).reason for n in (0, 100, 0, 0)]
    assert reasons == [
        Reason.CONFIRMING_SCALE_DOWN,
        Reason.BACKLOG_ABOVE_TARGET,
        Reason.CONFIRMING_SCALE_DOWN,
        Reason.AT_MINIMUM,
    ]


def test_one_unreadable_queue_keeps_the_number_and_the_other_may_raise_it():
    ticker = Ticker(spec(queues={"a": 1, "b": 1}, window=0, min_replicas=1), replicas=5, history=CONFIRMED)
    assert ticker.tick(queue(name="a", concurrency=1), unreadable(name="b")).desired == 5
    raised = ticker.tick(queue(name="a", concurrency=1, waiting=16), unreadable(name="b"))
    assert (raised.desired, raised.reason) == (8, Reason.BACKLOG_ABOVE_TARGET)


def test_the_maximum_of_the_user_beats_an_outage_and_running_jobs():
    wish = spec(max_replicas=3)
    assert decide(seen(unreadable(), replicas=9), wish, CONFIRMED, NOON).desired == 3
    assert decide(seen(queue(active=90), replicas=9), wish, CONFIRMED, NOON).desired == 3


def test_running_jobs_keep_their_pods_but_never_raise_the_number():
    wish = spec(window=0, target=20)
    paused = queue(active=41, paused=True, waiting=900)
    assert decide(seen(paused, replicas=9), wish, CONFIRMED, NOON).desired == 5
    assert decide(seen(paused, replicas=3), wish, CONFIRMED, NOON).desired == 3


def test_without_counters_the_jobs_in_work_tell_how_many_come_and_never_raise_the_number():
    """Little's law: 41 jobs in work on slots that are to be full to 80 percent need 6 pods of 10 slots."""
    wish = spec(window=0, target=20)
    assert decide(seen(queue(active=41), replicas=9), wish, CONFIRMED, NOON).desired == 6
    assert decide(seen(queue(active=30), replicas=3), wish, CONFIRMED, NOON).desired == 3


def test_delayed_jobs_count_when_due_and_not_before():
    tomorrow = {"delayed": 10_000, "next_delayed_ms": int(NOON + 86_400) * 1000}
    assert decide(seen(queue(**tomorrow)), spec(), CONFIRMED, NOON).desired == 0
    due = decide(seen(queue(**tomorrow, delayed_due=50)), spec(), CONFIRMED, NOON)
    assert (due.desired, due.inputs.backlog) == (3, 50)


def test_the_next_delayed_job_says_when_to_look_again():
    soon = queue(delayed=1, next_delayed_ms=int((NOON + 40.5) * 1000))
    first = decide(seen(soon), spec(), CONFIRMED, NOON)
    assert (first.desired, first.recheck_at) == (0, NOON + 40.5 - HORIZON_SECONDS)
    paused = queue(delayed=1, next_delayed_ms=int((NOON + 40.5) * 1000), paused=True)
    assert decide(seen(paused), spec(), CONFIRMED, NOON).recheck_at is None


def test_a_job_that_comes_within_the_horizon_counts_without_another_reading():
    soon = seen(queue(delayed=1, next_delayed_ms=int((NOON + 40.5) * 1000)))
    first = decide(soon, spec(), CONFIRMED, NOON)
    assert first.recheck_at is not None
    again = decide(soon, spec(), first.history, first.recheck_at)
    assert (again.desired, again.reason) == (1, Reason.LOOK_AHEAD)


def test_the_horizon_lets_soon_due_jobs_fill_slots_and_says_when_it_reaches_the_next():
    late = {"delayed": 4, "next_delayed_ms": int(NOON + 100) * 1000}
    look = seen(queue(concurrency=2, waiting=2, **late), workers_=workers(1, ready=0))
    decision = decide(look, spec(target=1), CONFIRMED, NOON)
    assert (decision.desired, decision.recheck_at) == (1, NOON + 100 - HORIZON_SECONDS)
    soon = {"delayed": 4, "next_delayed_ms": int(NOON + 20) * 1000, "delayed_due_soon": 4}
    look = seen(queue(concurrency=2, waiting=2, **soon), replicas=1)
    assert decide(look, spec(target=1), CONFIRMED, NOON).desired == 2


@pytest.mark.parametrize("concurrency", [1, 3, 10])
def test_backlog_per_replica_is_twice_the_concurrency_where_nobody_says_it(concurrency: int):
    look = seen(queue(waiting=100, concurrency=concurrency))
    desired = decide(look, spec(max_replicas=100), CONFIRMED, NOON).desired
    assert desired == ceil(100 / (2 * concurrency))


def test_a_queue_that_is_gone_keeps_the_number_for_an_hour_then_none():
    ticker = Ticker(spec(window=60, cooldown_seconds=60), replicas=5, history=CONFIRMED)
    ticker.tick(queue(waiting=100))
    gone = ticker.tick(queue(exists=False))
    assert (gone.reason, gone.desired, gone.recheck_at) == (Reason.QUEUE_MISSING, 5, ticker.now + MISSING_SECONDS)
    ticker.tick(queue(exists=False), seconds=MISSING_SECONDS - 1)
    assert ticker.replicas == 5
    ticker.run(queue(exists=False), seconds=200)
    assert (ticker.replicas, ticker.decisions[-1].reason) == (0, Reason.QUEUE_MISSING)
    assert ticker.tick(queue(waiting=1)).reason is Reason.ACTIVATED_FROM_ZERO


def test_each_queue_that_goes_has_its_own_hour():
    names = {"a": 1, "b": 1}
    ticker = Ticker(spec(queues=names, window=0, cooldown_seconds=0), replicas=5, history=CONFIRMED)
    busy = queue(name="b", concurrency=1, waiting=10)
    ticker.tick(queue(name="a", concurrency=1, waiting=10), busy)
    ticker.tick(queue(name="a", exists=False), busy)
    ticker.tick(queue(name="a", exists=False), busy, seconds=2 * MISSING_SECONDS)
    both = ticker.tick(queue(name="a", exists=False), queue(name="b", exists=False))
    assert (both.desired, both.reason) == (5, Reason.QUEUE_MISSING)
    ticker.tick(queue(name="a", exists=False), queue(name="b", exists=False), seconds=MISSING_SECONDS - 1)
    assert ticker.replicas == 5


def test_an_outage_does_not_begin_the_hour_anew():
    ticker = Ticker(spec(window=0, cooldown_seconds=0), replicas=5, history=CONFIRMED)
    ticker.tick(queue(waiting=100))
    ticker.tick(queue(exists=False))
    ticker.tick(unreadable(), seconds=MISSING_SECONDS / 2)
    ticker.tick(queue(exists=False), seconds=MISSING_SECONDS / 2)
    ticker.run(queue(exists=False), seconds=3)
    assert ticker.replicas == 0


def test_a_queue_that_leaves_the_spec_is_forgotten():
    history = replace(CONFIRMED, seen_queues=frozenset({"old"}), missing_queues=frozenset({"old"}), missing_since=NOON)
    after = decide(seen(queue()), spec(), history, NOON + 1).history
    assert (after.seen_queues, after.missing_queues, after.missing_since) == (
        frozenset({"killmail"}),
        frozenset(),
        None,
    )


def test_the_first_workers_are_as_many_as_the_backlog_needs():
    look = Observation(queues=(queue(waiting=200),), workers=WorkersObservation())
    decision = decide(look, spec(), History(), NOON)
    assert (decision.desired, decision.write, decision.reason) == (10, True, Reason.ACTIVATED_FROM_ZERO)
    assert [(c.before, c.after) for c in decision.history.changes] == [(0, 10)]


def test_a_deployment_that_was_deleted_comes_back_at_its_last_number():
    ticker = Ticker(spec(window=120, min_replicas=1), history=CONFIRMED)
    ticker.run(queue(waiting=100), seconds=5)
    changes = ticker.history.changes
    for read in (queue(at=NOON + 9), unreadable()):
        look = Observation(queues=(read,), workers=WorkersObservation(ownership=Ownership.ABSENT))
        decision = decide(look, ticker.spec, ticker.history, ticker.now + 1)
        assert (decision.desired, decision.current, decision.history.changes) == (5, 5, changes)
    restarted = replace(ticker.history, recommendations=(), confirmed=False)
    look = Observation(queues=(queue(),), workers=WorkersObservation())
    assert decide(look, ticker.spec, restarted, ticker.now + 1).desired == 5


def test_a_number_that_somebody_else_wrote_is_put_right():
    ticker = Ticker(spec(window=120, min_replicas=1, target=20), history=CONFIRMED)
    ticker.run(queue(waiting=90), seconds=200)
    for foreign in (9, 2):
        ticker.replicas = foreign
        assert ticker.tick(queue(waiting=90)).desired == 5


def test_an_unused_queue_stays_at_the_minimum():
    ticker = Ticker(spec(window=0, cooldown_seconds=0), replicas=0)
    assert ticker.run(queue(exists=False), seconds=5).reason is Reason.QUEUE_UNUSED
    assert ticker.writes == []


def test_jobs_prove_a_queue_whose_meta_is_gone():
    assert decide(seen(queue(exists=False, waiting=21)), spec(), CONFIRMED, NOON).desired == 2


def test_a_paused_queue_lets_the_number_fall_and_a_pause_of_the_user_does_not():
    ticker = Ticker(spec(window=0, cooldown_seconds=10), replicas=5, history=CONFIRMED)
    ticker.paused = True
    ticker.run(queue(waiting=900, paused=True), seconds=30)
    assert ticker.writes == []
    ticker.paused = False
    ticker.run(queue(waiting=900, paused=True), seconds=30)
    assert ticker.replicas == 0


def test_fixed_replicas_need_no_reading_and_autoscaling_begins_afresh_after_them():
    ticker = Ticker(spec(replicas=3), history=replace(CONFIRMED, idle_since=NOON - 999))
    ticker.run(unreadable(), seconds=3)
    assert ups_and_downs(ticker) == [(0, 3)]
    assert (ticker.history.confirmed, ticker.history.idle_since) == (False, None)
    ticker.spec = spec(window=30, cooldown_seconds=30)
    ticker.run(queue(), seconds=29)
    assert ticker.replicas == 3
    ticker.run(queue(), seconds=10)
    assert ticker.replicas == 0


def test_a_refused_spec_keeps_the_number_and_what_is_known():
    history = replace(CONFIRMED, idle_since=NOON - 99, seen_queues=frozenset({"killmail"}))
    decision = refuse(seen(replicas=5), history, NOON, problem="spec.queues is empty: name a queue")
    assert (decision.desired, decision.write, decision.reason) == (5, False, Reason.SPEC_INVALID)
    assert decision.message == "5 replicas: kept, spec.queues is empty: name a queue."
    assert decision.history.seen_queues == {"killmail"}
    again = decide(seen(queue(), replicas=5), spec(window=0), decision.history, NOON + 600)
    assert again.reason is Reason.CONFIRMING_SCALE_DOWN
    assert again.history.idle_since == NOON + 501


def test_times_of_a_broken_clock_are_dropped():
    history = replace(CONFIRMED, idle_since=NOON + 600, missing_since=NOON + 600, not_consuming_since=NOON + 600)
    after = decide(seen(queue(waiting=1), replicas=1), spec(), history, NOON).history
    assert (after.idle_since, after.missing_since, after.not_consuming_since) == (None, None, NOON)
    assert decide(seen(queue(), replicas=1), spec(), history, NOON).history.idle_since == NOON


@pytest.mark.parametrize(
    ("read", "ready", "expected"),
    [
        (queue(waiting=1), 1, NOON),
        (queue(waiting=1), 0, None),
        (queue(waiting=1, active=1), 1, None),
        (queue(waiting=1, paused=True), 1, None),
        (queue(waiting=1, rate_limited_for_ms=500), 1, None),
        (queue(), 1, None),
    ],
)
def test_since_when_nobody_consumes(read, ready: int, expected: float | None):
    look = seen(read, workers_=workers(2, ready=ready))
    decision = decide(look, spec(), CONFIRMED, NOON)
    assert decision.history.not_consuming_since == expected
    if expected is not None:
        assert decision.recheck_at == NOON + NOT_CONSUMING_SECONDS


def test_a_failed_read_is_no_sign_of_life():
    ticker = Ticker(spec(), replicas=1)
    ticker.tick(queue(waiting=1))
    since = ticker.history.not_consuming_since
    ticker.tick(unreadable())
    assert ticker.history.not_consuming_since == since
    ticker.tick(queue(active=1))
    assert ticker.history.not_consuming_since is None


def test_inputs_are_summed_over_what_was_read():
    a = queue(name="a", waiting=1, prioritized=2, delayed=5, delayed_due=3, active=4, failed=6)
    b = queue(name="b", waiting=10, paused=True, oldest_ready_ms=int((NOON - 90) * 1000))
    inputs = decide(seen(a, b, unreadable(name="c")), spec(queues={"a": 1, "b": 1, "c": 1}), CONFIRMED, NOON).inputs
    assert (inputs.waiting, inputs.prioritized, inputs.delayed_due, inputs.backlog) == (11, 2, 3, 16)
    assert (inputs.active, inputs.delayed, inputs.failed) == (4, 5, 6)
    assert (inputs.oldest_age_seconds, inputs.paused_queues) == (90.0, ("b",))
    assert decide(seen(unreadable()), spec(), CONFIRMED, NOON).inputs.backlog is None


def test_the_slots_of_each_queue_are_its_own():
    names = {"a": 10, "b": 1}
    look = seen(queue(name="a", active=30), queue(name="b", concurrency=1, active=4), replicas=9)
    wish = spec(queues=names, window=0, target=100, scale_down={"tolerance_percent": 0})
    assert decide(look, wish, CONFIRMED, NOON).desired == 5
    paused = seen(*(replace(q, snapshot=replace(q.snapshot, paused=True)) for q in look.queues), replicas=9)
    assert decide(paused, spec(queues=names, window=0, target=100), CONFIRMED, NOON).desired == 4


def test_a_snapshot_in_the_future_has_no_negative_age():
    ahead = snapshot(waiting=1, oldest_ready_ms=int(NOON * 1000) + 5000)
    assert ahead.oldest_age_seconds == 0
