"""The events that a change of the status is worth: each once, on the transition."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType, ScalingReason
from queueworker_operator.api.v1alpha1 import Change, Condition, QueueWorkerStatus
from queueworker_operator.scaling.explain import clip, without_head

# Whose loss is worth a warning, and whose return is worth saying, but for those below.
_TOLD = (
    ConditionType.READY,
    ConditionType.QUEUE_REACHABLE,
    ConditionType.SCALING_ACTIVE,
    ConditionType.WORKERS_AVAILABLE,
    ConditionType.WORKERS_CONSUMING,
)
# A crash loop ends after each start, for a while.
_SILENT = frozenset({ConditionType.WORKERS_AVAILABLE})
# Reasons that are worth a warning although their condition holds, or does not hold as it should.
_WARNINGS = frozenset(
    {
        (ConditionType.WORKERS_AVAILABLE, Reason.DRAIN_TOO_SHORT),
        (ConditionType.WORKERS_CONSUMING, Reason.PRIORITY_STARVED),
        (ConditionType.SCALING_LIMITED, Reason.TARGET_INFEASIBLE),
        (ConditionType.PAUSED, Reason.SPEC_INVALID),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventToPublish:
    """An event of Kubernetes: what `Cluster.publish` takes."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> tuple[EventToPublish, ...]:
    """Return the events between two statuses of one QueueWorker; none where nothing changed."""
    return (
        *_scaled(previous, current),
        *_fallback(previous, current),
        *_conditions(previous, current),
        *_warnings(previous, current),
    )


def _scaled(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> Iterator[EventToPublish]:
    known = _history(previous)
    new = [change for change in _history(current) if change not in known]
    for change in reversed(new):
        newest = current.scaling is not None and change is new[0]
        why = without_head(current.scaling.message) if newest and current.scaling else str(change.reason)
        yield EventToPublish(
            kind="Normal",
            reason=Reason.SCALED_UP if change.to > change.from_ else Reason.SCALED_DOWN,
            message=clip(f"{change.from_} -> {change.to}: {why}"),
        )


def _fallback(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> Iterator[EventToPublish]:
    before, now = (status.scaling if status is not None else None for status in (previous, current))
    fallback = ScalingReason.METRICS_LOSS_FALLBACK
    if now is not None and now.reason is fallback and (before is None or before.reason is not fallback):
        yield EventToPublish(kind="Warning", reason=Reason.METRICS_UNKNOWN, message=clip(without_head(now.message)))


def _warnings(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> Iterator[EventToPublish]:
    known = {_said(condition) for condition in _by_type(previous).values()}
    for condition in current.conditions or ():
        if (condition.type, condition.reason) in _WARNINGS and _said(condition) not in known:
            yield EventToPublish(kind="Warning", reason=condition.reason, message=condition.message)


def _said(condition: Condition) -> tuple[str, str, str]:
    """Return what a warning is the same by: another thing that the user wrote is another one, a measure is not."""
    by_user = condition.reason == Reason.SPEC_INVALID
    return condition.type, condition.reason, condition.message if by_user else ""


def _history(status: QueueWorkerStatus | None) -> list[Change]:
    return list(status.scaling.history or ()) if status is not None and status.scaling is not None else []


def _conditions(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> Iterator[EventToPublish]:
    before, after = _by_type(previous), _by_type(current)
    for kind in _TOLD:
        now, then = after.get(kind), before.get(kind)
        if now is None:
            continue
        if _is_problem(now, after) and not (
            then is not None and _is_problem(then, before) and _said(then) == _said(now)
        ):
            yield EventToPublish(kind="Warning", reason=now.reason, message=f"{kind}: {now.message}")
        elif now.status == "True" and kind not in _SILENT and then is not None and _is_problem(then, before):
            yield EventToPublish(kind="Normal", reason=now.reason, message=f"{kind} again: {now.message}")


def _by_type(status: QueueWorkerStatus | None) -> dict[ConditionType, Condition]:
    return {condition.type: condition for condition in (status.conditions or ())} if status is not None else {}


def _is_problem(condition: Condition, among: dict[ConditionType, Condition]) -> bool:
    """A rollout that goes on is no problem, one that is stalled is; of a number that is not ours to say, a conflict.

    Workers that are just starting are none either.
    """
    if condition.status != "False":
        return False
    if condition.type is ConditionType.SCALING_ACTIVE:
        return condition.reason == Reason.CONFLICTING_AUTOSCALER
    if condition.type is ConditionType.WORKERS_AVAILABLE:
        return condition.reason != Reason.PENDING
    if condition.type is not ConditionType.READY:
        return True
    stalled = among.get(ConditionType.STALLED)
    return stalled is not None and stalled.status == "True"
