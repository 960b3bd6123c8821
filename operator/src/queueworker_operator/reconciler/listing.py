"""When the pods are listed: nobody watches them, and at rest nobody asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from queueworker_operator.reconciler.budget import Budget
from queueworker_operator.reconciler.memory import LONG_AGO, Memory, PodMemory
from queueworker_operator.scaling.observation import Ownership, QueueObservation, WorkersObservation

STARTING_SECONDS = 1.5
"""Between two listings while pods start,"""
YOUNG_SECONDS = 120.0
"""for so long after a growth; later as often as the workers of a QueueWorker that is not settled."""
STRANGERS_SECONDS = 2.0
"""Between two listings while jobs are held by who is not known; twice as long after each that explains none,"""
LONGEST_STRANGERS_SECONDS = 60.0
"""up to this."""
FORGOTTEN_SECONDS = 600.0
"""Who was no pod and holds no job for so long is not known any more."""
MOST_STRANGERS = 1000
"""So many are remembered, those that were seen last: pods of others come and go."""
LISTS_PER_SECOND = 20
"""Of pods that start, or do not become ready, over all QueueWorkers: a thousand at once keep no API server busy;"""
LISTS_AT_ONCE = 40
"""so many may be made at once where there were few before."""
UNUSED_SECONDS = 10.0
"""A turn in that budget that was not used for so long is over."""
TARGET_SECONDS = 5.0
"""Between two listings of pods that are not ours, while there are jobs: nobody tells of them."""
_LISTED = frozenset({Ownership.OURS, Ownership.TARGET})


def due_in(memory: Memory, queues: Sequence[QueueObservation], *, unsettled: float, at: float) -> float:
    """Return in how many seconds the pods are to be listed though no decision asks for them; infinite for never."""
    workers = memory.workers
    if workers is None or workers.ownership not in _LISTED or workers.replicas == 0:
        return math.inf
    listed_at, dues = memory.pods.listed_at, []
    if memory.pods.starting:
        # Also when all have become ready: once more, so that the last starts are measured.
        young = at - max(memory.pods.starting_since, memory.pods.grew_at) < YOUNG_SECONDS
        # The moment that the number grows there is nothing to see yet.
        since = max(listed_at, memory.pods.grew_at)
        dues.append(since + (STARTING_SECONDS if young else unsettled))
    if memory.pods.unknown and _strangers(queues, workers) & memory.pods.unknown:
        dues.append(listed_at + max(STRANGERS_SECONDS, memory.pods.unknown_pause))
    if workers.ownership is Ownership.TARGET and _busy(queues):
        dues.append(listed_at + TARGET_SECONDS)
    due = min(dues, default=math.inf)
    unlisted = memory.pods.unlisted
    if unlisted is None:
        return due - at
    # Where they may be listed again a scale-in may wait for it.
    return (unlisted.again_at if memory.pods.is_unavailable else max(due, unlisted.again_at)) - at


def turn_in(memory: Memory, due_in: float, lists: Budget, *, at: float) -> float:
    """Return in how many seconds a list comes that is due in so many, as all QueueWorkers together have one budget.

    The first list after a start does not wait: what the status says of the pods would be taken back until then. Those
    of a target do not either: by them it is known how many workers it has.
    """
    workers, pods = memory.workers, memory.pods
    is_first = pods.listed_at == pods.grew_at == LONG_AGO
    if due_in > 0 or is_first or workers is None or workers.ownership is not Ownership.OURS:
        return due_in
    if pods.turn_at < at - UNUSED_SECONDS:
        # Kept until it is used: who waits does not go to the end over and over.
        pods.turn_at = lists.reserve()
    return pods.turn_at - at


def remember(memory: Memory, queues: Sequence[QueueObservation], workers: WorkersObservation, at: float) -> None:
    """Take note of who holds jobs and is no pod that is known."""
    pods = memory.pods
    for name in _strangers(queues, workers):
        if name in pods.strangers:
            _keep(pods, name, at)
        elif len(pods.unknown) < MOST_STRANGERS:
            pods.unknown.add(name)


def explain(memory: Memory, queues: Sequence[QueueObservation], workers: WorkersObservation, at: float) -> None:
    """Keep who a list of the pods has just shown to be none; the less it explained, the longer the next one waits."""
    pods, here = memory.pods, {pod.name for pod in workers.pods or ()}
    if pods.unknown:
        pause = max(STRANGERS_SECONDS, pods.unknown_pause)
        pods.unknown_pause = 0.0 if pods.unknown & here else min(LONGEST_STRANGERS_SECONDS, pause * 2)
    for name in (pods.unknown - here) | _strangers(queues, workers):
        _keep(pods, name, at)
    pods.unknown.clear()
    gone = [name for name, last in pods.strangers.items() if at - last > FORGOTTEN_SECONDS]
    for name in [*gone, *list(pods.strangers)[:-MOST_STRANGERS]]:
        pods.strangers.pop(name, None)


def _keep(pods: PodMemory, name: str, at: float) -> None:
    # Who was seen last comes last.
    pods.strangers.pop(name, None)
    pods.strangers[name] = at


def _strangers(queues: Sequence[QueueObservation], workers: WorkersObservation) -> frozenset[str]:
    """Return who holds jobs and is no pod that is known."""
    known = {pod.name for pod in workers.pods or ()}
    return frozenset(
        job.owner
        for queue in queues
        if queue.details is not None
        for job in queue.details.active
        if job.locked and job.owner is not None and job.owner not in known
    )


def _busy(queues: Sequence[QueueObservation]) -> bool:
    return any(q.snapshot is not None and q.snapshot.backlog + q.snapshot.active > 0 for q in queues)
