"""When the same inputs would first be decided otherwise, so that the loop looks again in time and not all the time."""

from collections.abc import Iterator

from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.scaling import growth
from queueworker_operator.scaling.capacity import coming_until, steady_at
from queueworker_operator.scaling.memory import NOT_CONSUMING_SECONDS
from queueworker_operator.scaling.observation import WorkersObservation
from queueworker_operator.scaling.overrides import Overrides
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.rates.starts import StartUp
from queueworker_operator.scaling.schedules import Minimum
from queueworker_operator.scaling.verdict import Verdict

SHORTEST_SECONDS = 0.05
BUSY_SECONDS = 1.0
"""Workers that are there promote delayed jobs themselves: no look for each of them."""


def earliest(moments: Iterator[float | None], now: float) -> float | None:
    """Return the first moment that is still to come, never so near that looking would be all there is time for."""
    first = min((moment for moment in moments if moment is not None and moment > now), default=None)
    return None if first is None else max(first, now + SHORTEST_SECONDS)


def moments(
    verdict: Verdict,
    autoscaling: Autoscaling | None,
    workers: WorkersObservation,
    overrides: Overrides,
    minimum: Minimum | None,
    start_up: StartUp,
    now: float,
) -> Iterator[float | None]:
    """Yield the moments (Unix seconds) at which a wait, a hold or a time of day ends."""
    noticed = verdict.noticed
    if overrides.pinned_replicas is not None:
        yield overrides.pinned_until
    if noticed.not_consuming_since is not None:
        yield noticed.not_consuming_since + NOT_CONSUMING_SECONDS
    yield from map(steady_at, workers.pods or ())
    if autoscaling is None:
        return
    for limit in verdict.limits:
        yield limit.until
    if minimum is not None:
        yield minimum.until
    if autoscaling.on_metrics_loss is not None and noticed.lost_since is not None:
        yield noticed.lost_since + autoscaling.on_metrics_loss.after_seconds
    if noticed.storm_since is not None:
        yield noticed.storm_since + growth.STORM_SECONDS
    yield from _coming(workers)
    for queue in verdict.queues:
        yield queue.held_until
        if queue.state is QueueState.LIVE:
            yield from _of_queue(queue, start_up, verdict.number, now)


def _of_queue(queue: QueueView, start_up: StartUp, number: int, now: float) -> Iterator[float]:
    saturated = queue.rates.saturated_since
    if saturated is not None and queue.rates.service_seconds is None:
        yield saturated + start_up.seconds
    due = queue.next_due_in
    if due is None:
        return
    soonest = 0.0 if number == 0 else BUSY_SECONDS
    for ahead in (0.0, queue.horizon_seconds / 4, queue.horizon_seconds / 2, queue.horizon_seconds):
        if due > ahead:
            yield now + max(due - ahead, soonest)


def _coming(workers: WorkersObservation) -> Iterator[float]:
    for pod in workers.pods or ():
        if not pod.ready and not pod.terminating and pod.problem is None:
            yield coming_until(pod)
