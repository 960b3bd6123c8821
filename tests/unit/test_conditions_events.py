"""Events: one for each transition, none in between."""

from dataclasses import replace

import pytest
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.api.reasons import ScalingReason as Scaling
from queueworker_operator.api.v1alpha1 import QueueWorkerStatus
from queueworker_operator.conditions import Facts, conditions, transitions
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.observation import Observation, Problem
from queueworker_operator.scaling.record import scaling_status

FINE = Facts(generation=1, applied=True)


def status(look: Observation, *, facts: Facts = FINE, previous: QueueWorkerStatus | None = None) -> QueueWorkerStatus:
    decision = decide(look, spec(), CONFIRMED, NOON)
    before = previous.conditions or [] if previous else []
    return QueueWorkerStatus(
        scaling=scaling_status(decision), conditions=list(conditions(look, decision, facts, before, NOON))
    )


def told(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> list[tuple[str, str, str]]:
    return [(event.kind, event.reason, event.message) for event in transitions(previous, current)]


STEADY = seen(queue(waiting=40, active=20), replicas=2)
LOST = seen(unreadable(failures=3), replicas=2)
DENIED = replace(FINE, apply_problem=Problem(reason=Reason.CLUSTER_DENIED, message="may not patch deployments"))


def test_a_change_of_the_number_is_told_once_and_with_its_numbers():
    ticker = Ticker(spec(target=200, window=0, min_replicas=1), replicas=4, history=CONFIRMED)
    before = QueueWorkerStatus(scaling=scaling_status(ticker.tick(queue(waiting=700))))
    up = QueueWorkerStatus(scaling=scaling_status(ticker.tick(queue(waiting=900, prioritized=250, delayed_due=30))))
    assert told(before, up) == [
        (
            "Normal",
            Reason.SCALED_UP,
            "4 -> 6: backlog 1180 (waiting 900, prioritized 250, due 30) at 200 per replica needs 6.",
        )
    ]
    same = QueueWorkerStatus(scaling=scaling_status(ticker.tick(queue(waiting=1180))))
    assert told(up, same) == []
    down = QueueWorkerStatus(scaling=scaling_status(ticker.tick(queue(waiting=300))))
    assert told(same, down) == [
        ("Normal", Reason.SCALED_DOWN, "6 -> 2: backlog 300 (waiting 300) at 200 per replica needs 2.")
    ]
    assert [event.reason for event in transitions(before, down)] == [Reason.SCALED_UP, Reason.SCALED_DOWN]


def test_the_first_workers_are_told():
    look = replace(STEADY, workers=replace(workers(0)))
    assert told(None, status(look)) == [
        ("Normal", Reason.SCALED_UP, "0 -> 2: backlog 40 (waiting 40) at 20 per replica needs 2.")
    ]


def test_a_queue_lost_and_regained():
    well = status(STEADY)
    hiccup = status(seen(unreadable(), replicas=2), previous=well)
    lost = status(LOST, previous=hiccup)
    still = status(LOST, previous=lost)
    again = status(STEADY, previous=still)
    assert told(well, hiccup) == []
    assert told(hiccup, lost) == [
        ("Warning", Reason.REDIS_UNREACHABLE, "QueueReachable: redis.killboard.svc:6379 refused the connection")
    ]
    assert told(lost, still) == []
    assert told(still, again) == [("Normal", Reason.QUEUE_READ, "QueueReachable again: queue killmail is read")]


def test_another_reason_for_the_same_loss_is_told():
    auth = Problem(reason=Reason.REDIS_AUTH_FAILED, message="the password was refused")
    other = seen(replace(LOST.queues[0], problem=auth), replicas=2)
    lost = status(LOST)
    assert told(lost, status(other, previous=lost)) == [
        ("Warning", Reason.REDIS_AUTH_FAILED, "QueueReachable: the password was refused")
    ]


def test_a_stalled_rollout_is_told_and_one_that_goes_on_is_not():
    well = status(STEADY)
    rolling = status(replace(STEADY, workers=workers(2, rollout_complete=False)), previous=well)
    denied = status(STEADY, facts=DENIED, previous=rolling)
    again = status(STEADY, previous=denied)
    assert told(well, rolling) == []
    assert told(rolling, denied) == [("Warning", Reason.CLUSTER_DENIED, "Ready: may not patch deployments")]
    assert [reason for _, reason, _ in told(denied, again)] == [Reason.ROLLED_OUT]
    assert told(rolling, again) == []


@pytest.mark.parametrize("facts", [FINE, DENIED])
@pytest.mark.parametrize("look", [STEADY, LOST])
def test_nothing_changed_nothing_told(look: Observation, facts: Facts):
    first = status(look, facts=facts)
    assert told(first, status(look, facts=facts, previous=first)) == []


def changed(well: QueueWorkerStatus, kind: ConditionType, status: str, reason: Reason) -> QueueWorkerStatus:
    """Return a status in which one condition says something else."""
    update = {"status": status, "reason": reason, "message": "what, where, what to do"}
    told_ = [one.model_copy(update=update) if one.type is kind else one for one in well.conditions or ()]
    return well.model_copy(update={"conditions": told_})


@pytest.mark.parametrize(
    ("kind", "holds", "reason"),
    [
        (ConditionType.WORKERS_CONSUMING, "True", Reason.PRIORITY_STARVED),
        (ConditionType.WORKERS_AVAILABLE, "True", Reason.DRAIN_TOO_SHORT),
        (ConditionType.SCALING_LIMITED, "True", Reason.TARGET_INFEASIBLE),
        (ConditionType.PAUSED, "False", Reason.SPEC_INVALID),
    ],
)
def test_what_is_wrong_with_the_wish_is_warned_of_once(kind: ConditionType, holds: str, reason: Reason):
    well = status(STEADY)
    warned = changed(well, kind, holds, reason)
    assert told(well, warned) == [("Warning", reason, "what, where, what to do")]
    assert told(warned, warned) == []
    assert told(warned, well) == []


@pytest.mark.parametrize(
    ("kind", "reason", "times"),
    [
        (ConditionType.PAUSED, Reason.SPEC_INVALID, 1),
        (ConditionType.READY, Reason.SPEC_INVALID, 1),
        (ConditionType.QUEUE_REACHABLE, Reason.REDIS_UNREACHABLE, 0),
    ],
)
def test_of_the_same_trouble_only_another_mistake_of_the_user_is_told_again(
    kind: ConditionType, reason: Reason, times: int
):
    well = changed(status(STEADY), ConditionType.STALLED, "True", reason)
    first = changed(well, kind, "False", reason)
    conditions = first.conditions or ()
    update = {"conditions": [one.model_copy(update={"message": "another one"}) for one in conditions]}
    again = [message for _, _, message in told(first, first.model_copy(update=update))]
    assert [message.endswith("another one") for message in again] == [True] * times


def test_another_autoscaler_is_told_when_it_comes_and_when_it_goes():
    well = status(STEADY)
    fought = changed(well, ConditionType.SCALING_ACTIVE, "False", Reason.CONFLICTING_AUTOSCALER)
    assert told(well, fought) == [("Warning", Reason.CONFLICTING_AUTOSCALER, "ScalingActive: what, where, what to do")]
    assert [reason for _, reason, _ in told(fought, well)] == [Reason.SCALING]
    assert told(fought, fought) == []


@pytest.mark.parametrize("reason", [Reason.PAUSED_BY_USER, Reason.DRY_RUN, Reason.FIXED_REPLICAS])
def test_what_the_user_asked_for_is_no_event(reason: Reason):
    well = status(STEADY)
    assert told(well, changed(well, ConditionType.SCALING_ACTIVE, "False", reason)) == []


def test_a_fallback_is_warned_of_once():
    well = status(STEADY)
    assert well.scaling is not None
    update = {"reason": Scaling.METRICS_LOSS_FALLBACK, "message": "3 of 0-20 replicas: onMetricsLoss raises it to 3."}
    fallen = well.model_copy(update={"scaling": well.scaling.model_copy(update=update)})
    assert told(well, fallen) == [("Warning", Reason.METRICS_UNKNOWN, "onMetricsLoss raises it to 3.")]
    assert told(fallen, fallen) == told(fallen, well) == []
