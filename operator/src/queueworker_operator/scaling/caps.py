"""What keeps a queue's vote down: pods beyond that would find nothing to do, or may not do it."""

from collections.abc import Sequence

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.scaling import demand
from queueworker_operator.scaling.decision import Limit, Vote
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.votes import (
    BACKLOG,
    FEEDBACK,
    KEEP_UP,
    LOOK_AHEAD,
    MAX_WAIT,
    Ballot,
    Pods,
    votes,
)

_DEMANDS = frozenset({BACKLOG, FEEDBACK, KEEP_UP, LOOK_AHEAD, MAX_WAIT})
_OF_THE_WHOLE_QUEUE = frozenset({BACKLOG, KEEP_UP, MAX_WAIT})


def ballots(queues: Sequence[QueueView], pods: Pods, autoscaling: Autoscaling) -> tuple[Ballot, ...]:
    """Return what every queue asks for, capped."""
    throughput = _throughput_cap(queues, pods, autoscaling)
    found: list[Ballot] = []
    for queue in queues:
        if queue.state is not QueueState.LIVE:
            found += [Ballot(vote=vote) for vote in votes(queue, pods)]
            continue
        of_queue, of_ours = _concurrency_cap(queue), throughput
        if queue.rates.service_seconds is not None:
            of_queue += _rate_cap(queue, pods)
        else:
            # One more than there are of ours: no share is to be taken of that.
            of_ours = _rate_cap(queue, pods) + of_ours
        found += [_capped(vote, queue, pods, of_queue, of_ours) for vote in votes(queue, pods)]
    return tuple(found)


_Caps = tuple[tuple[ScalingReason, int], ...]


def _capped(vote: Vote, queue: QueueView, pods: Pods, of_queue: _Caps, of_ours: _Caps) -> Ballot:
    """Return what is left of a vote: caps that hold for all who serve the queue come before our share of it.

    Look-ahead and feedback ask for our part alone, so of these caps they get our part too.
    """
    if vote.rule not in _DEMANDS or vote.replicas == 0:
        return Ballot(vote=vote, unrounded=vote.unrounded)
    tally, shared = _Tally(queue.name, vote), vote.rule in _OF_THE_WHOLE_QUEUE
    part = 100 if shared else queue.share_percent
    if vote.rule != KEEP_UP:
        # Keeping up has a measure of its own.
        tally.fill(_slots(vote, queue, pods, part=part))
    for by, most in of_queue:
        tally.cap(by, demand.ceil_div(most * part, 100))
    if queue.share_percent < 100 and shared:
        tally.share(queue.share_percent)
    for by, most in of_ours:
        tally.cap(by, most)
    return Ballot(vote=vote, caps=tuple(tally.caps), unrounded=tally.unrounded, most=tally.most)


class _Tally:
    """A vote on its way through the caps."""

    __slots__ = ("caps", "most", "number", "queue", "unrounded")

    def __init__(self, queue: str, vote: Vote) -> None:
        self.queue, self.number, self.unrounded = queue, vote.replicas, vote.unrounded
        self.most: int | None = None
        self.caps: list[Limit] = []

    def fill(self, pods: float) -> None:
        """More than this would find no job."""
        if self.unrounded is not None:
            self.unrounded = min(self.unrounded, pods)
        self._lower(ScalingReason.LIMITED_BY_SLOTS, demand.ceil(pods))

    def cap(self, by: ScalingReason, most: int) -> None:
        """More than this is of no use, however many jobs there are."""
        self.most = most if self.most is None else min(self.most, most)
        self._lower(by, most)

    def share(self, percent: int) -> None:
        """Only so much of it is ours."""
        if self.unrounded is not None:
            self.unrounded *= percent / 100
        if self.most is not None:
            self.most = demand.ceil_div(self.most * percent, 100)
        self._lower(ScalingReason.QUEUE_SHARED, demand.ceil_div(self.number * percent, 100))

    def _lower(self, by: ScalingReason, to: int) -> None:
        if to < self.number:
            self.caps.append(Limit(by=by, before=self.number, after=to, queue=self.queue))
            self.number = to


def _slots(vote: Vote, queue: QueueView, pods: Pods, *, part: int) -> float:
    """Return how many pods would find a job of so many percent of them; holding what there is has its own measure."""
    slots = (queue.backlog + queue.active + queue.due_soon) / queue.concurrency * part / 100
    return slots if vote.rule != FEEDBACK else max(slots, pods.ready)


def _concurrency_cap(queue: QueueView) -> _Caps:
    concurrency = queue.snapshot.global_concurrency if queue.snapshot is not None else None
    if not concurrency:
        return ()
    return ((ScalingReason.LIMITED_BY_GLOBAL_CONCURRENCY, demand.ceil_div(concurrency, queue.concurrency)),)


def _rate_cap(queue: QueueView, pods: Pods) -> _Caps:
    """Return how many pods it takes to start as many jobs per second as are allowed."""
    rate, seconds = queue.rate, queue.rates.service_seconds
    if rate is None:
        return ()
    if seconds is not None:
        most = max(1, demand.ceil(rate * seconds / (demand.RATE_LOAD * queue.concurrency)))
    else:
        limited = queue.snapshot is not None and queue.snapshot.rate_limited_for_ms > 0
        most = _one_more(pods, full=_is_full(queue, pods) and not limited, rate=rate, started=_ended_per_second(queue))
    return ((ScalingReason.LIMITED_BY_RATE_LIMIT, most),)


def _throughput_cap(
    queues: Sequence[QueueView], pods: Pods, autoscaling: Autoscaling
) -> tuple[tuple[ScalingReason, int], ...]:
    limit = autoscaling.throughput_limit
    if limit is None:
        return ()
    rate = limit.jobs / limit.period_seconds
    asking = [q for q in queues if q.state is QueueState.LIVE and q.backlog + q.active + q.due_soon > 0]
    times = [(queue.concurrency, queue.rates.service_seconds) for queue in asking]
    per_pod = sum(slots / seconds for slots, seconds in times if seconds is not None)
    if asking and all(seconds is not None for _, seconds in times):
        most = max(1, demand.ceil(rate / (demand.RATE_LOAD * per_pod)))
    else:
        ended = [(_ended_per_second(queue), queue.share_percent / 100) for queue in asking]
        counted = [one * share for one, share in ended if one is not None]
        started = sum(counted) if len(counted) == len(ended) else None
        most = _one_more(pods, full=any(_is_full(queue, pods) for queue in asking), rate=rate, started=started)
    return ((ScalingReason.THROUGHPUT_LIMITED, most),)


def _one_more(pods: Pods, *, full: bool, rate: float, started: float | None) -> int:
    """Return how many pods are tried while nobody knows how long jobs take: one, then one more at a time."""
    reached = started is not None and started >= demand.RATE_LOAD * rate
    return max(1, pods.ready + 1 if full and not reached else pods.ready)


def _is_full(queue: QueueView, pods: Pods) -> bool:
    return (
        pods.ready > 0 and queue.active * queue.share_percent / 100 >= demand.FULL_LOAD * pods.ready * queue.concurrency
    )


def _ended_per_second(queue: QueueView) -> float | None:
    completed, failed = queue.rates.completions_per_second, queue.rates.failures_per_second
    return None if completed is None else completed + (failed or 0.0)
