"""What is known of a queue at one moment, out of what was learned."""

from queueworker_operator.scaling.observation import QueueObservation, WorkersObservation
from queueworker_operator.scaling.rates.learning import Learning
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rates.occupancy import occupancy, slots
from queueworker_operator.scaling.rates.service import service
from queueworker_operator.scaling.rates.window import flow


def rates(
    learning: Learning,
    queue: QueueObservation,
    workers: WorkersObservation,
    now: float,
    *,
    expected_seconds: float | None,
) -> QueueRates:
    """Return what is known of the queue; `learning` has learned from this very observation, `now` is in Unix seconds.

    `expected_seconds` is what the user expects of a job, used where nothing was measured.
    """
    job = service(learning, now, expected_seconds=expected_seconds)
    pace = flow(learning, now)
    who = occupancy(learning, queue, workers, job.seconds)
    return QueueRates(
        slots=slots(learning, queue.concurrency),
        service_seconds=job.seconds,
        service_p95_seconds=job.p95_seconds,
        service_p99_seconds=job.p99_seconds,
        service_source=job.source,
        arrivals_per_second=pace.arrivals,
        completions_per_second=pace.completions,
        failures_per_second=pace.failures,
        oldest_running_seconds=_oldest_running(learning, queue) if who.active else None,
        running_p95_seconds=learning.mix.running_p95_seconds if who.active else None,
        active=who.active,
        orphans=who.orphans,
        busy_pods=who.busy_pods,
        unattributed=who.unattributed,
        stall_limited_pods=who.stall_limited_pods,
        saturated_since=learning.saturated_since,
    )


def _oldest_running(learning: Learning, queue: QueueObservation) -> float | None:
    """Return for how long the oldest job runs of those looked at; where nobody can look, the last one seen runs on."""
    age, seen_ms, snapshot = learning.mix.oldest_age_seconds, learning.details_ms, queue.snapshot
    if age is None or queue.details is not None:
        return age
    if seen_ms is None or snapshot is None:
        return None
    return age + max(0, snapshot.now_ms - seen_ms) / 1000
