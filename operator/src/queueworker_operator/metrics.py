"""What the operator tells Prometheus. Each process passes its own registry; there is no global one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from queueworker.keys import QueueKeys
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Observation

_OBJECT = ("namespace", "name")
# The states of BullMQ's own exporter, and the properties of a snapshot that count them.
_STATES: Mapping[str, str] = {
    "waiting": "waiting",
    "prioritized": "prioritized",
    "delayed": "delayed",
    "active": "active",
    "waiting-children": "waiting_children",
    "completed": "completed",
    "failed": "failed",
    "paused": "legacy_paused",
}


class Metrics:
    """The gauges of each QueueWorker, and what reading Redis costs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

        def gauge(name: str, text: str, labels: Iterable[str] = _OBJECT) -> Gauge:
            return Gauge(name, text, tuple(labels), registry=registry)

        self._desired = gauge("queueworker_desired_replicas", "Replicas decided on.")
        self._replicas = gauge("queueworker_replicas", "Workers that exist.")
        self._ready = gauge("queueworker_ready_replicas", "Workers that are ready.")
        per_queue = (*_OBJECT, "queue")
        self._backlog = gauge("queueworker_backlog_jobs", "Jobs that a free slot could take.", per_queue)
        self._oldest = gauge(
            "queueworker_oldest_job_age_seconds", "Age of the job that has been ready for longest.", per_queue
        )
        self._condition = gauge(
            "queueworker_condition", "1 for the status that a condition has.", (*_OBJECT, "type", "status")
        )
        self._jobs = gauge("bullmq_job_count", "Jobs of a queue by state.", ("queue", "state"))
        self._decisions = Counter(
            "queueworker_scale_decisions_total",
            "Changes of the number of replicas.",
            (*_OBJECT, "direction", "reason"),
            registry=registry,
        )
        self._polls = Histogram(
            "queueworker_redis_poll_duration_seconds",
            "How long one read of all due queues of a Redis took.",
            ("redis",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        self._redis_errors = Counter(
            "queueworker_redis_errors_total", "Queue reads that failed.", ("redis", "reason"), registry=registry
        )
        self._last_poll = gauge(
            "queueworker_last_successful_poll_timestamp_seconds", "When a Redis was last read.", ("redis",)
        )
        self._reconcile_errors = Counter(
            "queueworker_reconcile_errors_total", "Looks at a QueueWorker that failed.", registry=registry
        )
        self._queues: dict[tuple[str, str], set[str]] = {}
        self._conditions: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def text(self) -> bytes:
        """Return everything in the text format of Prometheus."""
        return generate_latest(self._registry)

    def decided(self, namespace: str, name: str, observation: Observation, decision: Decision) -> None:
        """Show what was seen and decided. What is unknown has no value: a gauge that is left out is no zero."""
        own = (namespace, name)
        self._desired.labels(*own).set(decision.desired)
        self._replicas.labels(*own).set(observation.workers.present)
        self._ready.labels(*own).set(observation.workers.ready)
        known = {queue.name: queue.snapshot for queue in observation.queues if queue.snapshot is not None}
        self._drop_queues(own, self._queues.get(own, set()) - known.keys())
        self._queues[own] = set(known)
        for queue, snapshot in known.items():
            self._backlog.labels(*own, queue).set(snapshot.backlog)
            self._oldest.labels(*own, queue).set(snapshot.oldest_age_seconds or 0)

    def conditions(self, namespace: str, name: str, conditions: Iterable[Condition]) -> None:
        """Show which status each condition has."""
        own = (namespace, name)
        now = {(str(condition.type), str(condition.status)) for condition in conditions}
        for gone in self._conditions.get(own, set()) - now:
            self._condition.remove(*own, *gone)
        for one in now:
            self._condition.labels(*own, *one).set(1)
        self._conditions[own] = now

    def scaled(self, namespace: str, name: str, decision: Decision) -> None:
        """Count a change of the number."""
        direction = "up" if decision.desired > decision.current else "down"
        self._decisions.labels(namespace, name, direction, str(decision.reason)).inc()

    def read(
        self, redis: str, snapshots: Mapping[QueueKeys, QueueSnapshot | None], errors: Iterable[str], *, seconds: float
    ) -> None:
        """Show a read of a Redis: a snapshot for each queue, or None; the reasons of those that failed."""
        self._polls.labels(redis).observe(seconds)
        for reason in errors:
            self._redis_errors.labels(redis, reason).inc()
        for keys, snapshot in snapshots.items():
            if snapshot is None:
                self._jobs.remove_by_labels({"queue": keys.queue})
                continue
            self._last_poll.labels(redis).set_to_current_time()
            for state, field in _STATES.items():
                self._jobs.labels(keys.queue, state).set(getattr(snapshot, field))

    def reconcile_failed(self) -> None:
        """Count a look that failed."""
        self._reconcile_errors.inc()

    def forget(self, namespace: str, name: str) -> None:
        """Show nothing of a QueueWorker any more."""
        own = (namespace, name)
        for gauge in (self._desired, self._replicas, self._ready):
            gauge.remove_by_labels({"namespace": namespace, "name": name})
        self._decisions.remove_by_labels({"namespace": namespace, "name": name})
        self._drop_queues(own, self._queues.pop(own, set()))
        self.conditions(namespace, name, ())
        del self._conditions[own]

    def _drop_queues(self, own: tuple[str, str], queues: set[str]) -> None:
        if not queues:
            return
        elsewhere = {queue for other, names in self._queues.items() if other != own for queue in names}
        for queue in queues:
            self._backlog.remove(*own, queue)
            self._oldest.remove(*own, queue)
            if queue not in elsewhere:
                self._jobs.remove_by_labels({"queue": queue})
