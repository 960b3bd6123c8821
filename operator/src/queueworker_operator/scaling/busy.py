"""The busy floor: how many pods must stay because jobs run on them."""

from collections.abc import Sequence

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.demand import ceil, ceil_div
from queueworker_operator.scaling.observation import WorkersObservation
from queueworker_operator.scaling.queues import QueueView

DRAIN_PART = 0.8
"""Of the drain time: jobs that mostly take longer are not left to it."""
DEFAULT_GRACE_SECONDS = 30
"""What Kubernetes gives a pod that says nothing else."""


def drain_seconds(spec: QueueWorkerSpec, workers: WorkersObservation) -> float:
    """Return how long a pod is given to end its jobs."""
    if spec.worker is not None:
        return float(spec.worker.drain_timeout_seconds)
    return float(workers.grace_seconds if workers.grace_seconds is not None else DEFAULT_GRACE_SECONDS)


def busy_floor(queues: Sequence[QueueView], workers: WorkersObservation, *, drain: float, current: int) -> int:
    """Return how many pods the running jobs occupy, of those that there are; `drain` is in seconds.

    Where jobs end within the drain time it is enough that they fit on the pods that stay: each pod serves every queue
    with its own slots.
    """
    running = [queue for queue in queues if queue.active > 0]
    fit = max((ceil_div(_ours(queue), queue.concurrency) for queue in running), default=0)
    long = [queue for queue in running if outlasts(queue, drain)]
    return min(current, max(fit, _occupied(long, workers), _behind_unready(long, workers, current=current)))


def outlasts(queue: QueueView, drain: float) -> bool:
    """Whether jobs of a queue may take longer than a pod is given to end them.

    That of 95 of 100 jobs of the queue, or of one of the names that run, or that of the job that runs longest counts.
    """
    rates = queue.rates
    if rates.service_seconds is None:
        return True
    p95 = rates.service_p95_seconds if rates.service_p95_seconds is not None else 3 * rates.service_seconds
    # A few long jobs among many short ones do not show in a percentile of all, but those that run do.
    running = max(rates.running_p95_seconds or 0.0, rates.oldest_running_seconds or 0.0)
    return max(p95, running) > DRAIN_PART * drain


def _occupied(queues: Sequence[QueueView], workers: WorkersObservation) -> int:
    pods = own_pods(queues, workers)
    anywhere = ceil(sum(_anywhere(queue) * queue.share_percent / 100 for queue in queues))
    if workers.ordinal:
        # What goes is the highest ordinal, so all below the highest busy one stay.
        return max(max((_ordinal(pod) + 1 for pod in pods), default=0), anywhere)
    return len(pods) + anywhere


def _behind_unready(queues: Sequence[QueueView], workers: WorkersObservation, *, current: int) -> int:
    """Return how many pods must stay for the sake of a busy one that is not ready; 0 where there is none.

    The ReplicaSet controller takes pods that are not ready before all others, and only among them looks at the costs.
    """
    unready = {pod.name for pod in workers.pods or () if not pod.ready and not pod.terminating}
    busy = unready & own_pods(queues, workers)
    return current - len(unready - busy) if busy else 0


def own_pods(queues: Sequence[QueueView], workers: WorkersObservation) -> frozenset[str]:
    """Return the pods, of ours where they are known and stay, that hold a live lock."""
    busy = frozenset().union(*(queue.rates.busy_pods for queue in queues))
    if workers.pods is None:
        return busy
    return busy & {pod.name for pod in workers.pods if not pod.terminating}


def _anywhere(queue: QueueView) -> int:
    """Return how many active jobs may be on any pod: nobody looked at them, or their owner is no pod."""
    if queue.details is None or queue.snapshot is None:
        return queue.active
    begun_since = max(0, queue.snapshot.active - queue.details.active_total)
    return queue.rates.unattributed + begun_since


def _ours(queue: QueueView) -> int:
    return ceil_div(queue.active * queue.share_percent, 100)


def _ordinal(pod: str) -> int:
    number = pod.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else -1
