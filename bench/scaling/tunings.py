"""Our own settings that are tried on a trace, so that a tuned KEDA stands beside a tuned QueueWorker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.simulation.figures import Figures, figures_of
from queueworker_operator.simulation.operator import Operator
from queueworker_operator.simulation.optimum import Optimum, optimum
from queueworker_operator.simulation.plant import Plant
from queueworker_operator.simulation.trace import Trace
from queueworker_operator.simulation.tuning import Tried, best_of
from queueworker_operator.simulation.world import World

_WINDOWS = (10, 30)
_MAX_WAITS = (30, 60, 120)
_MINIMA = (0, 1)
_COOLDOWN = 15
MOST_IDLE_STARTS = 0.05
_WORTH_A_LOOK = 2
"""The optimum is searched for so many of the cheapest settings: that takes longer than the run itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is set beside expectedJobMilliseconds, which always is; seconds."""

    window: int
    max_wait: int
    minimum: int

    def __str__(self) -> str:
        return f"window {self.window} s, maxWait {self.max_wait} s, minReplicas {self.minimum}"

    def applied(self, spec: QueueWorkerSpec, *, service: float) -> QueueWorkerSpec:
        """Return a spec with this setting; `service` is how long a job takes."""
        document = spec.model_dump(by_alias=True, exclude_unset=True)
        document["autoscaling"] |= {
            "minReplicas": self.minimum,
            "cooldownSeconds": _COOLDOWN,
            "target": {"maxWaitSeconds": self.max_wait, "expectedJobMilliseconds": round(service * 1000)},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": self.window}},
        }
        return QueueWorkerSpec.model_validate(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What a setting of ours does."""

    setting: Setting
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Frugal:
    """The setting nearest to the optimum of its own p95 wait."""

    own: Own
    optimum: Optimum

    @property
    def times(self) -> float:
        """Its pod-seconds over those of the optimum."""
        return self.own.figures.pod_seconds / self.optimum.pod_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Swift:
    """The setting with the least part of the p95 wait of KEDA's best at its pod-seconds."""

    own: Own
    keda: Tried

    @property
    def share(self) -> float:
        """Its p95 wait over KEDA's."""
        ours, theirs = self.own.figures.waits.p95, self.keda.figures.waits.p95
        return ours / theirs if theirs > 0 else (0.0 if ours == 0 else float("inf"))


def settings() -> Iterator[Setting]:
    """Yield the grid: short windows, long and short waits, a pod that stays or none; and a long window.

    A pod that stays is started when the run begins, for KEDA too.
    """
    for window, max_wait, minimum in product(_WINDOWS, _MAX_WAITS, _MINIMA):
        yield Setting(window=window, max_wait=max_wait, minimum=minimum)
    yield Setting(window=300, max_wait=30, minimum=0)


def tried(trace: Trace, spec: QueueWorkerSpec, plant: Plant, *, service: float, window: float) -> list[Own]:
    """Return what each setting does; turns are counted by the same `window` for all."""
    found = []
    for setting in settings():
        chosen = setting.applied(spec, service=service)
        world = World(trace, plant, Operator(chosen)).run()
        figures = figures_of(world, max_wait=float(setting.max_wait), window=window)
        found.append(Own(setting=setting, figures=figures))
    return found


def sparing(own: Sequence[Own]) -> list[Own]:
    """Return those that start next to no pod for nothing: a setting that does is no good, however cheap; else all."""
    return [one for one in own if one.figures.idle_start_share <= MOST_IDLE_STARTS] or list(own)


def frugal(own: Sequence[Own], trace: Trace, spec: QueueWorkerSpec, plant: Plant, *, service: float) -> Frugal:
    """Return the nearest to the optimum among the cheapest."""
    found = []
    for one in sorted(own, key=lambda one: one.figures.pod_seconds)[:_WORTH_A_LOOK]:
        chosen = one.setting.applied(spec, service=service)
        world = World(trace, plant, Operator(chosen)).run()
        best = optimum(trace, plant, p95=one.figures.waits.p95, beside=[world])
        found.append(Frugal(own=one, optimum=best))
    return min(found, key=lambda one: one.times)


def swift(own: Sequence[Own], keda: Sequence[Tried]) -> Swift | None:
    """Return the best beside KEDA; None where no setting of KEDA costs as little as any of ours."""
    pairs = [(one, best_of(keda, pod_seconds=one.figures.pod_seconds)) for one in own]
    found = [Swift(own=one, keda=best) for one, best in pairs if best is not None]
    return min(found, key=lambda one: (one.share, one.own.figures.pod_seconds), default=None)
