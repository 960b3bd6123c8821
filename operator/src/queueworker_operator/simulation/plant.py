"""What the load meets: the slots of a spec's pods, and how pods start and end."""

from collections.abc import Callable
from dataclasses import dataclass

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.simulation.jobs import Limiter, SimulatedQueue
from queueworker_operator.simulation.randomness import Uniform, lognormal

START_UP_SPREAD = 0.2
"""Sigma of start-up times that are drawn: nine of ten take less than 1.3 times the mean."""
_FOREIGN_DRAIN_SECONDS = 30.0
"""Kubernetes' own grace period, for pods that are not ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantQueue:
    """One queue of a pod."""

    name: str
    slots: int = 1
    limit: tuple[int, float] | None = None
    """So many jobs in so many seconds, over all pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """The pods; seconds."""

    queues: tuple[PlantQueue, ...]
    start_up: Callable[[int], float]
    """How long the n-th start of a pod takes, from the write of the number to ready."""
    mean_start_up: float
    drain_seconds: float = 60.0
    """How long a pod that ends may go on with its jobs."""
    initial: int = 0
    """Pods that are ready when the run begins."""

    def empty_queues(self) -> list[SimulatedQueue]:
        """Return the queues before the first job."""
        return [
            SimulatedQueue(name=one.name, index=i, slots=one.slots, limiter=_limiter(one.limit))
            for i, one in enumerate(self.queues)
        ]


def plant_of(spec: QueueWorkerSpec, uniform: Uniform, *, start_up: float) -> Plant:
    """Return the pods of a spec whose start-up takes `start_up` seconds on average."""
    autoscaling = spec.autoscaling
    return Plant(
        queues=tuple(
            PlantQueue(
                name=queue.name,
                slots=queue.concurrency,
                limit=(queue.limiter.max, queue.limiter.duration_milliseconds / 1000) if queue.limiter else None,
            )
            for queue in spec.queues
        ),
        start_up=_drawn_once(uniform, start_up),
        mean_start_up=start_up,
        drain_seconds=spec.worker.drain_timeout_seconds if spec.worker is not None else _FOREIGN_DRAIN_SECONDS,
        initial=autoscaling.min_replicas if autoscaling is not None else 0,
    )


def _drawn_once(uniform: Uniform, mean: float) -> Callable[[int], float]:
    """Give the n-th start the same time in every run, so that scalers are compared on the same luck."""
    drawn: list[float] = []

    def start_up(number: int) -> float:
        while len(drawn) <= number:
            drawn.append(lognormal(uniform, mean, spread=START_UP_SPREAD))
        return drawn[number]

    return start_up


def _limiter(limit: tuple[int, float] | None) -> Limiter | None:
    return None if limit is None else Limiter(max=limit[0], seconds=limit[1])
