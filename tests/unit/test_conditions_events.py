"""Events: one for each transition, none in between."""

from dataclasses import replace

import pytest
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ConditionReason as Reason
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
