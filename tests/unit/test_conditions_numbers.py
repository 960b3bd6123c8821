"""What the conditions say of the number: whether it is written, what keeps it down, what is wrong with the wish."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conditions_world import FINE, problem, read_worker, said
from scaling_world import CONFIRMED, NOON, queue, seen, spec, workers

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.api.reasons import ScalingReason as Scaling
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.conditions import Facts, conditions, evaluate
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Limit, Vote
from queueworker_operator.scaling.observation import Observation, Ownership, Problem, WorkersObservation


def judging(look: Observation, *, facts: Facts = FINE, **changes: Any) -> dict[ConditionType, Condition]:
    """Return the conditions of a decision that differs from what is decided by `changes`."""
    decision = replace(decide(look, spec(), CONFIRMED, NOON), **changes)
    return {c.type: c for c in conditions(look, decision, facts, (), NOON)}


def target(**more: Any) -> Observation:
    return seen(queue(waiting=4), workers_=WorkersObservation(ownership=Ownership.TARGET, replicas=2, ready=2, **more))


def test_what_target_ref_names_is_ready_when_it_is_there():
    found = judging(target(rollout_complete=None), facts=replace(FINE, applied=False))
    assert said(found[ConditionType.READY]) == ("True", Reason.TARGET_FOUND)
    assert found[ConditionType.STALLED].status == found[ConditionType.RECONCILING].status == "False"
    assert said(found[ConditionType.WORKERS_AVAILABLE]) == ("True", Reason.WORKERS_READY)


def test_workers_of_an_earlier_spec_are_named_beside_the_target():
    found = judging(target(left_behind="Deployment jobs/mail"))[ConditionType.READY]
    assert said(found) == ("True", Reason.TARGET_FOUND)
    assert found.message == (
        "what spec.targetRef names is there; the Deployment jobs/mail of the earlier spec.worker serves the queues "
        "too: delete it, or scale it to 0"
    )


def test_a_target_that_cannot_be_scaled_is_named_wherever_it_matters():
    found = judging(target(target_problem=problem(Reason.TARGET_NOT_FOUND)))
    assert said(found[ConditionType.READY]) == ("False", Reason.TARGET_NOT_FOUND)
    assert said(found[ConditionType.STALLED]) == ("True", Reason.TARGET_NOT_FOUND)
    assert said(found[ConditionType.SCALING_ACTIVE]) == ("False", Reason.TARGET_NOT_FOUND)
    assert said(found[ConditionType.WORKERS_AVAILABLE]) == ("Unknown", Reason.NO_WORKERS)
    assert found[ConditionType.READY].message == "what, where, what to do"


@pytest.mark.parametrize(
    ("reason", "expected", "message"),
    [
        (Scaling.DRY_RUN, Reason.DRY_RUN, "autoscaling.dryRun: the number is decided and reported, and not written"),
        (
            Scaling.CONFLICTING_AUTOSCALER,
            Reason.CONFLICTING_AUTOSCALER,
            "HorizontalPodAutoscaler mail writes the number of the same target: delete it, or set autoscaling.dryRun "
            "for as long as it is to decide",
        ),
        (
            Scaling.PINNED,
            Reason.PAUSED_BY_USER,
            "pinned at 4 until 12:30:00 by the annotation queueworker.dev/pinned-replicas",
        ),
    ],
)
def test_a_number_that_is_only_reported_is_not_active(reason: Scaling, expected: Reason, message: str):
    pin = Limit(by=Scaling.PINNED, before=2, after=4, until=NOON + 1800)
    look = target(conflict="HorizontalPodAutoscaler mail")
    found = judging(look, reason=reason, limits=(pin,) if reason is Scaling.PINNED else ())
    assert said(found[ConditionType.SCALING_ACTIVE]) == ("False", expected)
    assert found[ConditionType.SCALING_ACTIVE].message == message


def test_whether_another_writes_the_number_too_may_be_unknown():
    blind = Problem(reason=Reason.CLUSTER_DENIED, message="whether another writes it too is not known: forbidden")
    found = judging(target(conflict_problem=blind))[ConditionType.SCALING_ACTIVE]
    assert said(found) == ("Unknown", Reason.CLUSTER_DENIED)
    assert found.message == "the number follows the queues; whether another writes it too is not known: forbidden"

    known = judging(target(conflict="HorizontalPodAutoscaler mail", conflict_problem=blind))
    assert said(known[ConditionType.SCALING_ACTIVE]) == ("False", Reason.CONFLICTING_AUTOSCALER)


def test_a_pin_is_shown_even_where_it_changes_nothing():
    found = judging(read_worker(), reason=Scaling.PINNED, desired=2)[ConditionType.PAUSED]
    assert said(found) == ("True", Reason.PAUSED_BY_USER)
    assert found.message == "pinned at 2 by the annotation queueworker.dev/pinned-replicas"


def test_an_annotation_that_cannot_be_read_is_told_and_pauses_nothing():
    warning = Problem(reason=Reason.SPEC_INVALID, message="annotation queueworker.dev/pinned-replicas: set a number")
    found = judging(read_worker(), warnings=(warning,))[ConditionType.PAUSED]
    assert (*said(found), found.message) == ("False", Reason.SPEC_INVALID, warning.message)


@pytest.mark.parametrize(
    ("reason", "kind", "status"),
    [
        (Reason.TARGET_INFEASIBLE, ConditionType.SCALING_LIMITED, "True"),
        (Reason.DRAIN_TOO_SHORT, ConditionType.WORKERS_AVAILABLE, "True"),
        (Reason.PRIORITY_STARVED, ConditionType.WORKERS_CONSUMING, "True"),
    ],
)
def test_what_is_wrong_with_the_wish_is_told_where_it_hurts(reason: Reason, kind: ConditionType, status: str):
    found = judging(read_worker(), warnings=(problem(reason),))
    assert (*said(found[kind]), found[kind].message) == (status, reason, "what, where, what to do")
    assert {c.type for c in found.values() if c.reason == reason} == {kind}


def test_a_drain_time_that_is_too_short_does_not_hide_workers_that_are_not_there():
    look = seen(queue(), workers_=workers(3, ready=0))
    found = judging(look, warnings=(problem(Reason.DRAIN_TOO_SHORT),))[ConditionType.WORKERS_AVAILABLE]
    assert said(found) == ("False", Reason.PENDING)


@pytest.mark.parametrize(
    ("by", "queue_name", "message"),
    [
        (
            Scaling.LIMITED_BY_GLOBAL_CONCURRENCY,
            "killmail",
            "the concurrency that queue killmail sets for all its workers keeps 2 busy",
        ),
        (Scaling.LIMITED_BY_RATE_LIMIT, "killmail", "the rate limit of queue killmail keeps 2 busy"),
        (Scaling.THROUGHPUT_LIMITED, "killmail", "autoscaling.throughputLimit keeps 2 busy"),
        (Scaling.SCALE_UP_RATE_LIMITED, None, "behavior.scaleUp allows 2 for now"),
        (Scaling.RETRY_STORM, None, "most jobs fail and more pods did not help: no more than 2 for now"),
        (Scaling.WORKERS_NOT_READY, None, "no more than 2 while new pods do not come up: what, where, what to do"),
        (Scaling.QUOTA_EXCEEDED, None, "no more than 2 while new pods do not come up: what, where, what to do"),
    ],
)
def test_what_keeps_the_number_down_is_named(by: Scaling, queue_name: str | None, message: str):
    look = read_worker(rollout_problem=problem(Reason.QUOTA_EXCEEDED))
    limit = Limit(by=by, before=9, after=2, queue=queue_name)
    found = judging(look, reason=by, limits=(limit,))[ConditionType.SCALING_LIMITED]
    assert (*said(found), found.message) == ("True", Reason.LIMITED, message)
    elsewhere = judging(look, limits=(limit,))[ConditionType.SCALING_LIMITED]
    assert said(elsewhere) == ("False", Reason.WITHIN_LIMITS)


def test_a_schedule_is_a_minimum_of_its_own():
    look = seen(queue(), replicas=5)
    schedule = Vote(rule="schedule", replicas=5, reason=Scaling.SCHEDULED)
    found = judging(look, desired=5, votes=(schedule,), reason=Scaling.SCHEDULED)[ConditionType.SCALING_LIMITED]
    assert (found.status, found.message) == ("True", "the schedule in force asks for 5, the queues need 0")


def test_who_else_serves_a_queue_is_named():
    look = seen(replace(queue(waiting=1), shared_with=("prod/other", "prod/backfill")), replicas=1)
    found = judging(look)[ConditionType.QUEUE_SHARED]
    assert said(found) == ("True", Reason.QUEUE_SHARED)
    assert "queue killmail is served too by prod/backfill, prod/other" in found.message


# Reasons that conditions do not think of themselves: they come with a Problem of the cluster, of Redis or of the spec,
OF_PROBLEMS = {
    Reason.SECRET_NOT_FOUND,
    Reason.SECRET_NOT_ALLOWED,
    Reason.CLUSTER_DENIED,
    Reason.QUOTA_EXCEEDED,
    Reason.DRIFT_FIGHT,
    Reason.REDIS_UNREACHABLE,
    Reason.REDIS_AUTH_FAILED,
    Reason.REDIS_DENIED,
    Reason.REDIS_TLS_ERROR,
    Reason.REDIS_MEMORY_FULL,
    Reason.ROLE_NOT_MASTER,
    Reason.INVALID_QUEUE_KEY,
    Reason.TARGET_NOT_FOUND,
    Reason.TARGET_INFEASIBLE,
    Reason.DRAIN_TOO_SHORT,
    Reason.PRIORITY_STARVED,
}
# or they are told by events alone.
OF_EVENTS = {
    Reason.SCALED_UP,
    Reason.SCALED_DOWN,
    Reason.WORKERS_CREATED,
    Reason.WORKERS_ADOPTED,
    Reason.TEMPLATE_APPLIED,
    Reason.DRIFT_CORRECTED,
}


def test_every_reason_has_a_place_where_it_is_said():
    parts = Path(evaluate.__file__).parent.glob("*.py")
    written = {name for part in parts for name in re.findall(r"Reason\.([A-Z_]+)", part.read_text())}
    assert [r for r in Reason if r.name not in written and r not in OF_PROBLEMS | OF_EVENTS] == []
    for reason in OF_PROBLEMS:
        facts = replace(FINE, apply_problem=problem(reason))
        assert judging(read_worker(), facts=facts)[ConditionType.READY].reason == reason
