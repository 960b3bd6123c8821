"""What one more look at a queue teaches."""

from dataclasses import replace

from queueworker.details import QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.scaling.observation import QueueObservation, WorkersObservation
from queueworker_operator.scaling.rates import nametimes, occupancy, service, window
from queueworker_operator.scaling.rates.learning import Learning


def learn(learning: Learning | None, queue: QueueObservation, workers: WorkersObservation, now: float) -> Learning:
    """Return what is known after one more look at a queue; the same reading twice teaches nothing more.

    `now` is in Unix seconds. Details are worked on only when they are new: see `QueueDetails.now_ms`.
    """
    known = learning or Learning()
    if known.concurrency != queue.concurrency:
        known = replace(known, concurrency=queue.concurrency, slots_reported=None, slots_seen=0)
    details, snapshot = queue.details, queue.snapshot
    if known.lost and snapshot is not None:
        known = replace(known, lost=False, readable_since=now)
    if details is not None and details.now_ms != known.details_ms:
        known = occupancy.enrolled(nametimes.studied(known, details, now), details, queue, workers)
    if snapshot is None:
        # A single reading that was asked for and came late is no outage.
        lost = queue.failing_since is not None and known.read_ms is not None
        return replace(known, lost=True) if lost and not known.lost else known
    known = _without_the_ended(known, snapshot)
    if snapshot.now_ms == known.read_ms:
        return known
    seconds = service.service(known, now, expected_seconds=None).seconds
    known = window.sampled(
        known, snapshot, window=window.window_seconds(seconds), attempts=_attempts(known, details), now=now
    )
    return occupancy.noticed(known, queue, workers, now)


def _without_the_ended(known: Learning, snapshot: QueueSnapshot) -> Learning:
    """Forget who ran longest, or was to, where nothing is active any more: what is active later is something else."""
    if known.mix.oldest_age_seconds is None or known.details_ms is None or snapshot.active > 0:
        return known
    if snapshot.now_ms <= known.details_ms:
        return known
    return replace(known, mix=replace(known.mix, oldest_age_seconds=None, running_p95_seconds=None))


def _attempts(known: Learning, details: QueueDetails | None) -> tuple[int, int] | None:
    """Return when (ms) our workers had counted how many attempts; a retry is one more, and one more arrival."""
    if details is None or not known.counts:
        return None
    return details.now_ms, sum(counted.jobs for counted in known.counts.values())
