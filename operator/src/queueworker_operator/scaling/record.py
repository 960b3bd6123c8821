"""The decision as the status shows it, and when a status is worth writing."""

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.scaling import explain
from queueworker_operator.scaling.decision import Change, Decision, Inputs, Limit, Vote
from queueworker_operator.scaling.explain.facts import next_due_at
from queueworker_operator.scaling.history import optional_stamp, stamp, to_memory
from queueworker_operator.scaling.observation import Observation, QueueObservation
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rounding import coarse_age, milliseconds, per_minute, two_digits

_Told = TypeVar("_Told", Vote, Limit)
_MAX_COUNT = 2**31 - 1
_MAX_NAME = 128
_MAX_VOTES, _MAX_LIMITS, _MAX_QUEUES = 128, 64, 32
MEASURED_STARTS = 3
"""From so many on, the time that pods take to start is a measured one."""


class Difference(IntEnum):
    """How much two statuses differ; higher is more urgent."""

    NONE = 0
    """Nothing that a reader would miss; what is only remembered is written with the next difference."""
    NUMBERS = 1
    """Counts, messages or details: worth a write when the budget allows one."""
    DECISION = 2
    """The number, its reason or the status of a condition: worth a write at once."""


def scaling_status(
    decision: Decision, observation: Observation | None = None, *, previous: api.Scaling | None = None
) -> api.Scaling:
    """Return the decision record; `previous` gives the parts of the memory that others keep there.

    Measured numbers are rounded to two digits and ages to few steps, so that noise writes no status; what each queue
    holds is left out where the look is not given.
    """
    history = decision.history
    memory = previous.memory if previous is not None else None
    queues = observation.queues if observation is not None else ()
    due = min((at for queue in queues if (at := next_due_at(queue.snapshot)) is not None), default=None)
    return api.Scaling(
        desired=_count(decision.desired),
        reason=decision.reason,
        message=explain.clip(decision.message),
        inputs=_inputs(decision.inputs, queues),
        votes=[_vote(vote) for vote in _telling(decision.votes, _MAX_VOTES)] or None,
        limits=[_limit(limit, due) for limit in _telling(decision.limits, _MAX_LIMITS)] or None,
        last_scale_time=optional_stamp(history.last_scale_at),
        last_decision_change_time=optional_stamp(history.last_change_at),
        history=[_change(change) for change in history.changes] or None,
        memory=to_memory(history, memory),
    )


def difference(before: api.QueueWorkerStatus | None, after: api.QueueWorkerStatus) -> Difference:
    """Return how urgent it is to write `after` where the cluster holds `before`."""
    if before is None or _urgent(before) != _urgent(after):
        return Difference.DECISION
    return Difference.NONE if _visible(before) == _visible(after) else Difference.NUMBERS


def _urgent(status: api.QueueWorkerStatus) -> tuple[object, ...]:
    scaling = status.scaling
    number = (scaling.desired, scaling.reason, scaling.last_scale_time) if scaling is not None else None
    # That pods fail, where they only had to start before, is no less than a change of the status.
    failing = ConditionReason.WORKERS_NOT_READY
    conditions = {c.type: (c.status, c.reason == failing) for c in status.conditions or ()}
    return status.observed_generation, number, conditions


def _visible(status: api.QueueWorkerStatus) -> tuple[object, ...]:
    """Return all but what is only remembered; of that alone what was done to the template, and whether there is any."""
    scaling = status.scaling
    shown = {name: value for name, value in status.__dict__.items() if name != "scaling"}
    if scaling is None:
        return shown, None, None
    memory = scaling.memory
    template = (memory.applied_fields, memory.drift_corrected_at) if memory is not None else None
    return shown, {name: value for name, value in scaling.__dict__.items() if name != "memory"}, template


def _inputs(inputs: Inputs, queues: Sequence[QueueObservation]) -> api.Inputs:
    age, start_up = inputs.oldest_age_seconds, inputs.start_up
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
        queues=[_queue(queue, inputs.rates.get(queue.name)) for queue in queues[:_MAX_QUEUES]] or None,
        start_up_seconds=two_digits(start_up.seconds) if start_up.measured >= MEASURED_STARTS else None,
    )


def _queue(queue: QueueObservation, rates: QueueRates | None) -> api.QueueInputs:
    name, seen = queue.name[:_MAX_NAME], queue.snapshot
    if seen is None:
        return api.QueueInputs(name=name)
    if rates is None:
        return api.QueueInputs(name=name, backlog=seen.backlog, active=seen.active, slots=queue.concurrency)
    return api.QueueInputs(
        name=name,
        backlog=seen.backlog,
        active=rates.active,
        slots=rates.slots,
        service_milliseconds=milliseconds(rates.service_seconds),
        service_source=rates.service_source,
        arrivals_per_minute=per_minute(rates.arrivals_per_second),
    )


def _telling(found: Sequence[_Told], most: int) -> Sequence[_Told]:
    """Return as many as fit, in their order: what speaks for the whole QueueWorker, then what asks for most."""
    if len(found) <= most:
        return found
    by_weight = sorted(range(len(found)), key=lambda place: (found[place].queue is not None, -_asked(found[place])))
    return [found[place] for place in sorted(by_weight[:most])]


def _asked(one: Vote | Limit) -> int:
    return one.replicas if isinstance(one, Vote) else one.after


def _vote(vote: Vote) -> api.Vote:
    return api.Vote(queue=vote.queue, rule=vote.rule, replicas=_count(vote.replicas))


def _limit(limit: Limit, due: float | None) -> api.Limit:
    # By the clock of Redis, where the job is kept: a moment that is counted from each look would tremble.
    until = due if limit.by is ScalingReason.NEXT_JOB_DUE and due is not None else limit.until
    return api.Limit(
        queue=limit.queue,
        by=limit.by,
        from_=_count(limit.before),
        to=_count(limit.after),
        until=optional_stamp(until),
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
