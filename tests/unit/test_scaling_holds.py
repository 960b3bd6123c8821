"""What keeps a number from going up or down although the queues ask for it."""

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from scaling_world import CONFIRMED, NOON, Ticker, details, job, pod, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.capacity import capacity
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Observation, Ownership, Pod, Problem

CRASH = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod a-1: container worker: CrashLoopBackOff")
QUOTA = Problem(reason=ConditionReason.QUOTA_EXCEEDED, message='pods "a-1" is forbidden: exceeded quota: pods')
LATE = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="ReplicaSet a has timed out progressing.")


def asked_for_more(*pods: Pod, ready: int, **more: Any) -> Decision:
    """300 jobs need 15 pods at 20 a pod."""
    look = workers(len(pods) or 4, ready=ready, pods=pods or None, **more)
    return decide(seen(queue(waiting=300), workers_=look), spec(target=20), CONFIRMED, NOON)


def test_pods_that_crash_stop_the_growth_in_the_words_of_the_first():
    held = asked_for_more(pod("a"), pod("b", ready=False, problem=CRASH, age=5.0), ready=1)
    assert (held.desired, held.reason) == (2, Reason.WORKERS_NOT_READY)
    assert (held.limits[-1].before, held.limits[-1].after) == (15, 2)


def test_what_one_pod_suffers_from_stops_no_growth_before_the_others_are_listed():
    """A single bad pod of thirty is no obstacle, and only a list tells that it is a single one."""
    unlisted = asked_for_more(ready=3, pod_problem=CRASH)
    assert (unlisted.desired, unlisted.wants_pods) == (15, True)
    here = [pod(f"a{n}") for n in range(3)]
    listed = asked_for_more(*here, pod("b", ready=False, problem=CRASH), ready=3, pod_problem=CRASH)
    assert (listed.desired, listed.reason) == (4, Reason.WORKERS_NOT_READY)


def test_a_pod_that_keeps_failing_is_counted_on_once_it_was_ready_for_a_while():
    """Where nothing probes a worker, it is ready as long as it lives, if only for a second."""
    young, steady = (pod("b", problem=CRASH, ready_at=NOON - seconds) for seconds in (9.9, 10.0))
    held = asked_for_more(pod("a"), young, ready=2)
    assert (held.desired, held.reason) == (2, Reason.WORKERS_NOT_READY)
    assert held.recheck_at == pytest.approx(NOON + 0.1)
    assert asked_for_more(pod("a"), steady, ready=2).desired == 15


def test_one_bad_pod_does_not_stop_a_large_fleet():
    here = [pod(f"a{n}") for n in range(9)]
    assert asked_for_more(*here, pod("b", ready=False, problem=CRASH), ready=9).desired == 15


def test_pods_on_their_way_are_coming_capacity_for_ten_minutes():
    young, old = (pod("b", ready=False, age=age, scheduled_at=None) for age in (599.0, 601.0))
    assert asked_for_more(pod("a"), young, ready=1).desired == 15
    held = asked_for_more(pod("a"), old, ready=1)
    assert (held.desired, held.reason) == (2, Reason.WORKERS_NOT_READY)
    pending = Problem(reason=ConditionReason.PENDING, message="pod b: Unschedulable: 0/3 nodes are available")
    assert asked_for_more(ready=1, pod_problem=pending).desired == 15


@pytest.mark.parametrize(("lost", "desired"), [(3.0, 15), (599.0, 15), (601.0, 2)])
def test_a_pod_that_was_ready_has_ten_minutes_to_become_so_again(lost: float, desired: int):
    """It had its node an hour ago."""
    assert asked_for_more(pod("a"), pod("b", ready=False, unready_since=NOON - lost), ready=1).desired == desired


def test_the_loop_looks_again_when_the_ten_minutes_of_a_pod_are_over():
    here = (pod("a"), pod("b", ready=False, unready_since=NOON - 3.0))
    look = seen(queue(), workers_=workers(2, ready=1, pods=here))
    assert decide(look, spec(min_replicas=2), CONFIRMED, NOON).recheck_at == NOON + 597.0


def test_a_pod_that_was_ready_is_expected_after_another_start():
    here = (pod("a"), pod("b", ready=False, unready_since=NOON - 3.0))
    pods = capacity(workers(2, ready=1, pods=here), CONFIRMED, NOON, current=2, start_up=30.0)
    assert (pods.ready, pods.starting) == (1, (27.0,))


def test_a_quota_stops_the_growth_but_not_what_the_user_asks_for():
    look = workers(4, ready=4, rollout_problem=QUOTA)
    held = decide(seen(queue(waiting=300), workers_=look), spec(target=20), CONFIRMED, NOON)
    assert (held.desired, held.reason) == (4, Reason.QUOTA_EXCEEDED)
    minimum = decide(seen(queue(waiting=300), workers_=look), spec(target=20, min_replicas=6), CONFIRMED, NOON)
    assert minimum.desired == 6


def storm(seconds: int, *, completed: int, failed: int = 50, backlog: int = 300) -> Ticker:
    """So many jobs end per second and most of them fail, from the second growth on."""
    ticker = Ticker(spec(target=20, max_replicas=40), replicas=5, history=CONFIRMED)
    done = bad = 1000
    for second in range(seconds):
        done, bad = done + completed, bad + (failed if second > 60 else 0)
        waiting = backlog + (20 * (second // 30))
        ticker.tick(queue(waiting=waiting, active=10, completed_count=done, failed_count=bad))
    return ticker


def test_a_retry_storm_stops_the_growth_for_ten_minutes_at_most():
    ticker = storm(1000, completed=5)
    stormy = [decision for decision in ticker.decisions if decision.reason is Reason.RETRY_STORM]
    assert stormy
    assert all(decision.limits[-1].until is not None for decision in stormy)
    growths = [at - NOON for at, before, after in ticker.writes if after > before and at - NOON > 200]
    assert growths, ticker.writes
    assert all(later - earlier >= 600 for earlier, later in pairwise(growths))


@pytest.mark.parametrize(("completed_then", "reason"), [(5.0, Reason.RETRY_STORM), (1.0, Reason.BACKLOG_ABOVE_TARGET)])
def test_a_retry_storm_does_not_stop_a_growth_that_helps(completed_then: float, reason: Reason):
    """5 jobs a second complete: more than before the last growth, or as many."""
    ticker = storm(240, completed=5)
    assert ticker.history.last_growth_at is not None
    ticker.history = replace(ticker.history, last_growth_completions=completed_then)
    done = 1000 + 5 * 241
    decision = ticker.tick(queue(waiting=790, active=10, completed_count=done, failed_count=1000 + 50 * 180))
    assert decision.reason is reason


def test_failures_of_the_lesser_half_stop_nothing():
    assert Reason.RETRY_STORM not in {d.reason for d in storm(300, completed=60).decisions}


@pytest.mark.parametrize("ownership", [Ownership.OURS, Ownership.ADOPTABLE, Ownership.TARGET])
@pytest.mark.parametrize(("problem", "expected"), [(None, 5), (LATE, 1), (QUOTA, 1)])
def test_a_rollout_stops_the_scale_in_until_its_progress_deadline(
    problem: Problem | None, expected: int, ownership: Ownership
):
    look = workers(5, ownership=ownership, rollout_complete=False, rollout_problem=problem)
    decision = decide(seen(queue(), workers_=look), spec(window=0, min_replicas=1), CONFIRMED, NOON)
    assert (decision.desired, decision.reason is Reason.ROLLOUT_IN_PROGRESS) == (expected, expected == 5)
    low = decide(seen(queue(), workers_=look), spec(window=0, max_replicas=3), CONFIRMED, NOON)
    assert low.desired == (3 if problem is None else 1)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (pod("w-4"), 5),
        (pod("w-4", ready=False, age=599.0), 5),
        (pod("w-4", ready=False, age=601.0), 1),
        (pod("w-4", ready=False, age=5.0, problem=CRASH), 1),
        (pod("w-4", ready=False, age=5000.0, terminating=True), 5),
        (None, 1),
    ],
    ids=["goes on", "starts", "late", "crashes", "ends", "not listed"],
)
def test_a_stateful_sets_rollout_has_until_its_pod_ought_to_be_ready(last: Pod | None, expected: int):
    pods = (*(pod(f"w-{n}") for n in range(4)), last) if last is not None else None
    ready = sum(one.ready for one in pods) if pods is not None else 5
    look = workers(5, ownership=Ownership.TARGET, ordinal=True, rollout_complete=False, ready=ready, pods=pods)
    assert decide(seen(queue(), workers_=look), spec(window=0, min_replicas=1), CONFIRMED, NOON).desired == expected


def lost(reason: ConditionReason, seconds: int) -> Decision:
    ticker = Ticker(spec(on_metrics_loss={"after_seconds": 300, "replicas": 8}), replicas=3, history=CONFIRMED)
    problem = Problem(reason=reason, message="no")
    return ticker.run(replace(unreadable(), problem=problem), seconds=seconds)


@pytest.mark.parametrize(
    "reason",
    [
        ConditionReason.REDIS_AUTH_FAILED,
        ConditionReason.REDIS_DENIED,
        ConditionReason.REDIS_TLS_ERROR,
        ConditionReason.INVALID_QUEUE_KEY,
        ConditionReason.SECRET_NOT_FOUND,
    ],
)
def test_a_loss_of_readings_alone_raises_the_number_after_a_while(reason: ConditionReason):
    before = lost(reason, 300)
    assert (before.desired, before.recheck_at) == (3, NOON + 301)
    after = lost(reason, 301)
    assert (after.desired, after.reason) == (8, Reason.METRICS_LOSS_FALLBACK)
    later = lost(reason, 600)
    assert (later.desired, later.current, later.reason) == (8, 8, Reason.METRICS_LOSS_FALLBACK)
    assert "onMetricsLoss raises it to 8 after 300 s" in later.message


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (ConditionReason.REDIS_UNREACHABLE, Reason.HOLDING_METRICS_UNKNOWN),
        (ConditionReason.NOT_YET_READ, Reason.HOLDING_METRICS_UNKNOWN),
        (ConditionReason.REDIS_MEMORY_FULL, Reason.REDIS_MEMORY_FULL),
        (ConditionReason.ROLE_NOT_MASTER, Reason.ROLE_NOT_MASTER),
    ],
)
def test_a_loss_of_redis_itself_raises_nothing(reason: ConditionReason, told: Reason):
    decision = lost(reason, 400)
    assert (decision.desired, decision.reason) == (3, told)


def test_the_fallback_never_lowers():
    wish = spec(on_metrics_loss={"after_seconds": 10, "replicas": 2})
    denied = replace(unreadable(), problem=Problem(reason=ConditionReason.REDIS_DENIED, message="no"))
    assert Ticker(wish, replicas=9, history=CONFIRMED).run(denied, seconds=60).desired == 9
    same = Ticker(wish, replicas=2, history=CONFIRMED).run(denied, seconds=60)
    assert (same.desired, same.reason) == (2, Reason.HOLDING_METRICS_UNKNOWN), "it raised nothing"


def test_a_paused_queue_may_hold_the_number():
    ticker = Ticker(spec(window=0, when_queue_paused="Hold"), replicas=6, history=CONFIRMED)
    held = ticker.run(queue(waiting=900, paused=True), seconds=300)
    assert (held.desired, held.reason) == (6, Reason.QUEUE_PAUSED)
    assert decide(seen(queue(paused=True, legacy_paused=3), replicas=6), ticker.spec, CONFIRMED, NOON).desired == 6


def test_another_autoscaler_and_a_dry_run_are_told_and_nothing_is_written():
    rival = workers(3, conflict="HorizontalPodAutoscaler mail")
    look = seen(queue(waiting=100), workers_=rival)
    decision = decide(look, spec(target=20), CONFIRMED, NOON)
    assert (decision.desired, decision.write, decision.reason) == (5, False, Reason.CONFLICTING_AUTOSCALER)
    dry = decide(look, spec(target=20, dry_run=True), CONFIRMED, NOON)
    assert (dry.desired, dry.write, dry.reason, dry.history.changes) == (5, False, Reason.DRY_RUN, ())


def test_what_is_not_ours_but_a_target_is_scaled_unless_it_cannot_be():
    target = replace(workers(3), ownership=Ownership.TARGET)
    decision = decide(seen(queue(waiting=100), workers_=target), spec(target=20), CONFIRMED, NOON)
    assert (decision.current, decision.desired, decision.write) == (3, 5, True)
    gone = replace(target, replicas=0, target_problem=Problem(reason=ConditionReason.TARGET_NOT_FOUND, message="no"))
    history = replace(CONFIRMED, desired=4)
    refused = decide(seen(queue(waiting=100), workers_=gone), spec(target=20), history, NOON)
    assert (refused.current, refused.write, refused.history.changes) == (4, False, ())


def test_the_queues_own_concurrency_leaves_pods_without_work():
    look = seen(queue(concurrency=2, waiting=900, global_concurrency=4), replicas=1)
    decision = decide(look, spec(queues={"killmail": 2}), CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (2, Reason.LIMITED_BY_GLOBAL_CONCURRENCY)


def test_the_limiter_of_the_workers_counts_where_redis_knows_none():
    given = spec(expected_ms=4000).model_dump(by_alias=True)
    given["queues"][0]["limiter"] = {"max": 2, "durationMilliseconds": 1000}
    wish = type(spec()).model_validate(given)
    decision = decide(seen(queue(waiting=900), replicas=1), wish, CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (1, Reason.LIMITED_BY_RATE_LIMIT)


def test_a_rate_limit_without_a_known_time_adds_one_pod_at_a_time():
    limited = {"rate_limit_max": 2, "rate_limit_duration_ms": 1000}
    first = decide(seen(queue(waiting=900, **limited)), spec(), CONFIRMED, NOON)
    assert first.desired == 1
    full = decide(seen(queue(waiting=900, active=20, **limited), replicas=2), spec(), CONFIRMED, NOON)
    assert (full.desired, full.reason) == (3, Reason.LIMITED_BY_RATE_LIMIT)
    reached = queue(waiting=900, active=20, rate_limited_for_ms=400, **limited)
    assert decide(seen(reached, replicas=2), spec(), CONFIRMED, NOON).desired == 2


def test_a_throughput_limit_counts_the_pods_of_all_queues():
    """Ten jobs a second: a pod does 1 and 4 a second of the two queues, and two at 90 percent of that do nine."""
    wish = spec(
        queues={"a": 1, "b": 4}, expected_ms=1000, throughput_limit={"jobs": 600, "period_seconds": 60}, max_replicas=50
    )
    both = seen(queue(name="a", concurrency=1, waiting=900), queue(name="b", concurrency=4, waiting=900), replicas=1)
    decision = decide(both, wish, CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (3, Reason.THROUGHPUT_LIMITED)


def test_a_share_is_not_taken_of_what_is_counted_in_pods_of_ours():
    """A throughputLimit is for the jobs of this QueueWorker alone; nor does a rate limit stop the next pod for it."""
    wish = spec(expected_ms=30_000, throughput_limit={"jobs": 120, "period_seconds": 60})
    busy = replace(queue(waiting=900, active=40), shared_with=("other",))
    halved = wish.model_copy(update={"queues": [q.model_copy(update={"share_percent": 50}) for q in wish.queues]})
    for one in (wish, halved):
        decision = decide(seen(busy, replicas=1), one, CONFIRMED, NOON)
        assert (decision.desired, decision.reason) == (7, Reason.THROUGHPUT_LIMITED)
    limited = replace(
        queue(waiting=900, active=60, rate_limit_max=100, rate_limit_duration_ms=1000), shared_with=("o",)
    )
    unknown = spec()
    unknown = unknown.model_copy(
        update={"queues": [q.model_copy(update={"share_percent": 50}) for q in unknown.queues]}
    )
    assert decide(seen(limited, replicas=3), unknown, CONFIRMED, NOON).desired == 4


def test_a_shared_queue_gets_the_share_of_this_one():
    given = spec(target=20, queues={"killmail": 10}).model_dump(by_alias=True)
    given["queues"][0]["sharePercent"] = 25
    wish = type(spec()).model_validate(given)
    alone, shared = queue(waiting=320), replace(queue(waiting=320), shared_with=("other",))
    assert decide(seen(alone, replicas=1), wish, CONFIRMED, NOON).desired == 16
    decision = decide(seen(shared, replicas=1), wish, CONFIRMED, NOON)
    assert (decision.desired, decision.reason) == (4, Reason.QUEUE_SHARED)


DUE = {"delayed_due_soon": 1, "delayed_due_half": 1, "delayed_due_quarter": 1}
CROWD = {name: 100 for name in ("delayed", *DUE)}


@pytest.mark.parametrize(
    ("counts", "whole"),
    [
        ({"waiting": 100}, 100),
        ({"waiting": 100, "delayed": 1, **DUE}, 101),
        (CROWD, 100),
        ({**CROWD, "global_concurrency": 40}, 40),
        ({**CROWD, "rate_limit_max": 9, "rate_limit_duration_ms": 90_000}, 34),
    ],
    ids=["waiting", "one due soon", "all due soon", "concurrency", "rate"],
)
def test_those_who_share_a_queue_ask_together_for_what_one_alone_would(counts: dict[str, int], whole: int):
    """Jobs of 300 s, one a pod: each job needs a pod of its own."""
    alone = spec(queues={"killmail": 1}, expected_ms=300_000, max_replicas=500)
    read = replace(queue(concurrency=1, **counts), shared_with=("other",))
    asked = {}
    for percent in (100, 50, 25):
        queues = [q.model_copy(update={"share_percent": percent}) for q in alone.queues]
        asked[percent] = decide(seen(read), alone.model_copy(update={"queues": queues}), CONFIRMED, NOON).desired
    assert asked == {percent: -(-whole * percent // 100) for percent in (100, 50, 25)}


def test_a_share_of_the_concurrency_is_all_that_feedback_may_fill():
    """Nothing tells how long the jobs take; 40 may run at a time, half of them here."""
    wish = spec(queues={"killmail": 1}, max_replicas=500, window=0)
    halved = wish.model_copy(update={"queues": [q.model_copy(update={"share_percent": 50}) for q in wish.queues]})
    read = replace(queue(concurrency=1, waiting=900, active=40, global_concurrency=40), shared_with=("other",))
    assert decide(seen(read, replicas=30), halved, CONFIRMED, NOON).desired == 20


def test_orphans_at_zero_are_rescued_and_jobs_of_living_strangers_are_not():
    unknown = decide(seen(queue(active=2)), spec(), CONFIRMED, NOON)
    assert (unknown.desired, unknown.wants_details, unknown.reason) == (1, True, Reason.ORPHAN_RESCUE)
    orphan = replace(queue(active=2), details=details(job("gone", locked=False), job("alive")))
    assert decide(seen(orphan), spec(), CONFIRMED, NOON).desired == 1
    alive = replace(queue(active=2), details=details(job("alive"), job("alive")))
    assert decide(seen(alive), spec(), CONFIRMED, NOON).desired == 0
    old = Observation(queues=(replace(alive, details=details(job("alive"), at=NOON - 60)),), workers=workers(0))
    assert decide(old, spec(), CONFIRMED, NOON).desired == 1


@pytest.mark.parametrize("ownership", [Ownership.OURS, Ownership.TARGET, Ownership.ABSENT])
def test_a_number_beyond_all_measure_is_decided_on_without_a_list_of_its_pods(ownership: Ownership):
    """Whoever may scale the Deployment, or write the status, may write any number."""
    most = 2**31 - 1
    replicas = 0 if ownership is Ownership.ABSENT else most
    history = replace(CONFIRMED, desired=most, last_scale_at=NOON - 1)
    look = seen(queue(waiting=5), workers_=workers(replicas, ready=0, present=0, ownership=ownership))
    tracemalloc.start()
    decision = decide(look, spec(window=0, expected_ms=100), history, NOON)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (decision.current, decision.desired) == (most, 1), decision.message
    assert peak < 10_000_000
