"""Readings of one queue, one after another, for the tests of what they teach."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from snapshots import empty_but_for

from queueworker.details import ActiveJob, FinishedJob, QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker.workers import JobStatistics, WorkerRecord
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.observation import Ownership, Pod, Problem, QueueObservation, WorkersObservation
from queueworker_operator.scaling.rates import learn, rates
from queueworker_operator.scaling.rates.learning import Learning
from queueworker_operator.scaling.rates.measured import QueueRates

NOON = 1_767_268_800.0
"""2026-01-01 12:00:00 UTC."""


def snapshot(*, at: float = NOON, **counts: Any) -> QueueSnapshot:
    """Return a reading of a queue that is empty but for `counts`."""
    return empty_but_for(queue="killmail", now_ms=round(at * 1000), **counts)


def workers(replicas: int = 0, **more: Any) -> WorkersObservation:
    """Return a Deployment of ours, all of it ready."""
    given: dict[str, Any] = {"replicas": replicas, "ready": replicas, "present": replicas, **more}
    return WorkersObservation(ownership=Ownership.OURS, **given)


def details(
    *,
    at: float = NOON,
    active: tuple[ActiveJob, ...] = (),
    next_names: Mapping[str, int] | None = None,
    last_names: Mapping[str, int] | None = None,
    **more: Any,
) -> QueueDetails:
    """Return details read at some second."""
    return QueueDetails(
        prefix="bull",
        queue="killmail",
        now_ms=round(at * 1000),
        active=active,
        active_total=more.pop("active_total", len(active)),
        next_names=next_names or {},
        last_names=last_names or {},
        **more,
    )


def job(
    name: str = "mail",
    *,
    owner: str | None = "pod-0",
    locked: bool = True,
    started: float | None = None,
    stalled: int = 0,
) -> ActiveJob:
    """Return an active job that began at some second."""
    started_ms = None if started is None else round(started * 1000)
    return ActiveJob(name=name, owner=owner, locked=locked, started_ms=started_ms, stalled_count=stalled)


def finished(name: str, *, at: float, seconds: float) -> FinishedJob:
    """Return a kept job that ended at some second after so many."""
    return FinishedJob(name=name, processed_ms=round((at - seconds) * 1000), finished_ms=round(at * 1000))


def counted(name: str, **jobs_by_class: int) -> JobStatistics:
    """Return statistics from classes as `h6=10`: each job is taken to have lasted three quarters of the class."""
    histogram = {int(k[1:]): count for k, count in jobs_by_class.items()}
    spent = sum(count * 3 * 2**k // 4 for k, count in histogram.items())
    return JobStatistics(name, sum(histogram.values()), spent, histogram)


def lasting(name: str, jobs: int, seconds: float) -> JobStatistics:
    """Return statistics of so many jobs of one length."""
    took = round(seconds * 1000)
    return JobStatistics(name, jobs, jobs * took, {took.bit_length(): jobs})


def worker(name: str = "pod-0", *, slots: int | None = 10, age_ms: int = 0, stalled: int | None = 1) -> WorkerRecord:
    """Return one of our workers on record."""
    return WorkerRecord(name, 0, age_ms, slots, stalled)


def pod(name: str = "pod-0", **more: Any) -> Pod:
    """Return a pod that is ready."""
    return Pod(**{"name": name, "ready": True, "created_at": NOON - 60, **more})


@dataclass(slots=True)
class Course:
    """One queue over time: each look teaches, and tells what is known then."""

    at: float = NOON
    skew: float = 0.0
    """By how many seconds Redis' clock is ahead of ours."""
    learning: Learning | None = None
    workers: WorkersObservation = field(default_factory=lambda: workers(1))
    concurrency: int = 10
    expected: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def look(self, seconds: float = 0.0, *, details: QueueDetails | None = None, **counts: Any) -> QueueRates:
        """Let seconds pass, read the queue, and return what is known."""
        self.at += seconds
        queue = QueueObservation(
            name="killmail",
            concurrency=self.concurrency,
            snapshot=snapshot(at=self.at + self.skew, **counts),
            details=details,
            **self.more,
        )
        return self._learn(queue)

    def lost(self, seconds: float) -> QueueRates:
        """Let seconds pass and find the queue unreadable."""
        self.at += seconds
        problem = Problem(reason=ConditionReason.REDIS_UNREACHABLE, message="redis:6379 refused the connection")
        return self._learn(
            QueueObservation(name="killmail", concurrency=self.concurrency, problem=problem, failing_since=self.at)
        )

    def _learn(self, queue: QueueObservation) -> QueueRates:
        self.learning = learn(self.learning, queue, self.workers, self.at)
        return rates(self.learning, queue, self.workers, self.at, expected_seconds=self.expected)

    def scaled(self, replicas: int, **more: Any) -> None:
        """Let there be so many pods."""
        self.workers = replace(workers(replicas), **more)
