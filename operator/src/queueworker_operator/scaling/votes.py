"""How many replicas each queue asks for, and how many of them would find a job."""

from collections.abc import Sequence
from dataclasses import dataclass

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.decision import Limit, Vote
from queueworker_operator.scaling.queues import QueueState, QueueView

BACKLOG = "backlogPerReplica"
ORPHANS = "orphanRescue"
MINIMUM = "minReplicas"
UNKNOWN = "unknown"
MISSING = "queueMissing"
PAUSED = "queuePaused"
UNUSED = "queueUnused"

# Of two votes for the same number, the one that explains more is named first.
_PREFERENCE = (BACKLOG, ORPHANS, MISSING, MINIMUM, UNKNOWN, PAUSED, UNUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A vote, and the cap where one lowered it."""

    vote: Vote
    cap: Limit | None = None

    @property
    def replicas(self) -> int:
        """What counts."""
        return self.cap.after if self.cap else self.vote.replicas


def ceil_div(number: int, by: int) -> int:
    """Divide upwards; exact for integers of any size."""
    return -(-number // by)


def ballots(queues: Sequence[QueueView], *, current: int, min_replicas: int) -> tuple[Ballot, ...]:
    """Return what every queue asks for and, last, what the minimum does."""
    votes = [_capped(vote, queue) for queue in queues for vote in _votes(queue, current=current)]
    minimum = Vote(rule=MINIMUM, replicas=min_replicas, reason=ScalingReason.AT_MINIMUM)
    return (*votes, Ballot(vote=minimum))


def winner(of: Sequence[Ballot]) -> Ballot:
    """Return the highest ballot; among equals the one that explains most."""
    return max(of, key=lambda ballot: (ballot.replicas, -_PREFERENCE.index(ballot.vote.rule)))


def busy_floor(queues: Sequence[QueueView]) -> int:
    """Return how many pods the running jobs fill at the least: every pod serves every queue with its own slots."""
    return max((ceil_div(queue.active, queue.concurrency) for queue in queues), default=0)


def _votes(queue: QueueView, *, current: int) -> tuple[Vote, ...]:
    def vote(rule: str, replicas: int, reason: ScalingReason) -> Vote:
        return Vote(rule=rule, replicas=replicas, reason=reason, queue=queue.name)

    match queue.state:
        case QueueState.UNKNOWN:
            return (vote(UNKNOWN, current, ScalingReason.HOLDING_METRICS_UNKNOWN),)
        case QueueState.MISSING:
            return (vote(MISSING, current if queue.held_until else 0, ScalingReason.QUEUE_MISSING),)
        case QueueState.PAUSED:
            return (vote(PAUSED, 0, ScalingReason.QUEUE_PAUSED),)
        case QueueState.UNUSED:
            return (vote(UNUSED, 0, ScalingReason.QUEUE_UNUSED),)
    backlog = vote(BACKLOG, ceil_div(queue.backlog, queue.per_replica), ScalingReason.BACKLOG_ABOVE_TARGET)
    if current == 0 and queue.active > 0:
        # Only a worker finds that a job is stalled, so somebody must be there to look.
        return backlog, vote(ORPHANS, 1, ScalingReason.ORPHAN_RESCUE)
    return (backlog,)


def _capped(vote: Vote, queue: QueueView) -> Ballot:
    if vote.rule != BACKLOG:
        return Ballot(vote=vote)
    slots = ceil_div(queue.backlog + queue.active + queue.due_soon, queue.concurrency)
    if slots >= vote.replicas:
        return Ballot(vote=vote)
    cap = Limit(by=ScalingReason.LIMITED_BY_SLOTS, before=vote.replicas, after=slots, queue=queue.name)
    return Ballot(vote=vote, cap=cap)
