"""The decision as the status shows it, and when a status is worth writing."""

from bisect import bisect_right
from enum import IntEnum

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.scaling import explain
from queueworker_operator.scaling.decision import Change, Decision, Inputs, Limit, Vote
from queueworker_operator.scaling.history import optional_stamp, stamp, to_memory

_HOUR, _DAY = 3600, 86_400
_AGES = (0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
_MAX_COUNT = 2**31 - 1
_MAX_NAME = 128
_MAX_VOTES, _MAX_LIMITS = 128, 64


class Difference(IntEnum):
    """How much two statuses differ; higher is more urgent."""

    NONE = 0
    """Nothing that a reader would miss; what is only remembered is written with the next difference."""
    NUMBERS = 1
    """Counts, messages or details: worth a write when the budget allows one."""
    DECISION = 2
    """The number, its reason or the status of a condition: worth a write at once."""


def scaling_status(decision: Decision, *, previous: api.Scaling | None = None) -> api.Scaling:
    """Return the decision record; `previous` gives the parts of the memory that others keep there."""
    history = decision.history
    memory = previous.memory if previous is not None else None
    return api.Scaling(
        desired=_count(decision.desired),
        reason=decision.reason,
        message=explain.clip(decision.message),
        inputs=_inputs(decision.inputs),
        votes=[_vote(vote) for vote in decision.votes[:_MAX_VOTES]] or None,
        limits=[_limit(limit) for limit in decision.limits[:_MAX_LIMITS]] or None,
        last_scale_time=optional_stamp(history.last_scale_at),
        last_decision_change_time=optional_stamp(history.last_change_at),
        history=[_change(change) for change in history.changes] or None,
        memory=to_memory(history, memory),
    )


def coarse_age(seconds: float) -> int:
    """Round an age down: 1, 2, 5, 10, 20, 30 s, 1, 2, 5, 10, 20, 30 min, then whole hours, from one day on whole days.

    An age grows by itself; on these steps a backlog that nothing else changes costs a dozen status writes in its first
    hour instead of one each second.
    """
    whole = max(0, int(seconds))
    if whole >= _HOUR:
        step = _DAY if whole >= _DAY else _HOUR
        return whole // step * step
    return _AGES[bisect_right(_AGES, whole) - 1]


def difference(before: api.QueueWorkerStatus | None, after: api.QueueWorkerStatus) -> Difference:
    """Return how urgent it is to write `after` where the cluster holds `before`."""
    if before is None or _urgent(before) != _urgent(after):
        return Difference.DECISION
    return Difference.NONE if _visible(before) == _visible(after) else Difference.NUMBERS


def _urgent(status: api.QueueWorkerStatus) -> tuple[object, ...]:
    scaling = status.scaling
    number = (scaling.desired, scaling.reason, scaling.last_scale_time) if scaling is not None else None
    conditions: dict[ConditionType, str] = {c.type: c.status for c in status.conditions or ()}
    return status.observed_generation, number, conditions


def _visible(status: api.QueueWorkerStatus) -> api.QueueWorkerStatus:
    """Leave out what only says that time went by: the window's peaks and the beginning of the idle time."""
    scaling = status.scaling
    if scaling is None or scaling.memory is None:
        return status
    memory = scaling.memory.model_copy(
        update={"recommendations": None, "idle_since": None, "not_consuming_since": None}
    )
    return status.model_copy(update={"scaling": scaling.model_copy(update={"memory": memory})})


def _inputs(inputs: Inputs) -> api.Inputs:
    age = inputs.oldest_age_seconds
    return api.Inputs(
        waiting=inputs.waiting,
        prioritized=inputs.prioritized,
        delayed_due=inputs.delayed_due,
        backlog=inputs.backlog,
        active=inputs.active,
        delayed=inputs.delayed,
        failed=inputs.failed,
        oldest_age_seconds=None if age is None else coarse_age(age),
        paused_queues=[name[:_MAX_NAME] for name in inputs.paused_queues] or None,
    )


def _vote(vote: Vote) -> api.Vote:
    return api.Vote(queue=vote.queue, rule=vote.rule, replicas=_count(vote.replicas))


def _limit(limit: Limit) -> api.Limit:
    return api.Limit(
        queue=limit.queue,
        by=limit.by,
        from_=_count(limit.before),
        to=_count(limit.after),
        until=optional_stamp(limit.until),
    )


def _change(change: Change) -> api.Change:
    return api.Change(
        time=stamp(change.at),
        from_=_count(change.before),
        to=_count(change.after),
        reason=change.reason,
        backlog=change.backlog,
    )


def _count(number: int) -> int:
    return min(number, _MAX_COUNT)
