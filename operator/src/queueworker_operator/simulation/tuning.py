"""KEDA's best settings for a trace, which nobody knows beforehand: least p95 wait at no more than our pod-seconds."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from queueworker_operator.simulation.figures import Figures, Outcome, figures_of
from queueworker_operator.simulation.keda import Keda, KedaSettings, Metric
from queueworker_operator.simulation.plant import Plant
from queueworker_operator.simulation.trace import Trace
from queueworker_operator.simulation.world import World

_WAIT_PER_SLOT = (0.25, 1.0, 5.0, 30.0)
_DEMAND_PER_SLOT = (0.6, 0.8, 1.0, 2.0)
_DOWN_WINDOWS = (0.0, 60.0, 300.0)
_COOLDOWNS = (30.0, 300.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A setting and what it does."""

    settings: KedaSettings
    figures: Figures


def best_keda(
    trace: Trace, plant: Plant, *, max_replicas: int, pod_seconds: float, max_wait: float, window: float
) -> Outcome | None:
    """Return the best of a grid of settings; None where none of them costs at most `pod_seconds`."""
    tried = try_keda(trace, plant, max_replicas=max_replicas, max_wait=max_wait, window=window)
    best = best_of(tried, pod_seconds=pod_seconds)
    if best is None:
        return None
    # Runs of the world are large: only the best is kept, so it is run once more.
    return Outcome(settings=best.settings, world=World(trace, plant, Keda(best.settings)).run(), figures=best.figures)


def try_keda(trace: Trace, plant: Plant, *, max_replicas: int, max_wait: float, window: float) -> Iterator[Tried]:
    """Yield what each setting of the grid does."""
    slots = min(queue.slots for queue in plant.queues)
    for settings in grid(slots=slots, min_replicas=plant.initial, max_replicas=max_replicas):
        world = World(trace, plant, Keda(settings)).run()
        yield Tried(settings=settings, figures=figures_of(world, max_wait=max_wait, window=window))


def best_of(tried: Iterable[Tried], *, pod_seconds: float) -> Tried | None:
    """Return the least p95 wait of those that cost at most `pod_seconds`; None where none does."""
    return min((one for one in tried if one.figures.pod_seconds <= pod_seconds), key=_rank, default=None)


def grid(*, slots: int, min_replicas: int, max_replicas: int) -> Iterator[KedaSettings]:
    """Yield what is tried: lengths around the slots of a pod, polls each second, and how fast the number moves.

    Where zero is allowed, a minimum of one is tried too, with which delayed jobs are not forgotten.
    """
    lengths = [(Metric.WAIT, slots * share) for share in _WAIT_PER_SLOT]
    lengths += [(Metric.WAIT_AND_ACTIVE, slots * share) for share in _DEMAND_PER_SLOT]
    ends = [(min_replicas, 300.0)] if min_replicas else [(0, cooldown) for cooldown in _COOLDOWNS] + [(1, 300.0)]
    for (metric, length), window, unlimited, (minimum, cooldown) in product(
        lengths, _DOWN_WINDOWS, (False, True), ends
    ):
        yield KedaSettings(
            metric=metric,
            list_length=length,
            polling_interval=1.0,
            cooldown=cooldown,
            down_window=window,
            min_replicas=minimum,
            max_replicas=max_replicas,
            behavior=True,
            unlimited_up=unlimited,
        )


def _rank(tried: Tried) -> tuple[float, float]:
    return tried.figures.waits.p95, tried.figures.pod_seconds
