"""What the rest of the operator calls to be seen by Prometheus. Each process passes its own registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest

from queueworker.keys import QueueKeys
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.metrics.families import Families
from queueworker_operator.metrics.series import Shown, register
from queueworker_operator.metrics.servers import ShownServers
from queueworker_operator.metrics.shown import ShownWorkers
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Observation


class Metrics:
    """The gauges of each QueueWorker, and what reading Redis costs."""

    def __init__(self, registry: CollectorRegistry, *, clock: Callable[[], float]) -> None:
        """`clock` is that of the loop and of the readers, in seconds."""
        self._registry = registry
        self._clock = clock
        self._families = Families(registry)
        self._workers: dict[tuple[str, str], ShownWorkers] = {}
        self._servers = ShownServers(self._families)
        register(registry, Shown(workers=self._workers, servers=self._servers.servers))

    def text(self, names: Sequence[str] = ()) -> bytes:
        """Return everything, or these series alone, in the text format of Prometheus, with the time of pods up to now.

        The names are those of series: of a histogram `..._bucket`, of a counter `..._total`.
        """
        now = self._clock()
        for shown in self._workers.values():
            shown.usage.pass_time(now)
        return generate_latest(self._registry.restricted_registry(names) if names else self._registry)

    def decided(
        self,
        namespace: str,
        name: str,
        observation: Observation,
        decision: Decision,
        *,
        news_at: float | None = None,
    ) -> None:
        """Show what was seen and decided; `news_at` (by the clock) is when the newest of it happened."""
        now, shown = self._clock(), self._shown(namespace, name)
        shown.show(observation, decision, now)
        if news_at is not None and shown.is_news(news_at):
            self._families.lag.observe(max(0.0, now - news_at))

    def conditions(self, namespace: str, name: str, conditions: Iterable[Condition]) -> None:
        """Show which status each condition has."""
        self._shown(namespace, name).conditions = tuple(conditions)

    def scaled(self, namespace: str, name: str, decision: Decision) -> None:
        """Count a change of the number."""
        direction = "up" if decision.desired > decision.current else "down"
        self._shown(namespace, name).count(direction, str(decision.reason))

    def read(
        self, redis: str, snapshots: Mapping[QueueKeys, QueueSnapshot | None], errors: Iterable[str], *, seconds: float
    ) -> None:
        """Show a read of a Redis: a snapshot for each queue, or None; the reasons of those that failed."""
        self._servers.read(redis, snapshots, errors, seconds=seconds)

    def discarded(self, redis: str, queue: QueueKeys) -> None:
        """Show nothing of a queue of a Redis any more: nobody reads it."""
        self._servers.discard(redis, queue)

    def reconcile_failed(self) -> None:
        """Count a look that failed."""
        self._families.reconcile_errors.inc()

    def forget(self, namespace: str, name: str) -> None:
        """Show nothing of a QueueWorker any more."""
        self._workers.pop((namespace, name), None)

    def _shown(self, namespace: str, name: str) -> ShownWorkers:
        shown = self._workers.get((namespace, name))
        if shown is None:
            shown = self._workers[namespace, name] = ShownWorkers()
        return shown
