"""From a look and a decision to the conditions. A finding of None means: no news, what was said before stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.conditions import number, reading
from queueworker_operator.conditions.finding import Finding, no, unknown, yes
from queueworker_operator.conditions.progress import progress
from queueworker_operator.scaling.capacity import trouble
from queueworker_operator.scaling.decide import NOT_CONSUMING_SECONDS
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.explain import clip, count
from queueworker_operator.scaling.observation import Observation, Ownership, Problem, WorkersObservation


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
    """By what the user paused it; see `queueworker_operator.scaling.overrides.pause_source`."""


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
    said = ready.reason if ready is not None and ready.observed_generation == facts.generation else None
    withheld = number.withheld(decision, workers, paused_by=facts.paused_by)
    found: dict[ConditionType, Finding | None] = {
        **progress(workers, problem=problem, applied=facts.applied, withheld=withheld, before=said),
        ConditionType.QUEUE_REACHABLE: reading.reachable(observation, decision, now),
        ConditionType.SCALING_ACTIVE: number.scaling_active(
            observation, decision, now, spec_problem=facts.spec_problem, paused_by=facts.paused_by
        ),
        ConditionType.SCALING_LIMITED: number.scaling_limited(observation, decision, now),
        ConditionType.WORKERS_AVAILABLE: _available(workers, decision, now),
        ConditionType.WORKERS_CONSUMING: _consuming(observation, decision, now),
        ConditionType.PAUSED: number.paused(observation, decision, paused_by=facts.paused_by),
        ConditionType.QUEUE_SHARED: reading.shared(observation),
    }
    return tuple(_condition(kind, found[kind], before.get(kind), facts, now) for kind in ConditionType)


def _condition(
    kind: ConditionType, finding: Finding | None, before: Condition | None, facts: Facts, now: float
) -> Condition:
    if finding is None and before is not None:
        if before.observed_generation == facts.generation:
            return before
        return before.model_copy(update={"observed_generation": facts.generation})
    finding = finding or unknown(Reason.NOT_YET_READ, "no queue has been read yet")
    same = before is not None and before.status == finding.status
    if before is not None and _says(before, finding, facts):
        return before
    return Condition(
        type=kind,
        status=finding.status,
        reason=finding.reason,
        message=clip(finding.message),
        last_transition_time=before.last_transition_time if same and before else datetime.fromtimestamp(int(now), UTC),
        observed_generation=facts.generation,
    )


def _says(condition: Condition, finding: Finding, facts: Facts) -> bool:
    """Whether a condition says that already: most looks change none of them, and making ten anew is what costs."""
    said = condition.status, condition.reason, condition.message, condition.observed_generation
    return said == (finding.status, finding.reason, clip(finding.message), facts.generation)


def _available(workers: WorkersObservation | None, decision: Decision | None, now: float) -> Finding:
    if workers is None or workers.ownership in (Ownership.FOREIGN, Ownership.TERMINATING):
        return unknown(Reason.NO_WORKERS, "there is no Deployment of ours to look at")
    if workers.target_problem is not None:
        return unknown(Reason.NO_WORKERS, workers.target_problem.message)
    if workers.replicas == 0:
        return yes(Reason.NO_WORKERS, "no worker is asked for")
    text = f"{workers.ready} of {count(workers.replicas, 'worker')} ready"
    problem = trouble(workers, now)
    if problem is not None:
        text = f"{text}; {problem.message}"
    if problem is not None and problem.reason is not Reason.PENDING:
        return no(Reason.WORKERS_NOT_READY, text)
    if workers.ready == 0:
        return no(Reason.PENDING, text)
    if decision is not None and (short := number.warning(decision, Reason.DRAIN_TOO_SHORT)):
        return Finding.of(short, status="True")
    if workers.ready >= workers.replicas:
        text = f"{count(workers.replicas, 'worker')} asked for and ready"
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
    if reading.unread(observation) or not observation.queues:
        return None
    if starved := number.warning(decision, Reason.PRIORITY_STARVED):
        return Finding.of(starved, status="True")
    if decision.inputs.backlog or decision.inputs.active:
        return yes(Reason.CONSUMING, "the workers take the jobs that are ready")
    return yes(Reason.NOTHING_TO_CONSUME, "no job is ready and none is active")
