"""Small worlds for the tests of the simulation: traces, pods, and scalers that do what they are told."""

import random
from collections.abc import Sequence
from typing import Any

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.simulation.jobs import SimulatedQueue
from queueworker_operator.simulation.plant import Plant, PlantQueue
from queueworker_operator.simulation.trace import Trace, TracedJob, trace_of
from queueworker_operator.simulation.world import World


def job(added: float, *, service: float = 1.0, queue: str = "q", name: str = "send", **more: Any) -> TracedJob:
    return TracedJob(queue=queue, name=name, added=added, service=service, **more)


def trace(*jobs: TracedJob, seconds: float = 600.0) -> Trace:
    return trace_of(jobs, seconds=seconds)


def plant(
    *, slots: int = 1, initial: int = 0, start_up: float = 10.0, drain: float = 60.0, queues: Sequence[PlantQueue] = ()
) -> Plant:
    return Plant(
        queues=tuple(queues) or (PlantQueue(name="q", slots=slots),),
        start_up=lambda _: start_up,
        mean_start_up=start_up,
        drain_seconds=drain,
        initial=initial,
    )


class Steps:
    """A scaler that sets the number at given moments."""

    def __init__(self, *steps: tuple[float, int]) -> None:
        self.steps = steps

    def begin(self, world: World) -> None:
        for at, replicas in self.steps:
            world.at(at, world.scale, replicas)

    def job_came(self, queue: SimulatedQueue) -> None:
        pass

    def pods_changed(self) -> None:
        pass


def uniform(seed: int = 1) -> random.Random:
    return random.Random(seed)


def spec(*, queues: Sequence[str] = ("q",), concurrency: int = 4, **autoscaling: object) -> QueueWorkerSpec:
    return QueueWorkerSpec.model_validate(
        {
            "queues": [{"name": name, "concurrency": concurrency} for name in queues],
            "redis": {"host": "redis.mail.svc"},
            "worker": {"image": "registry.example/mail:1"},
            "autoscaling": {"minReplicas": 0, "maxReplicas": 20, **autoscaling},
        }
    )
