"""KEDA with the HorizontalPodAutoscaler that it makes, on one list's length: what stands beside our decision.

Sources: KEDA's `pkg/scaling/scale_handler.go` and `pkg/scaling/executor/scale_scaledobjects.go` (0 to 1, and to 0),
`pkg/scalers/redis_scaler.go` (LLEN); Kubernetes' `pkg/controller/podautoscaler/horizontal.go` and
`replica_calculator.go` (the rest). Measured of them: 0, 1, then 4, 8, 16, 32, 64, 100, 15 s apart.
"""

import math
from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

from queueworker_operator.simulation.jobs import SimulatedQueue
from queueworker_operator.simulation.world import World

SYNC_SECONDS = 15.0
"""How often the HPA controller looks."""
TOLERANCE = 0.1
_BEHAVIOR_PERIOD_SECONDS = 15.0
_BEHAVIOR_PODS = 4


class Metric(StrEnum):
    """What is counted."""

    WAIT = "wait"
    """LLEN of `wait`, as everybody sets it up: neither prioritized nor overdue delayed nor active jobs."""
    WAIT_AND_ACTIVE = "wait+active"
    """Triggers for `wait`, `prioritized` and `active`, summed by a formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaSettings:
    """A ScaledObject; seconds. The defaults are KEDA's."""

    metric: Metric = Metric.WAIT
    list_length: float = 5.0
    polling_interval: float = 30.0
    cooldown: float = 300.0
    down_window: float = 300.0
    """`scaleDown.stabilizationWindowSeconds`."""
    min_replicas: int = 0
    max_replicas: int
    behavior: bool = False
    """Whether `advanced.horizontalPodAutoscalerConfig.behavior` is set: without it the controller doubles, from 4 on;
    with it the default policies of scaleUp hold, 4 pods or 100 % in 15 s."""
    unlimited_up: bool = False
    """Whether `behavior.scaleUp` lets the number rise in one step."""


class Keda:
    """A scaler. `phase` (0 to 1) says where in their intervals KEDA and the HPA begin: they know nothing of jobs."""

    def __init__(self, settings: KedaSettings, *, phase: float = 0.5) -> None:
        self._settings = settings
        self._phase = phase
        self._world: World | None = None
        self._last_active = float("-inf")
        self._recommendations: deque[tuple[float, int]] = deque()
        self._rises: deque[tuple[float, int]] = deque()

    @property
    def world(self) -> World:
        """The run; there is one once it has begun."""
        if self._world is None:
            raise RuntimeError("the run has not begun")
        return self._world

    def begin(self, world: World) -> None:
        """Begin polling and syncing, each at its phase."""
        self._world = world
        world.at(self._phase * self._settings.polling_interval, self._poll)
        world.at(self._phase * SYNC_SECONDS, self._sync)

    def job_came(self, queue: SimulatedQueue) -> None:
        """Nothing: the redis scaler only polls."""

    def pods_changed(self) -> None:
        """Nothing: the controller looks when it syncs."""

    def _poll(self, _: None) -> None:
        """KEDA's own loop: 0 to 1 (or the minimum), and to 0 from whatever number."""
        world, settings = self.world, self._settings
        active = any(self._value(i) for i in range(len(world.queues)))
        if active:
            self._last_active = world.now
            if world.replicas == 0:
                world.scale(max(1, settings.min_replicas))
        elif settings.min_replicas == 0 and world.replicas and world.now - self._last_active >= settings.cooldown:
            world.scale(0)
            self._recommendations.clear()
        world.at(world.now + settings.polling_interval, self._poll)

    def _sync(self, _: None) -> None:
        world = self.world
        if world.replicas:
            world.scale(self._stabilized(max(self._wanted(i) for i in range(len(world.queues)))))
        world.at(world.now + SYNC_SECONDS, self._sync)

    def _wanted(self, queue: int) -> int:
        """`GetExternalPerPodMetricReplicas`: the total over the target, where it differs by more than the tolerance."""
        value, current = self._value(queue), self.world.replicas
        ratio = value / (self._settings.list_length * current)
        if abs(1 - ratio) <= TOLERANCE:
            return current
        return math.ceil(value / self._settings.list_length)

    def _stabilized(self, wanted: int) -> int:
        settings, now, current = self._settings, self.world.now, self.world.replicas
        self._recommendations.append((now, wanted))
        while self._recommendations and self._recommendations[0][0] <= now - settings.down_window:
            self._recommendations.popleft()
        highest = max((replicas for _, replicas in self._recommendations), default=wanted)
        number = wanted if wanted >= current else min(current, max(highest, wanted))
        number = min(number, self._highest(current))
        number = max(min(number, settings.max_replicas), max(1, settings.min_replicas))
        if number > current:
            self._rises.append((now, number - current))
        return number

    def _highest(self, current: int) -> int:
        """Return how far up one sync may go."""
        settings, now = self._settings, self.world.now
        if settings.unlimited_up:
            return settings.max_replicas
        if not settings.behavior:
            return max(2 * current, 4)
        while self._rises and self._rises[0][0] <= now - _BEHAVIOR_PERIOD_SECONDS:
            self._rises.popleft()
        start = current - sum(change for _, change in self._rises)
        return max(start + _BEHAVIOR_PODS, 2 * start)

    def _value(self, index: int) -> int:
        queue = self.world.queues[index]
        if self._settings.metric is Metric.WAIT:
            return len(queue.wait)
        return queue.backlog + len(queue.active)


def defaults(*, min_replicas: int, max_replicas: int) -> KedaSettings:
    """Return a ScaledObject that names a list and the limits, and nothing else."""
    return KedaSettings(min_replicas=min_replicas, max_replicas=max_replicas)


def with_formula(settings: KedaSettings, *, slots: int) -> KedaSettings:
    """Return the same counting active jobs too, one per slot of a pod: what its documentation's readers arrive at."""
    return replace(settings, metric=Metric.WAIT_AND_ACTIVE, list_length=float(slots))
