"""The metrics of which there are few: those of the operator itself and of each Redis. For the others see `series`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Families:
    """The metrics that are counted as things happen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag = Histogram(
            "queueworker_decision_lag_seconds",
            "From the event or the reading that brought news of a queue until that was decided on and carried out.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.polls = Histogram(
            "queueworker_redis_poll_duration_seconds",
            "How long one read of all due queues of a Redis took.",
            ("redis",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        self.redis_errors = Counter(
            "queueworker_redis_errors", "Queue reads that failed.", ("redis", "kind"), registry=registry
        )
        self.last_poll = Gauge(
            "queueworker_last_successful_poll_timestamp_seconds",
            "When a Redis was last read.",
            ("redis",),
            registry=registry,
        )
        self.reconcile_errors = Counter(
            "queueworker_reconcile_errors", "Looks at a QueueWorker that failed.", registry=registry
        )
