"""What each limit says, in words with its numbers."""

from dataclasses import dataclass

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.scaling.explain.facts import QueueFacts
from queueworker_operator.scaling.explain.words import clock, count, seconds

PINNED_ANNOTATION = "queueworker.dev/pinned-replicas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A limit as it is told: `until` is Unix seconds."""

    by: str
    before: int
    after: int
    until: float | None = None
    queue: QueueFacts | None = None
    """The queue whose vote it changed."""
    active: int = 0
    """Jobs that run, over all queues."""
    peak: int | None = None
    """The peak of the stabilization window."""
    idle_since: float | None = None
    next_due_at: float | None = None
    why: str = ""
    """What the first pod or the autoscaler beside us says, where that matters."""


def phrase(step: Step, autoscaling: Autoscaling) -> str:
    """Return why a limit changed the number, without repeating what the vote has said."""
    for group in (_ceilings, _waits, _holds, _floors):
        if told := group(step, autoscaling):
            return told
    return f"{step.by} makes {step.before} {step.after}"


def pinned(replicas: int, until: float | None) -> str:
    """Say a pin; `until` is Unix seconds."""
    end = f" until {clock(until)}" if until is not None else ""
    return f"pinned at {replicas}{end} by the annotation {PINNED_ANNOTATION}"


def _ceilings(step: Step, autoscaling: Autoscaling) -> str | None:
    queue = step.queue
    slots = count(queue.slots, "slot") if queue is not None else "the slots"
    match step.by:
        case Reason.LIMITED_BY_SLOTS:
            if queue is None:
                return f"only {step.after} would find a job"
            soon = f", {queue.soon} due within {queue.horizon_seconds} s" if queue.soon else ""
            return f"with {queue.active} active{soon} only {step.after} of {slots} each would find a job"
        case Reason.LIMITED_BY_GLOBAL_CONCURRENCY:
            allowed = queue.concurrency_allowed if queue is not None else None
            many = f" of {allowed}" if allowed is not None else ""
            return f"the queue's concurrency{many} fills {step.after} of {slots} each ({step.before} asked for)"
        case Reason.LIMITED_BY_RATE_LIMIT:
            limit = queue.rate_limit if queue is not None else None
            rate = f" of {count(limit[0], 'job')} in {seconds(limit[1])}" if limit is not None else ""
            return f"the rate limit{rate} keeps {step.after} busy ({step.before} asked for)"
        case Reason.THROUGHPUT_LIMITED:
            limit_ = autoscaling.throughput_limit
            rate = f" of {count(limit_.jobs, 'job')} in {limit_.period_seconds} s" if limit_ is not None else ""
            return f"throughputLimit{rate} keeps {step.after} busy ({step.before} asked for)"
        case Reason.QUEUE_SHARED:
            return f"the share of this QueueWorker is {step.after} of {step.before}"
        case Reason.AT_MAXIMUM:
            return f"maxReplicas is {step.after} ({step.before} asked for)"
    return None


def _waits(step: Step, autoscaling: Autoscaling) -> str | None:
    until = f" until {clock(step.until)}" if step.until is not None else ""
    match step.by:
        case Reason.STABILIZING_SCALE_DOWN:
            window = autoscaling.behavior.scale_down.stabilization_window_seconds
            peak = f"peak {step.peak} in {window} s" if step.peak is not None else f"window {window} s"
            return f"scale-down held{until} ({peak})"
        case Reason.COOLING_DOWN:
            at = clock(step.until) if step.until is not None else "the end of the cooldown"
            return f"zero at {at} (idle since {clock(step.idle_since) if step.idle_since is not None else 'now'})"
        case Reason.NEXT_JOB_DUE:
            due = step.next_due_at if step.next_due_at is not None else step.until
            at = f" at {clock(due)}" if due is not None else " soon"
            return f"{step.after} kept, the next job is due{at}"
        case Reason.CONFIRMING_SCALE_DOWN:
            return f"a second reading must confirm the scale-down to {step.before}"
    return None


def _holds(step: Step, autoscaling: Autoscaling) -> str | None:
    until = f" until {clock(step.until)}" if step.until is not None else ""
    asked = f"({step.before} asked for)"
    match step.by:
        case Reason.WITHIN_TOLERANCE:
            behavior = autoscaling.behavior
            if step.before > step.after and step.until is not None:
                return f"the scale-in to {step.after} stands{until} ({step.before} asked for, as headroom)"
            if step.before > step.after:
                return f"{step.before} lies within {behavior.scale_up.tolerance_percent} percent of {step.after}"
            percent = behavior.scale_down.tolerance_percent
            return f"{step.before} would leave less than {percent} percent to spare, {step.after} do"
        case Reason.SCALE_UP_RATE_LIMITED:
            return f"behavior.scaleUp allows {step.after}{until} {asked}"
        case Reason.SCALE_DOWN_RATE_LIMITED:
            return f"behavior.scaleDown allows no fewer than {step.after}{until} {asked}"
        case Reason.WORKERS_NOT_READY | Reason.QUOTA_EXCEEDED:
            because = f": {step.why}" if step.why else ""
            return f"no more than {step.after} while new pods do not come up {asked}{because}"
        case Reason.RETRY_STORM:
            return f"most jobs fail and more pods did not help: {step.after}{until} {asked}"
        case Reason.ROLLOUT_IN_PROGRESS:
            return f"no scale-in to {step.before} while a rollout is under way"
    return None


def _floors(step: Step, autoscaling: Autoscaling) -> str | None:
    until = f" until {clock(step.until)}" if step.until is not None else ""
    match step.by:
        case Reason.AT_MINIMUM:
            return f"minReplicas is {step.after}"
        case Reason.SCHEDULED:
            return f"a schedule asks for at least {step.after}{until}"
        case Reason.BUSY_FLOOR:
            verb = "keeps" if step.active == 1 else "keep"
            return f"{count(step.active, 'active job')} {verb} {count(step.after, 'replica')} busy"
        case Reason.METRICS_LOSS_FALLBACK:
            loss = autoscaling.on_metrics_loss
            after = f" after {loss.after_seconds} s without a reading" if loss is not None else ""
            return f"onMetricsLoss raises it to {step.after}{after}"
        case Reason.PINNED:
            return pinned(step.after, step.until)
        case Reason.QUEUE_PAUSED:
            return "whenQueuePaused holds the number"
        case Reason.HOLDING_METRICS_UNKNOWN | Reason.ROLE_NOT_MASTER | Reason.REDIS_MEMORY_FULL | Reason.QUEUE_MISSING:
            return f"the number stays{until}"
    return None
