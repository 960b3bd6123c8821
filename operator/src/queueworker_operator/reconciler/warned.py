"""Which warnings of the wish itself were told: however often a burst hides one, it is told again only after a while."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.v1alpha1 import QueueWorkerStatus
from queueworker_operator.scaling.observation import Problem

GONE_SECONDS: Final = 600.0
"""A warning that was away for less is the same one."""
_HIDDEN: Final = frozenset(
    {Reason.TARGET_INFEASIBLE, Reason.DRAIN_TOO_SHORT, Reason.PRIORITY_STARVED, Reason.WORKERS_NOT_READY}
)
"""Their condition may have something more urgent to say meanwhile; a crash loop comes and goes."""


class Warned:
    """Of one QueueWorker; times are of the loop's clock."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def look(self, status: QueueWorkerStatus | None, warnings: Iterable[Problem], at: float) -> None:
        """Take note of what the status says, which was told, and of what is still warned of."""
        for reason in [reason for reason, last in self._last.items() if at - last > GONE_SECONDS]:
            del self._last[reason]
        said = {condition.reason for condition in (status.conditions if status else None) or ()}
        standing = {str(problem.reason) for problem in warnings} & self._last.keys()
        self._last |= dict.fromkeys((said & _HIDDEN) | standing, at)

    def knows(self, reason: str) -> bool:
        """Whether this was told and not gone for long since."""
        return reason in self._last
