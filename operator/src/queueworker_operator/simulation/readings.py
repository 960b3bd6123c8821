"""What the reader would read of a simulated queue."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice

from queueworker.details import ActiveJob, QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker.workers import WorkerRecord
from queueworker_operator.scaling.observation import Ownership, Pod, WorkersObservation
from queueworker_operator.simulation.jobs import SimulatedJob, SimulatedQueue
from queueworker_operator.simulation.pods import SimulatedPod

ACTIVE_SAMPLE = 200
NAMES_SAMPLE = 50
"""How many jobs the reader of details looks at."""


def snapshot_of(
    queue: SimulatedQueue, now: float, *, epoch: float, horizon: float, prefix: str, last_event_at: float | None
) -> QueueSnapshot:
    """Return the counts of a queue; all times are seconds of the run, `epoch` is when it began."""
    due = queue.due_within(now)
    oldest_waiting = _stamp(queue.wait[0].ready if queue.wait else None, epoch)
    oldest_prioritized = _stamp(min((jobs[0].ready for jobs in queue.prioritized.values()), default=None), epoch)
    oldest_due = _stamp(queue.delayed[0][0] if due else None, epoch)
    oldest = [at for at in (oldest_waiting, oldest_prioritized, oldest_due) if at is not None]
    limiter = queue.limiter
    blocked = limiter.blocked_until(now) if limiter is not None else None
    return QueueSnapshot(
        prefix=prefix,
        queue=queue.name,
        now_ms=int((epoch + now) * 1000),
        exists=queue.added > 0,
        waiting=len(queue.wait),
        prioritized=sum(map(len, queue.prioritized.values())),
        delayed=len(queue.delayed),
        delayed_due=due,
        delayed_due_soon=queue.due_within(now + horizon),
        next_delayed_ms=_stamp(queue.delayed[0][0] if queue.delayed else None, epoch),
        active=len(queue.active),
        waiting_children=0,
        completed=0,
        failed=0,
        legacy_paused=0,
        paused=False,
        oldest_ready_ms=min(oldest, default=None),
        global_concurrency=None,
        rate_limit_max=None,
        rate_limit_duration_ms=None,
        rate_limited_for_ms=0 if blocked is None else round((blocked - now) * 1000),
        added_count=queue.added,
        completed_count=queue.completed,
        failed_count=0,
        next_scheduler_ms=None,
        horizon_ms=round(horizon * 1000),
        delayed_due_quarter=queue.due_within(now + horizon / 4),
        delayed_due_half=queue.due_within(now + horizon / 2),
        oldest_waiting_ms=oldest_waiting,
        oldest_prioritized_ms=oldest_prioritized,
        last_event_id=None if last_event_at is None else f"{_stamp(last_event_at, epoch)}-0",
    )


def details_of(
    queue: SimulatedQueue, pods: Iterable[SimulatedPod], now: float, *, epoch: float, prefix: str
) -> QueueDetails:
    """Return the rest: who runs what, which names come next, what our workers counted."""
    stamp = int((epoch + now) * 1000)
    active = tuple(_active(job, epoch) for job in islice(queue.active.values(), ACTIVE_SAMPLE))
    return QueueDetails(
        prefix=prefix,
        queue=queue.name,
        now_ms=stamp,
        active=active,
        active_total=len(queue.active),
        next_names=Counter(job.job.name for job in islice(_waiting(queue), NAMES_SAMPLE)),
        last_names=Counter(job.job.name for job in islice(_latest(queue), NAMES_SAMPLE)),
        statistics=queue.statistics,
        workers=tuple(WorkerRecord(pod.name, stamp, 0, queue.slots, None) for pod in pods if pod.ready_at is not None),
    )


def workers_of(
    pods: Iterable[SimulatedPod], replicas: int, *, epoch: float, listed: bool, generation: str
) -> WorkersObservation:
    """Return the Deployment; with its pods where they are `listed`."""
    there = list(pods)
    live = [pod for pod in there if pod.terminating is None]
    return WorkersObservation(
        ownership=Ownership.OURS,
        replicas=replicas,
        ready=sum(pod.ready_at is not None for pod in live),
        present=len(live),
        fingerprint=generation,
        rollout_complete=True,
        pods=tuple(_pod(pod, epoch) for pod in there) if listed else None,
    )


def _pod(pod: SimulatedPod, epoch: float) -> Pod:
    return Pod(
        name=pod.name,
        ready=pod.takes_jobs,
        terminating=pod.terminating is not None,
        created_at=epoch + pod.created,
        scheduled_at=epoch + pod.created,
        ready_at=None if pod.ready_at is None else epoch + pod.ready_at,
    )


def _active(job: SimulatedJob, epoch: float) -> ActiveJob:
    return ActiveJob(
        name=job.job.name,
        owner=job.pod.name if job.pod is not None else None,
        locked=True,
        started_ms=_stamp(job.taken, epoch),
        stalled_count=0,
    )


def _waiting(queue: SimulatedQueue) -> Iterable[SimulatedJob]:
    for jobs in queue.waiting():
        yield from jobs


def _latest(queue: SimulatedQueue) -> Iterable[SimulatedJob]:
    for jobs in reversed(list(queue.waiting())):
        yield from reversed(jobs)


def _stamp(at: float | None, epoch: float) -> int | None:
    return None if at is None else int((epoch + at) * 1000)
