"""`spec` of a QueueWorker."""

from typing import Annotated

from pydantic import Field

from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.redis import Redis
from queueworker_operator.api.v1alpha1.worker import Worker

Replicas = Annotated[int, Field(ge=0, le=10000)]


class Queue(ApiModel):
    """A BullMQ queue that every worker pod serves."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^:\s]+$")]
    """Name of the queue, as the producer writes it."""
    concurrency: Annotated[int, Field(ge=1, le=10000)] = 1
    """Jobs of this queue that one pod processes at a time."""


class Target(ApiModel):
    """What the number of replicas aims at."""

    backlog_per_replica: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Ready jobs per replica; twice the concurrency where it is left out."""


class ScaleDown(ApiModel):
    """How the number goes down."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=3600)] = 120
    """The highest recommendation of this many seconds holds."""


class Behavior(ApiModel):
    """How fast the number changes, as in a HorizontalPodAutoscaler."""

    scale_down: ScaleDown = ScaleDown()
    """How the number goes down."""


class Autoscaling(ApiModel):
    """Scale on what the queues hold."""

    min_replicas: Replicas = 1
    """Never fewer; 0 lets the workers end when there is nothing to do."""
    max_replicas: Annotated[int, Field(ge=1, le=10000)]
    """Never more."""
    target: Target = Target()
    """What the number aims at."""
    behavior: Behavior = Behavior()
    """How fast the number changes."""
    cooldown_seconds: Annotated[int, Field(ge=0, le=86400)] = 60
    """How long no job is ready and none is active before the number goes to zero."""
    paused: bool = False
    """Decide and report, but leave the number as it is."""


class QueueWorkerSpec(ApiModel):
    """Workers for some queues of one Redis: exactly one of replicas and autoscaling."""

    queues: Annotated[list[Queue], Field(min_length=1, max_length=32)]
    """The queues; each pod serves them all, each with its own slots."""
    prefix: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S+$")] = "bull"
    """Prefix of the queues' keys; immutable."""
    redis: Redis
    """The Redis that holds the queues."""
    worker: Worker
    """The pods that process the jobs."""
    replicas: Replicas | None = None
    """A fixed number of pods."""
    autoscaling: Autoscaling | None = None
    """Scale on what the queues hold."""
