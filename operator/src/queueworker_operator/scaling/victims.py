"""Which pods go in a scale-in: those on which least is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from queueworker_operator.scaling.busy import outlasts
from queueworker_operator.scaling.observation import Ownership, Pod, WorkersObservation
from queueworker_operator.scaling.queues import QueueView

VICTIM_COST = -100
"""What the operator writes as `controller.kubernetes.io/pod-deletion-cost`; a pod without one has 0 (KEP-2255)."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What goes with a pod."""

    outlasts: bool
    """Whether one of its jobs may take longer than the pod is given to end it."""
    seconds: float
    """How long its jobs have been running, summed."""

    def and_of(self, *, long: bool, seconds: float) -> Loss:
        """Return it with another job."""
        return Loss(self.outlasts or long, self.seconds + seconds)


_NOTHING = Loss(outlasts=False, seconds=0.0)


def victims(
    queues: Sequence[QueueView], workers: WorkersObservation, *, desired: int, current: int, drain: float
) -> tuple[str, ...]:
    """Return the pods that are to go, the first one first; none where it cannot be chosen, or is all the same.

    `drain` is how many seconds a pod is given to end its jobs. It is all the same where none stays, or where none of
    those that stay has anything to lose.
    """
    if desired in range(1, current) and workers.pods is not None and _can_choose(workers):
        staying = [pod for pod in workers.pods if not pod.terminating]
        # Those of an earlier scale-in too, as long as the ReplicaSet controller has not taken them.
        count = max(0, len(staying) - desired)
        limited = frozenset().union(*(queue.rates.stall_limited_pods for queue in queues))
        loss = _losses(queues, drain)
        ranked = sorted(staying, key=lambda pod: _rank(pod, loss, limited))
        if any(pod.name in loss or pod.name in limited for pod in ranked[count:]):
            return tuple(pod.name for pod in ranked[:count])
    return ()


def spared(workers: WorkersObservation, chosen: Sequence[str], *, desired: int) -> tuple[str, ...]:
    """Return the pods that bear our deletion cost and are not to go; none before those that are have been chosen.

    As long as there are more than there shall be, the ReplicaSet controller has yet to look at the costs.
    """
    if workers.pods is None or workers.ownership is Ownership.TARGET:
        return ()
    staying = [pod for pod in workers.pods if not pod.terminating]
    if not chosen and len(staying) > desired:
        return ()
    return tuple(pod.name for pod in staying if pod.deletion_cost == VICTIM_COST and pod.name not in chosen)


def _can_choose(workers: WorkersObservation) -> bool:
    return not workers.ordinal and workers.ownership is not Ownership.TARGET


def _rank(pod: Pod, loss: Mapping[str, Loss], limited: frozenset[str]) -> tuple[object, ...]:
    """Sort as the ReplicaSet controller does where it leaves no choice (without a node, not ready), then by loss."""
    lost = loss.get(pod.name)
    return (
        pod.ready,
        pod.scheduled_at is not None,
        pod.name in limited,
        lost is not None and lost.outlasts,
        lost is not None,
        lost.seconds if lost is not None else 0.0,
        -(pod.ready_at if pod.ready_at is not None else pod.created_at),
        pod.name,
    )


def _losses(queues: Sequence[QueueView], drain: float) -> Mapping[str, Loss]:
    """Return what is under way, by pod; only pods that hold a live lock are there."""
    found: dict[str, Loss] = {}
    for queue in queues:
        long = outlasts(queue, drain)
        for pod in queue.rates.busy_pods:
            found[pod] = found.get(pod, _NOTHING).and_of(long=long, seconds=0.0)
        for job in queue.details.active if queue.details is not None else ():
            if queue.details is not None and job.owner in found and job.locked and job.started_ms is not None:
                seconds = max(0, queue.details.now_ms - job.started_ms) / 1000
                found[job.owner] = found[job.owner].and_of(long=long, seconds=seconds)
    return found
