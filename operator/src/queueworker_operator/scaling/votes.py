"""How many replicas each queue asks for, and how many of them would be of use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.scaling import demand
from queueworker_operator.scaling.capacity import Capacity
from queueworker_operator.scaling.decision import Limit, Vote
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.rates.starts import StartUp
from queueworker_operator.scaling.schedules import Minimum

BACKLOG = "backlogPerReplica"
MAX_WAIT = "maxWait"
KEEP_UP = "keepUp"
LOOK_AHEAD = "lookAhead"
FEEDBACK = "feedback"
ORPHANS = "orphanRescue"
MINIMUM = "minReplicas"
SCHEDULE = "schedule"
UNKNOWN = "unknown"
MISSING = "queueMissing"
PAUSED = "queuePaused"
UNUSED = "queueUnused"

DETAILS_SECONDS = 10.0
"""Details that are older, in relation to the counts, tell nothing about who is at work now; twice their pace."""

# Of two votes for the same number, the one that explains more is named first.
_PREFERENCE = {
    rule: -place
    for place, rule in enumerate(
        (
            MAX_WAIT,
            BACKLOG,
            LOOK_AHEAD,
            KEEP_UP,
            ORPHANS,
            MISSING,
            SCHEDULE,
            MINIMUM,
            UNKNOWN,
            PAUSED,
            FEEDBACK,
            UNUSED,
        )
    )
}
_UNKNOWN_REASONS = {
    ConditionReason.REDIS_MEMORY_FULL: ScalingReason.REDIS_MEMORY_FULL,
    ConditionReason.ROLE_NOT_MASTER: ScalingReason.ROLE_NOT_MASTER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """A vote, and the caps that lowered it, in order."""

    vote: Vote
    caps: tuple[Limit, ...] = ()
    unrounded: float | None = None
    """What is left of the vote's after the caps; None where the number is meant exactly."""
    most: int | None = None
    """More than this is of no use, or not allowed."""

    @property
    def cap(self) -> Limit | None:
        """The cap that counts."""
        return self.caps[-1] if self.caps else None

    @property
    def replicas(self) -> int:
        """What counts."""
        return self.caps[-1].after if self.caps else self.vote.replicas

    def with_headroom(self, percent: int) -> int | None:
        """Return how many pods leave so much of them unneeded, as far as the caps allow; None where no number does."""
        if self.unrounded is None:
            return self.replicas
        wanted = demand.headroom(self.unrounded, percent=percent)
        if self.most is None:
            return wanted
        return self.most if wanted is None else max(self.replicas, min(wanted, self.most))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """What the votes need to know beside the queues."""

    current: int
    """The number that stands."""
    capacity: Capacity
    start_up: StartUp
    target_seconds: float
    """T: how long a job may wait."""
    now: float

    @property
    def ready(self) -> int:
        """n"""
        return self.capacity.ready


def votes(queue: QueueView, pods: Pods) -> tuple[Vote, ...]:
    """Return what one queue asks for."""
    match queue.state:
        case QueueState.UNKNOWN:
            return (_vote(UNKNOWN, pods.current, unknown_reason((queue,)), queue),)
        case QueueState.MISSING:
            held = pods.current if queue.held_until else 0
            return (_vote(MISSING, held, ScalingReason.QUEUE_MISSING, queue),)
        case QueueState.PAUSED:
            held = pods.current if queue.hold_when_paused else 0
            return (_vote(PAUSED, held, ScalingReason.QUEUE_PAUSED, queue),)
        case QueueState.UNUSED:
            return (_vote(UNUSED, 0, ScalingReason.QUEUE_UNUSED, queue),)
    return tuple(_live(queue, pods))


def minimum_ballot(minimum: Minimum) -> Ballot:
    """Return what minReplicas, or the schedule in force, asks for."""
    rule, reason = (SCHEDULE, ScalingReason.SCHEDULED) if minimum.scheduled else (MINIMUM, ScalingReason.AT_MINIMUM)
    return Ballot(vote=Vote(rule=rule, replicas=minimum.replicas, reason=reason))


def winner(of: Sequence[Ballot]) -> Ballot:
    """Return the highest ballot; among equals the one that explains most."""
    return max(of, key=lambda ballot: (ballot.replicas, _PREFERENCE[ballot.vote.rule]))


def unknown_reason(queues: Sequence[QueueView]) -> ScalingReason:
    """Return what keeps the first of the unreadable queues from being read, as the reason of a number."""
    for queue in queues:
        if queue.problem is not None:
            return _UNKNOWN_REASONS.get(queue.problem.reason, ScalingReason.HOLDING_METRICS_UNKNOWN)
    return ScalingReason.HOLDING_METRICS_UNKNOWN


def orphans_unknown(queue: QueueView, ready: int) -> bool:
    """Whether jobs are active, nobody is there to run them, and who holds their locks is not known."""
    if ready > 0 or queue.state is not QueueState.LIVE or queue.active == 0 or queue.rates.orphans > 0:
        return False
    if queue.details is None or queue.snapshot is None:
        return True
    return queue.snapshot.now_ms - queue.details.now_ms > DETAILS_SECONDS * 1000


def _vote(rule: str, replicas: int, reason: ScalingReason, queue: QueueView) -> Vote:
    return Vote(rule=rule, replicas=replicas, reason=reason, queue=queue.name)


def _demand(rule: str, pods: float, reason: ScalingReason, queue: QueueView) -> Vote:
    return Vote(rule=rule, replicas=demand.ceil(pods), reason=reason, queue=queue.name, unrounded=pods)


def _live(queue: QueueView, pods: Pods) -> Iterator[Vote]:
    rates, slots = queue.rates, queue.concurrency
    seconds, arrivals = rates.service_seconds, rates.arrivals_per_second
    if seconds is not None:
        in_system = queue.backlog + queue.active
        if arrivals is not None:
            busy = demand.keep_up(arrivals=arrivals, seconds=seconds, slots=slots, in_system=in_system)
            yield _demand(KEEP_UP, busy, ScalingReason.KEEP_UP, queue)
        elif pods.ready > 0:
            # Jobs in work are arrivals times duration (Little's law), as long as slots are free; more pods than there
            # are this cannot ask for, as a backlog alone fills all slots.
            busy = queue.active / (demand.KEEP_UP_LOAD * slots)
            yield _demand(KEEP_UP, min(pods.ready, busy), ScalingReason.KEEP_UP, queue)
        wait = demand.maximum_wait(
            arrivals=arrivals or 0.0, seconds=seconds, slots=slots, backlog=queue.backlog, left=_wait_left(queue, pods)
        )
        yield _demand(MAX_WAIT, wait, ScalingReason.AGE_ABOVE_TARGET, queue)
    if queue.per_replica_wanted or seconds is None:
        per_replica = queue.backlog / queue.per_replica
        yield _demand(BACKLOG, per_replica, ScalingReason.BACKLOG_ABOVE_TARGET, queue)
    if queue.due_soon > 0:
        yield _demand(LOOK_AHEAD, _look_ahead(queue, pods), ScalingReason.LOOK_AHEAD, queue)
    if pods.ready == 0 and (queue.rates.orphans > 0 or orphans_unknown(queue, pods.ready)):
        # Only a worker finds that a job is stalled, so somebody must be there to look.
        yield _vote(ORPHANS, 1, ScalingReason.ORPHAN_RESCUE, queue)
    if seconds is None and pods.ready > 0:
        yield _vote(FEEDBACK, _feedback(queue, pods), ScalingReason.FEEDBACK, queue)


def _wait_left(queue: QueueView, pods: Pods) -> float:
    age = queue.snapshot.oldest_age_seconds if queue.snapshot is not None else None
    return demand.wait_left(target=pods.target_seconds, oldest_age=age or 0.0, start_up=pods.start_up.seconds)


def _look_ahead(queue: QueueView, pods: Pods) -> float:
    snapshot, seconds = queue.snapshot, queue.rates.service_seconds
    assert snapshot is not None  # noqa: S101 - only a queue that was read is live
    part = queue.share_percent / 100
    per_second = 0.0 if seconds is None else queue.concurrency / seconds
    by_wait = seconds is not None and not queue.per_replica_wanted
    share = per_second * _wait_left(queue, pods) if by_wait else float(queue.per_replica)
    horizon = queue.horizon_seconds
    counted = (
        (0.0, 0),
        (horizon / 4, snapshot.delayed_due_quarter),
        (horizon / 2, snapshot.delayed_due_half),
        (horizon, snapshot.delayed_due_soon),
    )
    return max(
        demand.look_ahead(
            part * (queue.backlog + queue.due_by(jobs, horizon=after)),
            after=after,
            per_second=per_second,
            share=share,
            ready=pods.ready,
            starting=pods.capacity.starting,
        )
        for after, jobs in counted
    )


def _feedback(queue: QueueView, pods: Pods) -> int:
    since = queue.rates.saturated_since
    return demand.feedback(
        active=queue.active * queue.share_percent / 100,
        backlog=queue.backlog,
        ready=pods.ready,
        coming=len(pods.capacity.starting),
        slots=queue.concurrency,
        saturated=since is not None and pods.now >= since + pods.start_up.seconds,
    )
