"""Which reason a number bears: one table, read from the top."""

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.queues import QueueState
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import BACKLOG, MINIMUM, UNKNOWN

# | where | reason |
# | the spec says no number | SpecInvalid |
# | spec.replicas | FixedReplicas |
# | no queue could be read, and the maximum does not bite | HoldingMetricsUnknown |
# | some rule changed the number | the last one that did |
# | the winning vote was capped | LimitedBySlots |
# | a backlog, and there is no worker | ActivatedFromZero |
# | some queue asks for this many | the reason of its vote |
# | no queue asks for any: the minimum or zero | what keeps the queues silent, else AtMinimum or ScaledToZero |


def reason_of(verdict: Verdict) -> ScalingReason:
    """Return why the number is what it is, leaving aside whether it is written."""
    if verdict.problem is not None:
        return ScalingReason.SPEC_INVALID
    if verdict.winner is None:
        return ScalingReason.FIXED_REPLICAS
    if verdict.limits and verdict.limits[-1].by is ScalingReason.AT_MAXIMUM:
        return ScalingReason.AT_MAXIMUM
    if all(queue.state is QueueState.UNKNOWN for queue in verdict.queues):
        return ScalingReason.HOLDING_METRICS_UNKNOWN
    if verdict.limits:
        return verdict.limits[-1].by
    return _of_the_vote(verdict)


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
    if ballot.cap is not None:
        return ScalingReason.LIMITED_BY_SLOTS
    if ballot.replicas == 0:
        unknown = any(other.vote.rule == UNKNOWN for other in verdict.ballots)
        return ScalingReason.HOLDING_METRICS_UNKNOWN if unknown else silence(verdict) or ScalingReason.SCALED_TO_ZERO
    if ballot.vote.rule == BACKLOG and verdict.current == 0:
        return ScalingReason.ACTIVATED_FROM_ZERO
    if ballot.vote.rule == MINIMUM and not any(b.replicas for b in verdict.ballots if b.vote.rule != MINIMUM):
        return silence(verdict) or ScalingReason.AT_MINIMUM
    return ballot.vote.reason
