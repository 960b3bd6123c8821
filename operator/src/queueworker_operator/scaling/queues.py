"""What each queue says: whether it can be counted on, and what is remembered of it between decisions."""

from dataclasses import dataclass
from enum import StrEnum

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.scaling.decision import History, Inputs
from queueworker_operator.scaling.observation import Observation, QueueObservation

MISSING_SECONDS = 3600.0
"""How long a queue that is gone keeps the number up: an hour to notice a flush or a wrong database."""


class QueueState(StrEnum):
    """What may be concluded from a queue."""

    UNKNOWN = "unknown"
    """It could not be read."""
    UNUSED = "unused"
    """No job was ever added."""
    MISSING = "missing"
    """It was there once and is gone."""
    PAUSED = "paused"
    """Nobody may take its jobs; those that run go on."""
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """One queue as the rules see it: the counts are 0 where it is unknown, so look at the state first."""

    name: str
    concurrency: int
    per_replica: int
    """Ready jobs that one replica is to answer for."""
    state: QueueState
    held_until: float | None = None
    """Unix seconds until when a missing queue keeps the number; None where it no longer does."""
    snapshot: QueueSnapshot | None = None
    reason: str = ""
    """Why it is unknown, in one sentence."""

    @property
    def uncertain(self) -> bool:
        """Whether it says nothing about what is to be done, so that it must not lower the number."""
        return self.state is QueueState.UNKNOWN or self.held_until is not None

    @property
    def backlog(self) -> int:
        """Jobs that are ready, whether or not somebody may take them."""
        return self.snapshot.backlog if self.snapshot else 0

    @property
    def active(self) -> int:
        """Jobs that run."""
        return self.snapshot.active if self.snapshot else 0

    @property
    def due_soon(self) -> int:
        """Jobs that fall due within the horizon and are not due yet."""
        return max(0, self.snapshot.delayed_due_soon - self.snapshot.delayed_due) if self.snapshot else 0

    @property
    def demand(self) -> int:
        """Ready jobs that somebody may take."""
        return self.backlog if self.state is QueueState.LIVE else 0

    @property
    def withheld(self) -> int:
        """Ready jobs that nobody may take because the queue is paused, in the layouts of BullMQ 6 and of 5."""
        if self.state is not QueueState.PAUSED or self.snapshot is None:
            return 0
        return self.snapshot.backlog + self.snapshot.legacy_paused

    @property
    def stuck(self) -> bool:
        """Whether jobs wait and none runs, although nothing forbids it."""
        limited = self.snapshot is not None and self.snapshot.rate_limited_for_ms > 0
        return self.demand > 0 and self.active == 0 and not limited

    def next_due(self, now: float) -> float | None:
        """Return when (Unix seconds) the next delayed job falls due; None where none does or it is due already."""
        if self.snapshot is None or self.snapshot.next_delayed_ms is None:
            return None
        wait = (self.snapshot.next_delayed_ms - self.snapshot.now_ms) / 1000
        return now + wait if wait > 0 else None


def views(
    observation: Observation, history: History, now: float, *, backlog_per_replica: int | None
) -> tuple[QueueView, ...]:
    """Return every queue as the rules see it; `history` must be the one that `remember` returned for this look."""
    hold = None if history.missing_since is None else history.missing_since + MISSING_SECONDS
    held_until = hold if hold is not None and now < hold else None
    return tuple(
        _view(queue, history, held_until=held_until, backlog_per_replica=backlog_per_replica)
        for queue in observation.queues
    )


def remember(observation: Observation, history: History, now: float) -> dict[str, object]:
    """Return the fields of History that tell which queues were once there and which are gone."""
    names = {queue.name for queue in observation.queues}
    there = {q.name for q in observation.queues if q.snapshot is not None and _is_there(q.snapshot)}
    unread = {q.name for q in observation.queues if q.snapshot is None}
    seen = (history.seen_queues & names) | there
    missing = (seen - there - unread) | (history.missing_queues & unread)
    since = history.missing_since
    # A queue that goes now gets its own hour, even where another one has been gone for long.
    if not missing <= history.missing_queues or since is None or since > now:
        since = now
    return {
        "seen_queues": frozenset(seen),
        "missing_queues": frozenset(missing),
        "missing_since": since if missing else None,
    }


def inputs(queues: tuple[QueueView, ...]) -> Inputs:
    """Sum what could be read."""
    read = [queue.snapshot for queue in queues if queue.snapshot is not None]
    if not read:
        return Inputs()
    ages = [snapshot.oldest_age_seconds for snapshot in read if snapshot.oldest_age_seconds is not None]
    return Inputs(
        waiting=sum(snapshot.waiting for snapshot in read),
        prioritized=sum(snapshot.prioritized for snapshot in read),
        delayed_due=sum(snapshot.delayed_due for snapshot in read),
        backlog=sum(snapshot.backlog for snapshot in read),
        active=sum(snapshot.active for snapshot in read),
        delayed=sum(snapshot.delayed for snapshot in read),
        failed=sum(snapshot.failed for snapshot in read),
        oldest_age_seconds=max(ages, default=None),
        paused_queues=tuple(queue.name for queue in queues if queue.state is QueueState.PAUSED),
    )


def _view(
    queue: QueueObservation, history: History, *, held_until: float | None, backlog_per_replica: int | None
) -> QueueView:
    state = _state(queue, history)
    return QueueView(
        name=queue.name,
        concurrency=queue.concurrency,
        per_replica=backlog_per_replica or 2 * queue.concurrency,
        state=state,
        held_until=held_until if state is QueueState.MISSING else None,
        snapshot=queue.snapshot,
        reason=queue.problem.message if queue.problem else "",
    )


def _state(queue: QueueObservation, history: History) -> QueueState:
    if queue.snapshot is None:
        return QueueState.UNKNOWN
    if queue.name in history.missing_queues:
        return QueueState.MISSING
    if queue.snapshot.paused:
        return QueueState.PAUSED
    return QueueState.LIVE if _is_there(queue.snapshot) else QueueState.UNUSED


def _is_there(snapshot: QueueSnapshot) -> bool:
    """Jobs prove a queue even where `meta` is gone."""
    return snapshot.exists or any(
        (snapshot.waiting, snapshot.prioritized, snapshot.delayed, snapshot.active, snapshot.legacy_paused)
    )
