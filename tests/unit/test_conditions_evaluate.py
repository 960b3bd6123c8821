"""The ten conditions: what makes each of them true, false and unknown, and when they move."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from conditions_world import FINE, judged, problem, read_worker, said
from hypothesis import given
from hypothesis import strategies as st
from scaling_world import CONFIRMED, NOON, pod, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.api.v1alpha1 import Condition, QueueWorkerSpec
from queueworker_operator.conditions import Facts, conditions
from queueworker_operator.conditions.reading import FAILING_SECONDS, FAILURES
from queueworker_operator.scaling.decide import NOT_CONSUMING_SECONDS, pause_source, refuse
from queueworker_operator.scaling.observation import Observation, Ownership, Problem, WorkersObservation


def test_every_type_is_set_on_the_first_visit():
    first = conditions(None, None, Facts(generation=1), (), NOON)
    assert [c.type for c in first] == list(ConditionType)
    unknown = {c.type for c in first if c.status == "Unknown"}
    assert unknown == set(ConditionType) - {ConditionType.RECONCILING, ConditionType.STALLED}
    assert all(c.observed_generation == 1 and c.message and c.last_transition_time for c in first)


def test_all_is_well():
    found = judged(read_worker())
    assert {kind: said(condition) for kind, condition in found.items()} == {
        ConditionType.READY: ("True", Reason.ROLLED_OUT),
        ConditionType.RECONCILING: ("False", Reason.SPEC_ACCEPTED),
        ConditionType.STALLED: ("False", Reason.SPEC_ACCEPTED),
        ConditionType.QUEUE_REACHABLE: ("True", Reason.QUEUE_READ),
        ConditionType.SCALING_ACTIVE: ("True", Reason.SCALING),
        ConditionType.SCALING_LIMITED: ("False", Reason.WITHIN_LIMITS),
        ConditionType.WORKERS_AVAILABLE: ("True", Reason.WORKERS_READY),
        ConditionType.WORKERS_CONSUMING: ("True", Reason.CONSUMING),
        ConditionType.PAUSED: ("False", Reason.NOT_PAUSED),
        ConditionType.QUEUE_SHARED: ("False", Reason.NOT_SHARED),
    }


def test_workers_that_a_pause_keeps_from_being_made_are_not_waited_for():
    nothing = seen(queue(waiting=1), workers_=WorkersObservation())
    found = judged(nothing, facts=replace(FINE, applied=False, paused_by="spec.autoscaling.paused"))
    assert said(found[ConditionType.READY]) == ("False", Reason.PAUSED_BY_USER)
    assert said(found[ConditionType.STALLED]) == ("True", Reason.PAUSED_BY_USER)
    assert "none are made while it is paused by spec.autoscaling.paused" in found[ConditionType.READY].message
    assert found[ConditionType.RECONCILING].status == "False"


@pytest.mark.parametrize(
    ("nobody", "wish", "reason", "why"),
    [
        (WorkersObservation(), spec(dry_run=True), Reason.DRY_RUN, "autoscaling.dryRun is set"),
        (
            WorkersObservation(conflict="HorizontalPodAutoscaler mail"),
            spec(),
            Reason.CONFLICTING_AUTOSCALER,
            "HorizontalPodAutoscaler mail writes the number of the same target",
        ),
    ],
)
def test_workers_whose_number_is_only_reported_are_not_waited_for(
    nobody: WorkersObservation, wish: QueueWorkerSpec, reason: Reason, why: str
):
    found = judged(seen(queue(waiting=1), workers_=nobody), wish=wish, facts=replace(FINE, applied=False))
    assert said(found[ConditionType.READY]) == ("False", reason)
    assert said(found[ConditionType.STALLED]) == ("True", reason)
    assert found[ConditionType.READY].message == f"there are no workers, and none are made while {why}"
    assert found[ConditionType.RECONCILING].status == "False"


def test_a_template_that_a_dry_run_keeps_from_being_applied_is_not_waited_for():
    found = judged(read_worker(), wish=spec(dry_run=True), facts=replace(FINE, applied=False))
    assert said(found[ConditionType.READY]) == ("False", Reason.DRY_RUN)
    assert said(found[ConditionType.STALLED]) == ("True", Reason.DRY_RUN)
    assert "stays as it is while autoscaling.dryRun is set" in found[ConditionType.READY].message
    same = judged(read_worker(), wish=spec(dry_run=True))
    assert said(same[ConditionType.READY]) == ("True", Reason.ROLLED_OUT)


def test_ready_says_what_keeps_the_pods_of_a_rollout():
    pod = Problem(reason=Reason.WORKERS_NOT_READY, message="pod a-1: container worker: ImagePullBackOff")
    late = Problem(reason=Reason.WORKERS_NOT_READY, message="ReplicaSet a has timed out progressing.")
    stuck = judged(read_worker(rollout_complete=False, rollout_problem=late, pod_problem=pod))
    assert stuck[ConditionType.READY].message == f"{late.message}; {pod.message}"
    assert stuck[ConditionType.STALLED].message == stuck[ConditionType.READY].message
    slow = judged(read_worker(rollout_complete=False, pod_problem=pod))
    assert slow[ConditionType.READY].message.endswith(f"; {pod.message}")
    grown = judged(read_worker(rollout_complete=True, pod_problem=pod))
    assert said(grown[ConditionType.READY]) == ("True", Reason.ROLLED_OUT)


@pytest.mark.parametrize(
    ("look", "facts", "ready", "reconciling", "stalled"),
    [
        (read_worker(), replace(FINE, spec_problem=problem(Reason.SPEC_INVALID)), Reason.SPEC_INVALID, False, True),
        (
            read_worker(),
            replace(FINE, apply_problem=problem(Reason.SECRET_NOT_FOUND)),
            Reason.SECRET_NOT_FOUND,
            False,
            True,
        ),
        (read_worker(), replace(FINE, apply_problem=problem(Reason.PENDING)), Reason.PENDING, True, False),
        (read_worker(), replace(FINE, applied=False), Reason.PENDING, True, False),
        (read_worker(rollout_complete=False), FINE, Reason.ROLLING_OUT, True, False),
        (read_worker(rollout_complete=None), FINE, Reason.ROLLING_OUT, True, False),
        (
            read_worker(rollout_complete=False, rollout_problem=problem(Reason.QUOTA_EXCEEDED)),
            FINE,
            Reason.QUOTA_EXCEEDED,
            False,
            True,
        ),
        (seen(queue(), workers_=WorkersObservation()), FINE, Reason.PENDING, True, False),
        (
            seen(queue(), workers_=WorkersObservation(ownership=Ownership.FOREIGN, replicas=4)),
            FINE,
            Reason.NAME_CONFLICT,
            False,
            True,
        ),
        (
            seen(queue(), workers_=WorkersObservation(ownership=Ownership.TERMINATING)),
            FINE,
            Reason.PENDING,
            True,
            False,
        ),
        (seen(queue(), workers_=WorkersObservation(ownership=Ownership.ADOPTABLE)), FINE, Reason.PENDING, True, False),
    ],
)
def test_what_keeps_it_from_being_ready(
    look: Observation, facts: Facts, ready: Reason, reconciling: bool, stalled: bool
):
    found = judged(look, facts=facts)
    assert said(found[ConditionType.READY]) == ("False", ready)
    assert found[ConditionType.RECONCILING].status == str(reconciling)
    assert found[ConditionType.STALLED].status == str(stalled)


def test_a_number_that_the_controller_has_not_seen_yet_leaves_ready_alone():
    before = judged(read_worker())
    unseen = read_worker(rollout_complete=None)
    kinds = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
    after = judged(unseen, previous=tuple(before.values()), now=NOON + 1)
    assert [after[kind] for kind in kinds] == [before[kind] for kind in kinds]
    changed = judged(unseen, facts=replace(FINE, generation=FINE.generation + 1), previous=tuple(before.values()))
    assert said(changed[ConditionType.READY]) == ("False", Reason.ROLLING_OUT)


def test_a_pod_that_fails_before_the_controller_has_looked_is_told_by_both_conditions():
    text = "pod images-1: container worker ended with exit code 1 (Error)"
    pod = Problem(reason=Reason.WORKERS_NOT_READY, message=text)
    unseen = read_worker(rollout_complete=None, ready=0)
    failing = read_worker(rollout_complete=None, ready=0, pod_problem=pod)
    first = judged(unseen)
    unapplied = judged(unseen, facts=replace(FINE, applied=False))
    for previous in ((), tuple(first.values()), tuple(unapplied.values())):
        after = judged(failing, previous=previous, now=NOON + 1)
        assert said(after[ConditionType.READY]) == ("False", Reason.ROLLING_OUT)
        assert text in after[ConditionType.READY].message
        assert text in after[ConditionType.WORKERS_AVAILABLE].message


@pytest.mark.parametrize("failures", [1, FAILURES, 100])
def test_trouble_with_redis_leaves_ready_alone(failures: int):
    look = seen(unreadable(failures=failures), workers_=workers(2))
    assert judged(look)[ConditionType.READY].status == "True"


def test_a_single_failed_read_flips_nothing():
    before = tuple(judged(read_worker()).values())
    after = judged(seen(unreadable(), workers_=workers(2)), previous=before, now=NOON + 1)
    assert tuple(after.values()) == before


@pytest.mark.parametrize("first", [True, False])
def test_a_queue_is_unreachable_after_three_failures_or_some_time(first: bool):
    before = () if first else tuple(judged(read_worker()).values())
    few = seen(unreadable(failures=FAILURES - 1, failing_since=NOON - FAILING_SECONDS + 1), replicas=2)
    many = seen(unreadable(failures=FAILURES), replicas=2)
    long = seen(unreadable(failing_since=NOON - FAILING_SECONDS), replicas=2)
    kept = judged(few, previous=before)
    assert kept[ConditionType.QUEUE_REACHABLE].status == ("Unknown" if first else "True")
    for look in (many, long):
        lost = judged(look, previous=before)
        assert said(lost[ConditionType.QUEUE_REACHABLE]) == ("False", Reason.REDIS_UNREACHABLE)
        assert "redis.killboard.svc:6379" in lost[ConditionType.QUEUE_REACHABLE].message
        assert said(lost[ConditionType.SCALING_ACTIVE]) == ("False", Reason.METRICS_UNKNOWN)
        assert said(lost[ConditionType.SCALING_LIMITED]) == ("Unknown", Reason.METRICS_UNKNOWN)


def test_one_lost_queue_of_two_is_the_reason_and_the_rest_goes_on():
    names = {"a": 1, "b": 1}
    broken = replace(unreadable(name="b", failures=5), problem=problem(Reason.INVALID_QUEUE_KEY))
    found = judged(seen(queue(name="a"), broken, replicas=1), wish=spec(queues=names))
    assert said(found[ConditionType.QUEUE_REACHABLE]) == ("False", Reason.INVALID_QUEUE_KEY)
    assert said(found[ConditionType.SCALING_ACTIVE]) == ("True", Reason.SCALING)
    assert "queue b cannot be read" in found[ConditionType.SCALING_ACTIVE].message


def test_one_good_reading_makes_it_reachable_again():
    lost = tuple(judged(seen(unreadable(failures=9), replicas=2)).values())
    again = judged(read_worker(), previous=lost, now=NOON + 5)[ConditionType.QUEUE_REACHABLE]
    assert said(again) == ("True", Reason.QUEUE_READ)
    assert again.last_transition_time == datetime.fromtimestamp(NOON + 5, UTC)


def test_a_queue_that_is_gone_is_reachable_and_named():
    history = replace(CONFIRMED, seen_queues=frozenset({"killmail"}))
    found = judged(seen(queue(exists=False), replicas=2), history=history)[ConditionType.QUEUE_REACHABLE]
    assert said(found) == ("True", Reason.QUEUE_MISSING)
    assert "queue killmail was there and is gone" in found.message


@pytest.mark.parametrize(
    ("wish", "facts", "reason"),
    [
        (spec(replicas=2), FINE, Reason.FIXED_REPLICAS),
        (spec(paused=True), replace(FINE, paused_by="spec.autoscaling.paused"), Reason.PAUSED_BY_USER),
        (spec().model_copy(update={"autoscaling": None}), FINE, Reason.SPEC_INVALID),
        (spec(), replace(FINE, spec_problem=problem(Reason.SPEC_INVALID)), Reason.SPEC_INVALID),
    ],
)
def test_why_scaling_is_not_active(wish: QueueWorkerSpec, facts: Facts, reason: Reason):
    found = judged(read_worker(), wish=wish, facts=facts)
    assert said(found[ConditionType.SCALING_ACTIVE]) == ("False", reason)


@pytest.mark.parametrize(
    ("look", "wish", "limited", "message"),
    [
        (seen(queue(waiting=900), replicas=2), spec(), "True", "maxReplicas is 20, 45 asked for"),
        (seen(queue(), replicas=2), spec(min_replicas=2), "True", "minReplicas is 2, the queues need 0"),
        (seen(queue(waiting=40), replicas=2), spec(min_replicas=2), "False", "the number lies within"),
        (seen(queue(waiting=40), replicas=2), spec(replicas=7), "False", "there are no limits"),
    ],
)
def test_the_limits_that_are_hit(look: Observation, wish: QueueWorkerSpec, limited: str, message: str):
    found = judged(look, wish=wish)[ConditionType.SCALING_LIMITED]
    assert found.status == limited
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("replicas", "ready", "trouble", "status", "reason"),
    [
        (0, 0, None, "True", Reason.NO_WORKERS),
        (3, 3, None, "True", Reason.WORKERS_READY),
        (3, 1, None, "True", Reason.WORKERS_READY),
        (3, 0, None, "False", Reason.PENDING),
        (3, 0, Reason.PENDING, "False", Reason.PENDING),
        (3, 0, Reason.WORKERS_NOT_READY, "False", Reason.WORKERS_NOT_READY),
        (3, 1, Reason.PENDING, "True", Reason.WORKERS_READY),
        (3, 1, Reason.WORKERS_NOT_READY, "False", Reason.WORKERS_NOT_READY),
    ],
)
def test_whether_workers_are_there(replicas: int, ready: int, trouble: Reason | None, status: str, reason: Reason):
    pod = problem(trouble) if trouble else None
    look = seen(queue(), workers_=workers(replicas, ready=ready, pod_problem=pod))
    found = judged(look)[ConditionType.WORKERS_AVAILABLE]
    assert said(found) == (status, reason)
    assert ("what to do" in found.message) is (pod is not None)


def test_workers_that_keep_failing_are_there_once_they_stayed_ready_for_a_while():
    loop = Problem(reason=Reason.WORKERS_NOT_READY, message="pod w-0: container worker was restarted 3 times")
    pods = (pod("w-0", ready_at=NOON - 1, problem=loop), pod("w-1", problem=loop))
    look = seen(queue(), workers_=workers(2, pods=pods))
    found = {after: judged(look, now=NOON + after)[ConditionType.WORKERS_AVAILABLE] for after in (0, 8.9, 9)}
    assert {after: one.status for after, one in found.items()} == {0: "False", 8.9: "False", 9: "True"}
    assert loop.message in found[0].message


@pytest.mark.parametrize("ownership", [Ownership.OURS, Ownership.TARGET])
def test_pods_that_may_not_be_listed_are_no_trouble_of_workers_that_are_ready(ownership: Ownership):
    denied = problem(Reason.CLUSTER_DENIED)
    look = seen(queue(), workers_=replace(workers(5, pod_problem=denied), ownership=ownership))
    assert said(judged(look)[ConditionType.WORKERS_AVAILABLE]) == ("True", Reason.WORKERS_READY)


def test_somebody_elses_workers_say_nothing():
    look = seen(queue(), workers_=WorkersObservation(ownership=Ownership.FOREIGN, replicas=4, ready=4))
    assert judged(look)[ConditionType.WORKERS_AVAILABLE].status == "Unknown"


def test_workers_that_take_nothing_are_told_after_a_while():
    look, history = seen(queue(waiting=9), replicas=1), replace(CONFIRMED, not_consuming_since=NOON)
    before = tuple(judged(read_worker()).values())
    kept = judged(look, previous=before, history=history, now=NOON + NOT_CONSUMING_SECONDS - 1)
    assert kept[ConditionType.WORKERS_CONSUMING].status == "True"
    found = judged(look, previous=before, history=history, now=NOON + NOT_CONSUMING_SECONDS)
    assert said(found[ConditionType.WORKERS_CONSUMING]) == ("False", Reason.NOT_CONSUMING)


def test_consuming_is_unknown_without_workers_and_true_without_jobs():
    assert said(judged(seen(queue(waiting=9)))[ConditionType.WORKERS_CONSUMING]) == ("Unknown", Reason.NO_WORKERS)
    found = judged(seen(queue(), replicas=1))
    assert said(found[ConditionType.WORKERS_CONSUMING]) == ("True", Reason.NOTHING_TO_CONSUME)


def test_who_paused_it():
    annotated = pause_source(spec(paused=True), by_annotation=True)
    assert annotated == "the annotation queueworker.dev/paused"
    assert pause_source(spec(paused=True), by_annotation=False) == "spec.autoscaling.paused"
    assert pause_source(spec(replicas=1), by_annotation=False) is None
    found = judged(read_worker(), facts=replace(FINE, paused_by=annotated))[ConditionType.PAUSED]
    assert (found.reason, found.message) == (Reason.PAUSED_BY_USER, f"paused by {annotated}")
    look = seen(queue(name="a"), queue(name="b", paused=True), replicas=1)
    found = judged(look, wish=spec(queues={"a": 1, "b": 1}))[ConditionType.PAUSED]
    assert (found.status, found.reason, found.message) == ("True", Reason.QUEUE_PAUSED, "queue b is paused")


@given(
    st.sampled_from(["True", "False", "Unknown"]),
    st.sampled_from([read_worker(), seen(unreadable(failures=3), replicas=1), seen(queue(paused=True))]),
)
def test_a_transition_time_moves_with_the_status_alone(status: Any, look: Observation):
    then = datetime.fromtimestamp(NOON - 1000, UTC)
    before = tuple(
        Condition(type=kind, status=status, reason="Before", last_transition_time=then, observed_generation=1)
        for kind in ConditionType
    )
    for kind, condition in judged(look, previous=before, now=NOON + 0.7).items():
        moved = condition.status != status
        expected = datetime.fromtimestamp(NOON, UTC) if moved else then
        assert (condition.last_transition_time, condition.observed_generation) == (expected, 3), kind


def test_the_same_twice_is_the_same():
    first = tuple(judged(read_worker()).values())
    assert tuple(judged(read_worker(), previous=first, now=NOON + 60).values()) == first


def test_a_refused_spec_says_nothing_of_the_queues():
    look = Observation(queues=(), workers=workers(2))
    decision = refuse(look, CONFIRMED, NOON, problem="no")
    facts = replace(FINE, spec_problem=problem(Reason.SPEC_INVALID))
    before = tuple(judged(seen(queue(paused=True), replicas=2)).values())
    kept = {
        ConditionType.QUEUE_REACHABLE,
        ConditionType.WORKERS_CONSUMING,
        ConditionType.PAUSED,
        ConditionType.QUEUE_SHARED,
    }
    assert {c.type for c in conditions(look, decision, facts, (), NOON) if c.status == "Unknown"} == kept
    found = conditions(look, decision, facts, before, NOON)
    assert [c for c in found if c.type in kept] == [c for c in before if c.type in kept]


def test_a_long_message_is_cut():
    trouble = Problem(reason=Reason.CLUSTER_DENIED, message="x" * 5000)
    found = judged(read_worker(), facts=replace(FINE, apply_problem=trouble))[ConditionType.READY]
    assert len(found.message) == 1024
