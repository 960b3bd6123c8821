"""From a look and a decision to the conditions. A finding of None means: no news, what was said before stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType, ScalingReason
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.conditions.finding import Finding, no, unknown, yes
from queueworker_operator.conditions.progress import progress
from queueworker_operator.scaling.decide import NOT_CONSUMING_SECONDS
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.explain import clip, count, queues_are
from queueworker_operator.scaling.observation import (
    Observation,
    Ownership,
    Problem,
    QueueObservation,
    WorkersObservation,
)
from queueworker_operator.scaling.votes import MINIMUM, MISSING

FAILURES = 3
"""Reads that must fail in a row until a queue counts as unreachable,"""
FAILING_SECONDS = 15.0
"""or for how long they must have failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the conditions need to know beside what was seen and decided."""

    generation: int
    spec_problem: Problem | None = None
    """Why the spec cannot be carried out."""
    apply_problem: Problem | None = None
    """What the cluster refused, or what could not be done there."""
    applied: bool = False
    """Whether the template of the workers is up to the spec."""
    paused_by: str | None = None
    """By what the user paused it; see `queueworker_operator.scaling.decide.pause_source`."""


def conditions(
    observation: Observation | None,
    decision: Decision | None,
    facts: Facts,
    previous: Sequence[Condition],
    now: float,
) -> tuple[Condition, ...]:
    """Return every condition type, in the order of the enum; `now` is in Unix seconds.

    Observation and decision are None as long as there is none. lastTransitionTime moves with the status alone.
    """
    workers = observation.workers if observation is not None else None
    problem = facts.spec_problem or facts.apply_problem
    before = {condition.type: condition for condition in previous}
    ready = before.get(ConditionType.READY)
    judged = ready is not None and ready.observed_generation == facts.generation
    found: dict[ConditionType, Finding | None] = {
        **progress(workers, problem=problem, applied=facts.applied, paused_by=facts.paused_by, judged=judged),
        ConditionType.QUEUE_REACHABLE: _reachable(observation, decision, now),
        ConditionType.SCALING_ACTIVE: _scaling_active(observation, decision, facts, now),
        ConditionType.SCALING_LIMITED: _scaling_limited(observation, decision, now),
        ConditionType.WORKERS_AVAILABLE: _available(workers),
        ConditionType.WORKERS_CONSUMING: _consuming(observation, decision, now),
        ConditionType.PAUSED: _paused(observation, decision, facts),
    }
    return tuple(_condition(kind, found[kind], before.get(kind), facts, now) for kind in ConditionType)


def _condition(
    kind: ConditionType, finding: Finding | None, before: Condition | None, facts: Facts, now: float
) -> Condition:
    if finding is None and before is not None:
        return before.model_copy(update={"observed_generation": facts.generation})
    finding = finding or unknown(Reason.NOT_YET_READ, "no queue has been read yet")
    same = before is not None and before.status == finding.status
    return Condition(
        type=kind,
        status=finding.status,
        reason=finding.reason,
        message=clip(finding.message),
        last_transition_time=before.last_transition_time if same and before else datetime.fromtimestamp(int(now), UTC),
        observed_generation=facts.generation,
    )


def _unread(observation: Observation) -> list[QueueObservation]:
    """Return the queues that say nothing now."""
    return [queue for queue in observation.queues if queue.snapshot is None]


def _lost(observation: Observation, now: float) -> list[QueueObservation]:
    """Return the queues whose reads failed for so long that it is no hiccup."""
    return [queue for queue in _unread(observation) if _is_lost(queue, now)]


def _is_lost(queue: QueueObservation, now: float) -> bool:
    since = queue.failing_since
    return queue.failures >= FAILURES or (since is not None and now - since >= FAILING_SECONDS)


def _reachable(observation: Observation | None, decision: Decision | None, now: float) -> Finding | None:
    if observation is None or not observation.queues:
        return None
    for queue in _lost(observation, now):
        if queue.problem is not None:
            return Finding.of(queue.problem, status="False")
    if _unread(observation):
        return None
    gone = [vote.queue or "" for vote in decision.votes if vote.rule == MISSING] if decision is not None else []
    if gone:
        text = queues_are(gone, one="was there and is gone", many="were there and are gone")
        return yes(Reason.QUEUE_MISSING, f"Redis answers, but {text}: look at prefix, database and queue name")
    names = [queue.name for queue in observation.queues]
    return yes(Reason.QUEUE_READ, queues_are(names, one="is read", many="are read"))


def _scaling_active(
    observation: Observation | None, decision: Decision | None, facts: Facts, now: float
) -> Finding | None:
    if facts.spec_problem is not None:
        return no(Reason.SPEC_INVALID, facts.spec_problem.message)
    if decision is None or observation is None:
        return None
    match decision.reason:
        case ScalingReason.SPEC_INVALID:
            return no(Reason.SPEC_INVALID, decision.message)
        case ScalingReason.PAUSED_BY_USER:
            return no(Reason.PAUSED_BY_USER, f"paused by {facts.paused_by or 'the user'}; the number is left as it is")
        case ScalingReason.FIXED_REPLICAS:
            return no(Reason.FIXED_REPLICAS, "spec.replicas says the number")
    lost, unread = _lost(observation, now), _unread(observation)
    if len(unread) == len(observation.queues):
        return no(Reason.METRICS_UNKNOWN, "no queue can be read; the number is kept") if lost else None
    if lost:
        names = [queue.name for queue in lost]
        text = queues_are(names, one="cannot be read and lowers", many="cannot be read and lower")
        return yes(Reason.SCALING, f"the number follows the other queues; {text} nothing")
    return yes(Reason.SCALING, "the number follows the queues")


def _scaling_limited(observation: Observation | None, decision: Decision | None, now: float) -> Finding | None:
    if decision is None or observation is None:
        return None
    if not decision.votes:
        return no(Reason.WITHIN_LIMITS, "there are no limits to a number that the spec says or that is left as it is")
    for limit in decision.limits:
        if limit.by is ScalingReason.AT_MAXIMUM:
            return yes(Reason.LIMITED, f"maxReplicas is {limit.after}, {limit.before} asked for")
    if len(_unread(observation)) == len(observation.queues):
        return unknown(Reason.METRICS_UNKNOWN, "no queue can be read") if _lost(observation, now) else None
    minimum = next((vote.replicas for vote in decision.votes if vote.rule == MINIMUM), 0)
    others = max((vote.replicas for vote in decision.votes if vote.rule != MINIMUM), default=0)
    if decision.desired == minimum > others:
        return yes(Reason.LIMITED, f"minReplicas is {minimum}, the queues need {others}")
    return no(Reason.WITHIN_LIMITS, "the number lies within minReplicas and maxReplicas")


def _available(workers: WorkersObservation | None) -> Finding:
    if workers is None or workers.ownership in (Ownership.FOREIGN, Ownership.TERMINATING):
        return unknown(Reason.NO_WORKERS, "there is no Deployment of ours to look at")
    if workers.replicas == 0:
        return yes(Reason.NO_WORKERS, "no worker is asked for")
    if workers.ready >= workers.replicas:
        return yes(Reason.WORKERS_READY, f"{count(workers.replicas, 'worker')} asked for and ready")
    text = f"{workers.ready} of {count(workers.replicas, 'worker')} ready"
    problem = workers.pod_problem
    if problem is not None:
        text = f"{text}; {problem.message}"
    broken = problem is not None and problem.reason is not Reason.PENDING
    if workers.ready == 0 or broken:
        return no(Reason.WORKERS_NOT_READY, text)
    return yes(Reason.WORKERS_READY, text)


def _consuming(observation: Observation | None, decision: Decision | None, now: float) -> Finding | None:
    if observation is None or decision is None:
        return None
    if observation.workers.ready == 0:
        return unknown(Reason.NO_WORKERS, "no worker is ready")
    since = decision.history.not_consuming_since
    if since is not None:
        if now - since < NOT_CONSUMING_SECONDS:
            return None
        text = f"jobs are ready, {count(observation.workers.ready, 'worker')} too, and none is active"
        return no(Reason.NOT_CONSUMING, f"{text}: look at the workers' logs, and at the queue's name and prefix there")
    if _unread(observation) or not observation.queues:
        return None
    if decision.inputs.backlog or decision.inputs.active:
        return yes(Reason.CONSUMING, "the workers take the jobs that are ready")
    return yes(Reason.NOTHING_TO_CONSUME, "no job is ready and none is active")


def _paused(observation: Observation | None, decision: Decision | None, facts: Facts) -> Finding | None:
    if facts.paused_by is not None:
        return yes(Reason.PAUSED_BY_USER, f"paused by {facts.paused_by}")
    if observation is None or decision is None:
        return None
    paused = decision.inputs.paused_queues
    if paused:
        return yes(Reason.QUEUE_PAUSED, queues_are(paused, one="is paused", many="are paused"))
    unsure = _unread(observation) or not observation.queues
    return None if unsure else no(Reason.NOT_PAUSED, "neither the QueueWorker nor a queue is paused")
