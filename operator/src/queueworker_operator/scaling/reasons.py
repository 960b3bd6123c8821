"""Which reason a number bears: one table, read from the top."""

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decision import Limit
from queueworker_operator.scaling.observation import WorkersObservation
from queueworker_operator.scaling.queues import QueueState
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import BACKLOG, KEEP_UP, MAX_WAIT, MINIMUM, UNKNOWN, unknown_reason

# | where | reason |
# | the spec says no number | SpecInvalid |
# | pinned by an annotation | Pinned |
# | spec.replicas | FixedReplicas |
# | the maximum bites | AtMaximum |
# | no queue could be read | MetricsLossFallback where that raised it, else what keeps them from being read |
# | some rule changed the number | the last one that did; not the tolerance where pods go all the same |
# | the winning vote was capped | the last cap |
# | a backlog, and there is no worker | ActivatedFromZero |
# | some queue asks for this many | the reason of its vote |
# | no queue asks for any: the minimum or zero | what keeps the queues silent, else AtMinimum or ScaledToZero |
# Before all of these, where the number is told and not written: PausedByUser, DryRun, ConflictingAutoscaler.

_ACTIVATING = (BACKLOG, KEEP_UP, MAX_WAIT)


def unwritten_reason(
    verdict: Verdict, spec: QueueWorkerSpec | None, workers: WorkersObservation, *, paused_by: str | None
) -> ScalingReason | None:
    """Return why the user or somebody else keeps the number from being written; None where nobody does."""
    if verdict.problem is not None:
        return ScalingReason.SPEC_INVALID
    if paused_by is not None:
        return ScalingReason.PAUSED_BY_USER
    if spec is not None and spec.autoscaling is not None and spec.autoscaling.dry_run:
        return ScalingReason.DRY_RUN
    return ScalingReason.CONFLICTING_AUTOSCALER if workers.conflict is not None else None


def reason_of(verdict: Verdict) -> ScalingReason:
    """Return why the number is what it is, leaving aside whether it is written."""
    if verdict.problem is not None:
        return ScalingReason.SPEC_INVALID
    if verdict.pinned:
        return ScalingReason.PINNED
    if verdict.winner is None:
        return ScalingReason.FIXED_REPLICAS
    # A scale-in that the tolerance stops short of its end is made all the same, for the reason of its vote.
    limits = [one for one in verdict.limits if one.by is not ScalingReason.WITHIN_TOLERANCE or not _moves(verdict, one)]
    last = limits[-1].by if limits else None
    if last in (ScalingReason.AT_MAXIMUM, ScalingReason.METRICS_LOSS_FALLBACK):
        return last
    if verdict.unknown:
        return unknown_reason(verdict.queues)
    return last if last is not None else _of_the_vote(verdict)


def _moves(verdict: Verdict, limit: Limit) -> bool:
    return limit.after != verdict.current


def silence(verdict: Verdict) -> ScalingReason | None:
    """Return what keeps every queue from asking for workers; None where they are simply empty."""
    states = [queue.state for queue in verdict.queues]
    if any(queue.withheld for queue in verdict.queues) or all(state is QueueState.PAUSED for state in states):
        return ScalingReason.QUEUE_PAUSED
    if QueueState.MISSING in states:
        return ScalingReason.QUEUE_MISSING
    if all(state is QueueState.UNUSED for state in states):
        return ScalingReason.QUEUE_UNUSED
    return None


def _of_the_vote(verdict: Verdict) -> ScalingReason:
    ballot = verdict.winner
    assert ballot is not None  # noqa: S101 - the caller's first lines
    if ballot.cap is not None and ballot.replicas > 0:
        return ballot.cap.by
    if ballot.replicas == 0:
        unknown = [other for other in verdict.ballots if other.vote.rule == UNKNOWN]
        return unknown[0].vote.reason if unknown else silence(verdict) or ScalingReason.SCALED_TO_ZERO
    if ballot.vote.rule in _ACTIVATING and verdict.current == 0:
        return ScalingReason.ACTIVATED_FROM_ZERO
    if ballot.vote.rule == MINIMUM and not any(b.replicas for b in verdict.ballots if b.vote.rule != MINIMUM):
        return silence(verdict) or ScalingReason.AT_MINIMUM
    return ballot.vote.reason
