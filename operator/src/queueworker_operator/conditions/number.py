"""Whether the number follows the queues, what keeps it from doing so, and who paused it."""

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.conditions.finding import Finding, no, unknown, yes
from queueworker_operator.conditions.reading import lost, unread
from queueworker_operator.scaling.capacity import trouble
from queueworker_operator.scaling.decision import Decision, Limit
from queueworker_operator.scaling.explain import pinned, queues_are
from queueworker_operator.scaling.observation import Observation, Problem, WorkersObservation
from queueworker_operator.scaling.votes import MINIMUM, SCHEDULE


def scaling_active(
    observation: Observation | None,
    decision: Decision | None,
    now: float,
    *,
    spec_problem: Problem | None,
    paused_by: str | None,
) -> Finding | None:
    """Return ScalingActive."""
    if spec_problem is not None:
        return no(Reason.SPEC_INVALID, spec_problem.message)
    if decision is None or observation is None:
        return None
    if observation.workers.target_problem is not None:
        return Finding.of(observation.workers.target_problem, status="False")
    if inactive := _inactive(decision, observation.workers, paused_by):
        return inactive
    gone, silent = lost(observation, now), unread(observation)
    if len(silent) == len(observation.queues):
        return no(Reason.METRICS_UNKNOWN, f"no queue can be read; {_without_queues(decision)}") if gone else None
    if gone:
        text = queues_are(
            [queue.name for queue in gone], one="cannot be read and lowers", many="cannot be read and lower"
        )
        return _scaling(observation.workers, f"the number follows the other queues; {text} nothing")
    return _scaling(observation.workers, "the number follows the queues")


def _scaling(workers: WorkersObservation, text: str) -> Finding:
    problem = workers.conflict_problem
    return yes(Reason.SCALING, text) if problem is None else unknown(problem.reason, f"{text}; {problem.message}")


def _without_queues(decision: Decision) -> str:
    raised = decision.reason is ScalingReason.METRICS_LOSS_FALLBACK
    return "the number is at least that of autoscaling.onMetricsLoss" if raised else "the number is kept"


def withheld(decision: Decision | None, workers: WorkersObservation | None, *, paused_by: str | None) -> Problem | None:
    """Return why the number is reported and not written, as words that may follow "while"; None where it is."""
    if paused_by is not None:
        return Problem(reason=Reason.PAUSED_BY_USER, message=f"it is paused by {paused_by}")
    if decision is not None and decision.reason is ScalingReason.DRY_RUN:
        return Problem(reason=Reason.DRY_RUN, message="autoscaling.dryRun is set")
    if decision is not None and decision.reason is ScalingReason.CONFLICTING_AUTOSCALER:
        message = f"{_other(workers)} writes the number of the same target"
        return Problem(reason=Reason.CONFLICTING_AUTOSCALER, message=message)
    return None


def scaling_limited(observation: Observation | None, decision: Decision | None, now: float) -> Finding | None:
    """Return ScalingLimited."""
    if decision is None or observation is None:
        return None
    if not decision.votes:
        return no(Reason.WITHIN_LIMITS, "there are no limits to a number that the spec says or that is left as it is")
    by = {limit.by: limit for limit in decision.limits}
    if ScalingReason.AT_MAXIMUM in by:
        return yes(Reason.LIMITED, _maximum(by[ScalingReason.AT_MAXIMUM]))
    if len(unread(observation)) == len(observation.queues):
        return unknown(Reason.METRICS_UNKNOWN, "no queue can be read") if lost(observation, now) else None
    if text := _minimum(decision) or _ceiling(decision, observation.workers, now):
        return yes(Reason.LIMITED, text)
    if problem := warning(decision, Reason.TARGET_INFEASIBLE):
        return Finding.of(problem, status="True")
    return no(Reason.WITHIN_LIMITS, "the number lies within minReplicas and maxReplicas")


def paused(observation: Observation | None, decision: Decision | None, *, paused_by: str | None) -> Finding | None:
    """Return Paused: by the user, who may also have pinned the number, or at the queue."""
    if paused_by is not None:
        return yes(Reason.PAUSED_BY_USER, f"paused by {paused_by}")
    if observation is None or decision is None:
        return None
    if pin := _pin(decision):
        return yes(Reason.PAUSED_BY_USER, pinned(pin.after, pin.until))
    if problem := warning(decision, Reason.SPEC_INVALID):
        return Finding.of(problem, status="False")
    queues = decision.inputs.paused_queues
    if queues:
        return yes(Reason.QUEUE_PAUSED, queues_are(queues, one="is paused", many="are paused"))
    unsure = unread(observation) or not observation.queues
    return None if unsure else no(Reason.NOT_PAUSED, "neither the QueueWorker nor a queue is paused")


def warning(decision: Decision, reason: Reason) -> Problem | None:
    """Return what the decision warns of under this reason; of several the first."""
    return next((problem for problem in decision.warnings if problem.reason is reason), None)


def _inactive(decision: Decision, workers: WorkersObservation, paused_by: str | None) -> Finding | None:
    match decision.reason:
        case ScalingReason.SPEC_INVALID:
            return no(Reason.SPEC_INVALID, decision.message)
        case ScalingReason.PAUSED_BY_USER:
            return no(Reason.PAUSED_BY_USER, f"paused by {paused_by or 'the user'}; the number is left as it is")
        case ScalingReason.PINNED:
            pin = _pin(decision)
            return no(Reason.PAUSED_BY_USER, pinned(pin.after, pin.until) if pin is not None else "pinned by the user")
        case ScalingReason.DRY_RUN:
            return no(Reason.DRY_RUN, "autoscaling.dryRun: the number is decided and reported, and not written")
        case ScalingReason.CONFLICTING_AUTOSCALER:
            remedy = "delete it, or set autoscaling.dryRun for as long as it is to decide"
            message = f"{_other(workers)} writes the number of the same target: {remedy}"
            return no(Reason.CONFLICTING_AUTOSCALER, message)
        case ScalingReason.FIXED_REPLICAS:
            return no(Reason.FIXED_REPLICAS, "spec.replicas says the number")
    return None


def _other(workers: WorkersObservation | None) -> str:
    return (workers.conflict if workers is not None else None) or "another autoscaler"


def _pin(decision: Decision) -> Limit | None:
    """Return the pin in force: it is the last word on the number, even where it changes nothing."""
    found = [limit for limit in decision.limits if limit.by is ScalingReason.PINNED]
    if found or decision.reason is not ScalingReason.PINNED:
        return found[-1] if found else None
    return Limit(by=ScalingReason.PINNED, before=decision.desired, after=decision.desired)


def _maximum(limit: Limit) -> str:
    return f"maxReplicas is {limit.after}, {limit.before} asked for"


def _minimum(decision: Decision) -> str | None:
    floors = [vote for vote in decision.votes if vote.rule in (MINIMUM, SCHEDULE)]
    floor = max(floors, key=lambda vote: (vote.replicas, vote.rule == SCHEDULE), default=None)
    others = max((vote.replicas for vote in decision.votes if vote not in floors), default=0)
    if floor is None or not decision.desired == floor.replicas > others:
        return None
    name = "the schedule in force asks for" if floor.rule == SCHEDULE else "minReplicas is"
    return f"{name} {floor.replicas}, the queues need {others}"


def _ceiling(decision: Decision, workers: WorkersObservation, now: float) -> str | None:
    """Say what keeps the number down, where that is what decided."""
    limit = next((limit for limit in reversed(decision.limits) if limit.by is decision.reason), None)
    if limit is None or limit.after >= limit.before:
        return None
    queue = f"queue {limit.queue}" if limit.queue is not None else "the queue"
    match limit.by:
        case ScalingReason.LIMITED_BY_GLOBAL_CONCURRENCY:
            return f"the concurrency that {queue} sets for all its workers keeps {limit.after} busy"
        case ScalingReason.LIMITED_BY_RATE_LIMIT:
            return f"the rate limit of {queue} keeps {limit.after} busy"
        case ScalingReason.THROUGHPUT_LIMITED:
            return f"autoscaling.throughputLimit keeps {limit.after} busy"
        case ScalingReason.SCALE_UP_RATE_LIMITED:
            return f"behavior.scaleUp allows {limit.after} for now"
        case ScalingReason.RETRY_STORM:
            return f"most jobs fail and more pods did not help: no more than {limit.after} for now"
        case ScalingReason.WORKERS_NOT_READY | ScalingReason.QUOTA_EXCEEDED:
            problem = workers.rollout_problem or trouble(workers, now)
            why = f": {problem.message}" if problem is not None else ""
            return f"no more than {limit.after} while new pods do not come up{why}"
    return None
