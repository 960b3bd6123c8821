"""The metrics of each QueueWorker and each queue: names, texts, labels. Job ids and job names are never labels.

Their values are looked up when they are asked for. An object of the client library for each series, with a lock of its
own, would be 20 KB and half a millisecond of processor time for each QueueWorker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from queueworker_operator.metrics.servers import STATES, ShownServer
from queueworker_operator.metrics.shown import ShownQueue, ShownWorkers

Family = GaugeMetricFamily | CounterMetricFamily
Samples = Iterator[tuple[tuple[str, ...], float]]
"""Values by those of the labels."""
OBJECT = ("namespace", "name")
QUEUE = (*OBJECT, "queue")
# BullMQ's own exporter has queue and state, and whatever else its user adds: boards go by these two. Without the
# others, queues of one name on two servers, or under two prefixes, would overwrite each other.
JOBS = ("redis", "prefix", "queue", "state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Where the values are."""

    workers: Mapping[tuple[str, str], ShownWorkers]
    """By namespace and name."""
    servers: Mapping[str, ShownServer]
    """By address."""


@dataclass(frozen=True, slots=True)
class Series:
    """One metric."""

    kind: type[GaugeMetricFamily] | type[CounterMetricFamily]
    name: str
    text: str
    labels: tuple[str, ...]
    samples: Callable[[Shown], Samples]


class _Lookup(Collector):
    """What the registry asks for one metric."""

    def __init__(self, series: Series, shown: Shown) -> None:
        self._series = series
        self._shown = shown

    def describe(self) -> Iterable[Family]:
        """Return it without values."""
        return [self._series.kind(self._series.name, self._series.text, labels=self._series.labels)]

    def collect(self) -> Iterable[Family]:
        """Return it with the values of this moment."""
        for family in self.describe():
            for labels, value in self._series.samples(self._shown):
                family.add_metric(labels, value)
            yield family


def register(registry: CollectorRegistry, shown: Shown) -> None:
    """Let the registry tell of what is shown, as it is when it is asked."""
    for series in ALL:
        registry.register(_Lookup(series, shown))


def _workers(value: Callable[[ShownWorkers], float | None]) -> Callable[[Shown], Samples]:
    def samples(shown: Shown) -> Samples:
        for labels, one in shown.workers.items():
            if (found := value(one)) is not None:
                yield labels, found

    return samples


def _queues(value: Callable[[ShownQueue], float | None]) -> Callable[[Shown], Samples]:
    def samples(shown: Shown) -> Samples:
        for labels, one in shown.workers.items():
            for name, queue in one.queues.items():
                if (found := value(queue)) is not None:
                    yield (*labels, name), found

    return samples


def _conditions(shown: Shown) -> Samples:
    for labels, one in shown.workers.items():
        for condition in one.conditions:
            yield (*labels, condition.type, condition.status), 1


def _decisions(shown: Shown) -> Samples:
    for labels, one in shown.workers.items():
        for how, times in one.scaled.items():
            yield (*labels, *how), times


def _jobs(shown: Shown) -> Samples:
    for redis, server in shown.servers.items():
        for keys, counts in server.queues.items():
            for state, count in zip(STATES, counts or (), strict=False):
                yield (redis, keys.prefix, keys.queue, state), count


def _gauge(name: str, text: str, labels: tuple[str, ...], samples: Callable[[Shown], Samples]) -> Series:
    return Series(GaugeMetricFamily, name, text, labels, samples)


def _counter(name: str, text: str, labels: tuple[str, ...], samples: Callable[[Shown], Samples]) -> Series:
    return Series(CounterMetricFamily, name, text, labels, samples)


ALL = (
    _gauge("queueworker_desired_replicas", "Replicas decided on.", OBJECT, _workers(lambda one: one.desired)),
    _gauge("queueworker_replicas", "Workers that exist.", OBJECT, _workers(lambda one: one.replicas)),
    _gauge("queueworker_ready_replicas", "Workers that are ready.", OBJECT, _workers(lambda one: one.ready)),
    _gauge("queueworker_paused", "1 while the user or a queue is paused.", OBJECT, _workers(lambda one: one.paused)),
    _gauge("queueworker_backlog_jobs", "Jobs that a free slot could take.", QUEUE, _queues(lambda one: one.backlog)),
    _gauge(
        "queueworker_oldest_job_age_seconds",
        "Age of the job that has been ready for longest.",
        QUEUE,
        _queues(lambda one: one.oldest_age_seconds),
    ),
    _gauge("queueworker_condition", "1 for the status that a condition has.", (*OBJECT, "type", "status"), _conditions),
    _counter(
        "queueworker_scale_decisions",
        "Changes of the number of replicas.",
        (*OBJECT, "direction", "reason"),
        _decisions,
    ),
    _counter(
        "queueworker_pod_seconds",
        "Time of all workers that exist, ready or not.",
        OBJECT,
        _workers(lambda one: one.usage.pod_seconds),
    ),
    _counter(
        "queueworker_idle_pod_seconds",
        "Time of ready workers that are known to run no job.",
        OBJECT,
        _workers(lambda one: one.usage.idle_pod_seconds),
    ),
    _counter(
        "queueworker_jobs_finished",
        "Jobs that completed or failed, where workers keep BullMQ's metrics.",
        QUEUE,
        _queues(lambda one: one.finished),
    ),
    _gauge("bullmq_job_count", "Jobs of a queue by state.", JOBS, _jobs),
)
