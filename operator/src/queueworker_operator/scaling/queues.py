"""What each queue says: whether it can be counted on, and what is remembered of it between decisions."""

from dataclasses import dataclass
from enum import StrEnum

from queueworker.details import QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec
from queueworker_operator.api.v1alpha1.spec import Queue
from queueworker_operator.scaling.decision import History, Inputs
from queueworker_operator.scaling.measuring import Measured
from queueworker_operator.scaling.observation import HORIZON_SECONDS, Observation, Problem, QueueObservation
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rates.starts import StartUp

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
    """Slots of one pod: what the workers report, else the spec's concurrency."""
    per_replica: int
    """Ready jobs that one replica is to answer for."""
    per_replica_wanted: bool = False
    """Whether the user set that, and it counts at any time."""
    state: QueueState
    held_until: float | None = None
    """Unix seconds until when a missing queue keeps the number; None where it no longer does."""
    snapshot: QueueSnapshot | None = None
    details: QueueDetails | None = None
    rates: QueueRates
    problem: Problem | None = None
    """Why it is unknown."""
    hold_when_paused: bool = False
    worker_rate: float | None = None
    """Jobs per second that the workers' own limiter allows, over all of them."""
    share_percent: int = 100
    """Which part of the queue is ours; 100 where nobody else serves it."""
    horizon_seconds: float = HORIZON_SECONDS
    """How far ahead delayed jobs were counted."""
    next_due_in: float | None = None
    """In how many seconds the next delayed job falls due, 0 where that time has come since the reading; None where
    none waits, or one was due already."""
    next_job_in: float | None = None
    """In how many seconds the next job comes of itself, delayed or of a scheduler; None where none does."""

    @property
    def reason(self) -> str:
        """Why it is unknown, in one sentence."""
        return self.problem.message if self.problem is not None else ""

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
        """Jobs that run, those on terminating pods left out."""
        return self.rates.active

    @property
    def due_soon(self) -> int:
        """Jobs that fall due within the horizon and are not due yet."""
        if self.snapshot is None:
            return 0
        return self.due_by(self.snapshot.delayed_due_soon, horizon=self.horizon_seconds)

    def due_by(self, counted: int, *, horizon: float) -> int:
        """Return how many of the `counted` jobs that fall due within `horizon` seconds of the reading are not due yet.

        Time has gone on since the reading: the next job may be within the horizon by now.
        """
        due = self.snapshot.delayed_due if self.snapshot is not None else 0
        return max(0, counted - due, self.next_due_in is not None and self.next_due_in <= horizon)

    @property
    def rate(self) -> float | None:
        """Jobs per second that may be started, by the limiter of the queue and that of its workers; None: any."""
        snapshot, allowed = self.snapshot, self.worker_rate
        if snapshot is not None and snapshot.rate_limit_max and snapshot.rate_limit_duration_ms:
            queue = 1000 * snapshot.rate_limit_max / snapshot.rate_limit_duration_ms
            return queue if allowed is None else min(queue, allowed)
        return allowed

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Which queues were once there, and which of them are gone since when; see the fields of History."""

    queues: frozenset[str]
    missing: frozenset[str] = frozenset()
    missing_since: float | None = None


def views(
    observation: Observation, spec: QueueWorkerSpec, now: float, *, known: Seen, measured: Measured
) -> tuple[QueueView, ...]:
    """Return every queue as the rules see it."""
    hold = None if known.missing_since is None else known.missing_since + MISSING_SECONDS
    held_until = hold if hold is not None and now < hold else None
    wanted = {queue.name: queue for queue in spec.queues}
    return tuple(
        _view(queue, wanted.get(queue.name), spec.autoscaling, _state(queue, known), held_until, measured, now)
        for queue in observation.queues
    )


def seen(observation: Observation, history: History, now: float) -> Seen:
    """Return which queues were once there and which are gone."""
    names = {queue.name for queue in observation.queues}
    there = {q.name for q in observation.queues if q.snapshot is not None and _is_there(q.snapshot)}
    if there == names and history.seen_queues == names:
        return Seen(queues=history.seen_queues)
    unread = {q.name for q in observation.queues if q.snapshot is None}
    known = (history.seen_queues & names) | there
    missing = (known - there - unread) | (history.missing_queues & unread)
    since = history.missing_since
    # A queue that goes now gets its own hour, even where another one has been gone for long.
    if not missing <= history.missing_queues or since is None or since > now:
        since = now
    return Seen(queues=frozenset(known), missing=frozenset(missing), missing_since=since if missing else None)


def inputs(queues: tuple[QueueView, ...], start_up: StartUp) -> Inputs:
    """Sum what could be read."""
    read = [queue.snapshot for queue in queues if queue.snapshot is not None]
    if not read:
        return Inputs(start_up=start_up)
    ages = [age for snapshot in read if (age := snapshot.oldest_age_seconds) is not None]
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
        rates={queue.name: queue.rates for queue in queues if queue.snapshot is not None},
        start_up=start_up,
    )


def _view(
    queue: QueueObservation,
    wanted: Queue | None,
    autoscaling: Autoscaling | None,
    state: QueueState,
    held_until: float | None,
    measured: Measured,
    now: float,
) -> QueueView:
    rates = measured.rates.get(queue.name) or QueueRates(slots=queue.concurrency)
    target = autoscaling.target.backlog_per_replica if autoscaling is not None else None
    limiter = wanted.limiter if wanted is not None else None
    snapshot, learned = queue.snapshot, measured.learned.get(queue.name)
    age = max(0.0, now - learned.read_at) if learned is not None else 0.0
    next_due = _in_seconds(snapshot, snapshot.next_delayed_ms, age) if snapshot is not None else None
    next_run = _in_seconds(snapshot, snapshot.next_scheduler_ms, age) if snapshot is not None else None
    return QueueView(
        name=queue.name,
        concurrency=rates.slots,
        per_replica=target or 2 * rates.slots,
        per_replica_wanted=target is not None,
        state=state,
        held_until=held_until if state is QueueState.MISSING else None,
        snapshot=snapshot,
        details=queue.details,
        rates=rates,
        problem=queue.problem,
        hold_when_paused=autoscaling is not None and autoscaling.when_queue_paused == "Hold",
        worker_rate=1000 * limiter.max / limiter.duration_milliseconds if limiter is not None else None,
        share_percent=wanted.share_percent if wanted is not None and queue.shared_with else 100,
        horizon_seconds=snapshot.horizon_ms / 1000 if snapshot and snapshot.horizon_ms else _horizon(measured),
        next_due_in=next_due,
        next_job_in=next_run if next_due is None else next_due if next_run is None else min(next_due, next_run),
    )


def _horizon(measured: Measured) -> float:
    return measured.start_up.horizon_seconds


def _in_seconds(snapshot: QueueSnapshot, at_ms: int | None, age: float) -> float | None:
    """Return in how many seconds a moment comes that was still to come when the queue was read, `age` seconds ago."""
    wait = (at_ms - snapshot.now_ms) / 1000 if at_ms is not None else 0.0
    return max(0.0, wait - age) if wait > 0 else None


def _state(queue: QueueObservation, known: Seen) -> QueueState:
    if queue.snapshot is None:
        return QueueState.UNKNOWN
    if queue.name in known.missing:
        return QueueState.MISSING
    if queue.snapshot.paused:
        return QueueState.PAUSED
    return QueueState.LIVE if _is_there(queue.snapshot) else QueueState.UNUSED


def _is_there(snapshot: QueueSnapshot) -> bool:
    """Jobs prove a queue even where `meta` is gone."""
    return snapshot.exists or any(
        (snapshot.waiting, snapshot.prioritized, snapshot.delayed, snapshot.active, snapshot.legacy_paused)
    )
