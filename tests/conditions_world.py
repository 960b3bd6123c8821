"""What was seen and decided, and the conditions that come of it."""

from typing import Any

from scaling_world import CONFIRMED, NOON, queue, seen, spec, workers

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.api.v1alpha1 import Condition, QueueWorkerSpec
from queueworker_operator.conditions import Facts, conditions
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.observation import Observation, Problem

FINE = Facts(generation=3, applied=True)


def judged(
    look: Observation,
    *,
    wish: QueueWorkerSpec | None = None,
    facts: Facts = FINE,
    previous: tuple[Condition, ...] = (),
    now: float = NOON,
    history: History = CONFIRMED,
) -> dict[ConditionType, Condition]:
    decision = decide(look, wish or spec(), history, now)
    return {c.type: c for c in conditions(look, decision, facts, previous, now)}


def said(condition: Condition) -> tuple[str, str]:
    return condition.status, condition.reason


def read_worker(**more: Any) -> Observation:
    return seen(queue(waiting=40, active=20), workers_=workers(2, **more))


def problem(reason: Reason) -> Problem:
    return Problem(reason=reason, message="what, where, what to do")
