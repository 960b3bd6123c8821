"""What the limits of a spec let through: load beyond it waits longer and longer, however many pods there are."""

import math
from collections import Counter
from collections.abc import Iterator

from queueworker_operator.api.v1alpha1 import Queue, QueueWorkerSpec
from queueworker_operator.simulation.trace import Trace


def allowed_rate(spec: QueueWorkerSpec) -> float:
    """Return how many jobs a second may begin on each queue, when all get as many; infinite without limits."""
    shared = _throughput(spec) / len(spec.queues)
    return min(shared, *(_of_limiter(queue) for queue in spec.queues))


def excesses(load: Trace, spec: QueueWorkerSpec) -> Iterator[str]:
    """Yield a line for each limit that lets fewer jobs begin than come on average."""
    counts = Counter(job.queue for job in load.jobs)
    for queue in spec.queues:
        if counts[queue.name] > _of_limiter(queue) * load.seconds:
            yield _line(queue.name, counts[queue.name] / load.seconds, "its limiter", _of_limiter(queue))
    if len(load.jobs) > _throughput(spec) * load.seconds:
        yield _line("the load", len(load.jobs) / load.seconds, "throughputLimit", _throughput(spec))


def _line(what: str, comes: float, limit: str, allowed: float) -> str:
    return f"{what} has {comes:.3g} jobs a second on average, and {limit} lets {allowed:.3g} begin: waits grow and grow"


def _of_limiter(queue: Queue) -> float:
    limiter = queue.limiter
    return math.inf if limiter is None else limiter.max * 1000 / limiter.duration_milliseconds


def _throughput(spec: QueueWorkerSpec) -> float:
    limit = spec.autoscaling.throughput_limit if spec.autoscaling is not None else None
    return math.inf if limit is None else limit.jobs / limit.period_seconds
