"""What is to be told of a QueueWorker."""

from __future__ import annotations

from dataclasses import dataclass

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import Resource
from queueworker_operator.conditions import Facts
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one QueueWorker, as it is to be told."""

    resource: Resource
    observation: Observation
    decision: Decision
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done beside the number, which stands in the decision record."""

    reason: ConditionReason
    message: str
    warning: bool = False
