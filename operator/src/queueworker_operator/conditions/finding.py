"""What a condition says before it is put beside the one that it replaces."""

from dataclasses import dataclass
from typing import Literal, Self

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.observation import Problem

Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Status, reason and message of a condition."""

    status: Status
    reason: ConditionReason
    message: str

    @classmethod
    def of(cls, problem: Problem, *, status: Status) -> Self:
        """Say a problem."""
        return cls(status, problem.reason, problem.message)


def yes(reason: ConditionReason, message: str) -> Finding:
    """Say that it holds."""
    return Finding("True", reason, message)


def no(reason: ConditionReason, message: str) -> Finding:
    """Say that it does not hold."""
    return Finding("False", reason, message)


def unknown(reason: ConditionReason, message: str) -> Finding:
    """Say that nobody knows."""
    return Finding("Unknown", reason, message)
