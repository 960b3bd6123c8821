"""Who runs what, and how many jobs one pod runs at a time."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from queueworker.details import QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.scaling.observation import QueueObservation, WorkersObservation
from queueworker_operator.scaling.rates.learning import Learning, Roster

SUSTAINED_SECONDS = 60.0
"""Twice as long as a lock outlives its worker by default: jobs of a pod that crashed look active for that long."""
UNSEEN_SHRINK_SECONDS = 900.0
"""How long pods may go on working unseen after a scale-in, where nobody lists them nor says their grace period."""
SATURATED_PART = 0.9
_ATTRIBUTION_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """What `QueueRates` says of the jobs that run."""

    active: int = 0
    orphans: int = 0
    busy_pods: frozenset[str] = frozenset()
    unattributed: int = 0
    stall_limited_pods: frozenset[str] = frozenset()


def enrolled(
    learning: Learning, details: QueueDetails, queue: QueueObservation, workers: WorkersObservation
) -> Learning:
    """Return what is known of slots and of who runs what after one more reading of the details."""
    reported = _reported(details, queue, workers)
    return replace(learning, roster=_roster(details), slots_reported=reported or learning.slots_reported)


def slots(learning: Learning, concurrency: int) -> int:
    """Return c: what our workers say, else the concurrency of the spec, raised to what was seen."""
    return max(1, learning.slots_reported or max(concurrency, learning.slots_seen))


def noticed(learning: Learning, queue: QueueObservation, workers: WorkersObservation, now: float) -> Learning:
    """Return what one more snapshot teaches about slots and saturation."""
    snapshot = queue.snapshot
    if snapshot is None:
        return learning
    if workers.ready != learning.ready:
        shrunk = now if workers.ready < learning.ready else learning.shrunk_at
        learning = replace(learning, ready=workers.ready, ready_since=now, shrunk_at=shrunk)
    known = slots(learning, queue.concurrency)
    if not learning.slots_reported and snapshot.active > known * workers.ready > 0:
        seen = _seen(learning, queue, workers, now)
        learning = replace(learning, slots_seen=max(seen, learning.slots_seen))
        known = slots(learning, queue.concurrency)
    return _saturated(learning, snapshot, workers.ready * known, now)


def occupancy(
    learning: Learning, queue: QueueObservation, workers: WorkersObservation, service_seconds: float | None
) -> Occupancy:
    """Return who is busy; of who runs what only what the details of this very observation tell."""
    snapshot, details = queue.snapshot, queue.details
    if snapshot is not None and snapshot.active == 0:
        return Occupancy()
    active = snapshot.active if snapshot is not None else 0
    if details is None or details.now_ms != learning.details_ms:
        return Occupancy(active=active)
    roster = learning.roster
    unseen = roster.unowned + max(0, roster.total - roster.looked_at)
    if workers.pods is None:
        holders = frozenset(roster.held)
        return Occupancy(
            active=active,
            orphans=min(roster.orphans, active) if snapshot is not None else roster.orphans,
            busy_pods=holders,
            unattributed=unseen,
            stall_limited_pods=roster.stall_limited,
        )
    leaving = frozenset(pod.name for pod in workers.pods if pod.terminating)
    staying = frozenset(pod.name for pod in workers.pods if not pod.terminating)
    left = _left_running(roster, leaving, _age_seconds(details, snapshot), service_seconds)
    strangers = sum(count for owner, count in roster.held.items() if owner not in staying and owner not in leaving)
    return Occupancy(
        active=max(0, active - left),
        orphans=min(roster.orphans, active) if snapshot is not None else roster.orphans,
        busy_pods=staying.intersection(roster.held),
        unattributed=unseen + strangers,
        stall_limited_pods=roster.stall_limited & staying,
    )


def _reported(details: QueueDetails, queue: QueueObservation, workers: WorkersObservation) -> int | None:
    """Return the mean of the workers alive: those that are pods of ours, where the pods are known and some are."""
    alive = {worker.name: worker.slots for worker in details.workers if worker.alive and worker.slots}
    pods = frozenset(pod.name for pod in workers.pods or () if not pod.terminating)
    ours = {name: count for name, count in alive.items() if name in pods}
    if not ours and queue.shared_with:
        return None
    return _mean((ours or alive).values())


def _mean(counts: Iterable[int]) -> int | None:
    numbers = [count for count in counts if count > 0]
    return sum(numbers) // len(numbers) if numbers else None


def _roster(details: QueueDetails) -> Roster:
    limits = {worker.name: worker.max_stalled_count for worker in details.workers}
    owned: Counter[str] = Counter()
    held: Counter[str] = Counter()
    unowned = orphans = 0
    limited: set[str] = set()
    for job in details.active:
        if job.owner is not None:
            owned[job.owner] += 1
        if not job.locked:
            orphans += 1
        elif job.owner is None:
            unowned += 1
        else:
            held[job.owner] += 1
            limit = limits.get(job.owner)
            if limit is not None and job.stalled_count >= limit:
                limited.add(job.owner)
    return Roster(
        looked_at=len(details.active),
        total=details.active_total,
        owned=owned,
        held=held,
        unowned=unowned,
        orphans=orphans,
        stall_limited=frozenset(limited),
    )


def _age_seconds(details: QueueDetails, snapshot: QueueSnapshot | None) -> float:
    return 0.0 if snapshot is None else max(0, snapshot.now_ms - details.now_ms) / 1000


def _left_running(roster: Roster, leaving: frozenset[str], age: float, service_seconds: float | None) -> int:
    """Return how many jobs still run on terminating pods: these take no more, so what was seen only shrinks."""
    seen = sum(roster.owned.get(name, 0) for name in leaving)
    if not seen or age <= 0:
        return seen
    if service_seconds is None:
        return seen if age <= _ATTRIBUTION_SECONDS else 0
    return int(seen * math.exp(-age / service_seconds))


def _seen(learning: Learning, queue: QueueObservation, workers: WorkersObservation, now: float) -> int:
    """Return the jobs per ready pod that a minute of readings did not fall below; 0 where others may have run them."""
    if queue.shared_with or not workers.ready == workers.present == learning.ready:
        return 0
    if now - learning.ready_since < SUSTAINED_SECONDS or not learning.samples or _unseen_pods(learning, workers, now):
        return 0
    edge = learning.samples[-1].at_ms - SUSTAINED_SECONDS * 1000
    if learning.samples[0].at_ms > edge:
        return 0
    least = min(sample.active for sample in learning.samples if sample.at_ms >= edge)
    return math.ceil((least - learning.roster.orphans) / workers.ready)


def _unseen_pods(learning: Learning, workers: WorkersObservation, now: float) -> bool:
    """Terminating pods finish their jobs, and are no more among the ready ones."""
    if workers.pods is not None:
        return any(pod.terminating for pod in workers.pods)
    quiet = UNSEEN_SHRINK_SECONDS if workers.grace_seconds is None else workers.grace_seconds
    return learning.shrunk_at is not None and now - learning.shrunk_at < quiet


def _saturated(learning: Learning, snapshot: QueueSnapshot, capacity: int, now: float) -> Learning:
    """Note since when nearly all slots are taken and the backlog has not fallen below what it was then."""
    backlog = snapshot.backlog
    if not capacity or not backlog or snapshot.active < SATURATED_PART * capacity:
        return learning if learning.saturated_since is None else replace(learning, saturated_since=None)
    if learning.saturated_since is None or backlog < learning.saturated_backlog:
        return replace(learning, saturated_since=now, saturated_backlog=backlog)
    return learning
