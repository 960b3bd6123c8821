"""The events that a change of the status is worth: each once, on the transition."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.api.v1alpha1 import Change, Condition, QueueWorkerStatus
from queueworker_operator.scaling.explain import clip, without_head

# Whose loss is worth a warning, and whose return is worth saying.
_TOLD = (
    ConditionType.READY,
    ConditionType.QUEUE_REACHABLE,
    ConditionType.WORKERS_CONSUMING,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventToPublish:
    """An event of Kubernetes: what `Cluster.publish` takes."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> tuple[EventToPublish, ...]:
    """Return the events between two statuses of one QueueWorker; none where nothing changed."""
    return (*_scaled(previous, current), *_conditions(previous, current))


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


def _history(status: QueueWorkerStatus | None) -> list[Change]:
    return list(status.scaling.history or ()) if status is not None and status.scaling is not None else []


def _conditions(previous: QueueWorkerStatus | None, current: QueueWorkerStatus) -> Iterator[EventToPublish]:
    before, after = _by_type(previous), _by_type(current)
    for kind in _TOLD:
        now, then = after.get(kind), before.get(kind)
        if now is None:
            continue
        if _is_problem(now, after) and not (
            then is not None and _is_problem(then, before) and then.reason == now.reason
        ):
            yield EventToPublish(kind="Warning", reason=now.reason, message=f"{kind}: {now.message}")
        elif now.status == "True" and then is not None and _is_problem(then, before):
            yield EventToPublish(kind="Normal", reason=now.reason, message=f"{kind} again: {now.message}")


def _by_type(status: QueueWorkerStatus | None) -> dict[ConditionType, Condition]:
    return {condition.type: condition for condition in (status.conditions or ())} if status is not None else {}


def _is_problem(condition: Condition, among: dict[ConditionType, Condition]) -> bool:
    """A rollout that goes on is no problem, one that is stalled is."""
    if condition.status != "False":
        return False
    if condition.type is not ConditionType.READY:
        return True
    stalled = among.get(ConditionType.STALLED)
    return stalled is not None and stalled.status == "True"
