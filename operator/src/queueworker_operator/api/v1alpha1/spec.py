"""`spec` of a QueueWorker."""

from typing import Annotated, ClassVar

from pydantic import Field

from queueworker_operator.api.v1alpha1.base import NO_BLANKS, ApiModel
from queueworker_operator.api.v1alpha1.redis import Redis
from queueworker_operator.api.v1alpha1.rules import ListMap, Rule
from queueworker_operator.api.v1alpha1.worker import Worker

Replicas = Annotated[int, Field(ge=0, le=10000)]
QueueName = Annotated[
    str,
    # Blanks within are BullMQ's own liberty; at the ends they are a slip of the pen.
    Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"),
    Rule(
        rule="!self.contains(':')",
        message="a queue name holds no ':'; what stands before the colon goes into spec.prefix",
    ),
]
Prefix = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=NO_BLANKS),
    Rule(
        rule="self == oldSelf",
        message=(
            "prefix is immutable, the jobs under the old one would be left behind; create a QueueWorker of another "
            "name with the new prefix and delete this one when its queues are empty"
        ),
    ),
]


class Queue(ApiModel):
    """A BullMQ queue that every worker pod serves."""

    name: QueueName
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

    rules: ClassVar = (
        Rule(
            rule="self.minReplicas <= self.maxReplicas",
            message=(
                "minReplicas (%d) must not exceed maxReplicas (%d): lower autoscaling.minReplicas or raise "
                "autoscaling.maxReplicas"
            ),
            values=("self.minReplicas", "self.maxReplicas"),
            field_path=".minReplicas",
        ),
    )

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

    rules: ClassVar = (
        Rule(
            rule="has(self.replicas) != has(self.autoscaling)",
            message=(
                "replicas and autoscaling exclude each other: to change the limits set autoscaling.minReplicas or "
                "autoscaling.maxReplicas, to scale by hand remove autoscaling, to scale on the backlog set replicas "
                "to null"
            ),
            otherwise=(
                "has(self.replicas)",
                "one of replicas and autoscaling is needed: set replicas for a fixed number of pods, or "
                "autoscaling.maxReplicas to follow the backlog",
            ),
        ),
        Rule(
            rule=r"!has(self.redis.cluster) || self.prefix.matches('^[^{]*\\{[^}]+\\}')",
            message=(
                "prefix (%s) needs a hash tag with redis.cluster, so that all keys of a queue lie in one slot: "
                "put it in braces, as producers and workers must too"
            ),
            values=("self.prefix",),
            field_path=".prefix",
        ),
    )

    queues: Annotated[list[Queue], Field(min_length=1, max_length=32), ListMap("name")]
    """The queues; each pod serves them all, each with its own slots."""
    prefix: Prefix = "bull"
    """Prefix of the queues' keys; immutable. With redis.cluster it carries a {hash tag}."""
    redis: Redis
    """The Redis that holds the queues."""
    worker: Worker
    """The pods that process the jobs."""
    replicas: Replicas | None = None
    """A fixed number of pods; what kubectl scale writes. Excludes autoscaling."""
    autoscaling: Autoscaling | None = None
    """Scale on what the queues hold. Excludes replicas."""
