"""`spec` of a QueueWorker."""

import re
from operator import attrgetter
from typing import Annotated, ClassVar

from pydantic import Field

from queueworker_operator.api.v1alpha1.autoscaling import Autoscaling, Replicas
from queueworker_operator.api.v1alpha1.base import NO_BLANKS, ApiModel
from queueworker_operator.api.v1alpha1.redis import Redis
from queueworker_operator.api.v1alpha1.rules import Expression, ListMap, Rule
from queueworker_operator.api.v1alpha1.worker import Worker

QueueName = Annotated[
    str,
    # Blanks within are BullMQ's own liberty; at the ends they are a slip of the pen.
    Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$"),
    Rule(
        rule=Expression("!self.contains(':')", lambda name: ":" not in name),
        message="a queue name holds no ':'; what stands before the colon goes into spec.prefix",
    ),
]
Prefix = Annotated[
    str,
    Field(min_length=1, max_length=64, pattern=NO_BLANKS),
    Rule(
        # What is read from a file, or once more from the server, has nothing before it.
        rule=Expression("self == oldSelf", lambda prefix: True),
        message=(
            "prefix is immutable, the jobs under the old one would be left behind; create a QueueWorker of another "
            "name with the new prefix and delete this one when its queues are empty"
        ),
    ),
]


class Limiter(ApiModel):
    """BullMQ's rate limit of workers: it holds over all workers of the queue together."""

    max: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Jobs that may be started in durationMilliseconds."""
    duration_milliseconds: Annotated[int, Field(ge=1, le=86_400_000)]
    """The time in which they may be started."""


class Queue(ApiModel):
    """A BullMQ queue that every worker pod serves."""

    name: QueueName
    """Name of the queue, as the producer writes it."""
    concurrency: Annotated[int, Field(ge=1, le=10000)] = 1
    """Jobs of this queue that one pod processes at a time."""
    limiter: Limiter | None = None
    """So many jobs in so many milliseconds, over all workers of the queue."""
    share_percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Which part of the queue's work is this QueueWorker's, where several serve it."""


class TargetRef(ApiModel):
    """Something that exists and has a scale subresource."""

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "self.kind != 'QueueWorker' || !self.apiVersion.startsWith('queueworker.dev/')",
                lambda target: target.kind != "QueueWorker" or not target.api_version.startswith("queueworker.dev/"),
            ),
            message=(
                "targetRef cannot name a QueueWorker, which decides its own number: name the Deployment, StatefulSet "
                "or Rollout that runs the workers"
            ),
            field_path=".kind",
        ),
    )

    api_version: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^([a-z0-9.-]+/)?v[a-z0-9]+$")]
    """Such as apps/v1."""
    kind: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Such as Deployment."""
    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
    """Its name, in the namespace of the QueueWorker."""


class QueueWorkerSpec(ApiModel):
    """Workers for some queues of one Redis: one of worker and targetRef, and one of replicas and autoscaling."""

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "has(self.worker) != has(self.targetRef)",
                lambda spec: (spec.worker is None) != (spec.target_ref is None),
            ),
            message=(
                "worker and targetRef exclude each other: remove worker to scale what targetRef names, or remove "
                "targetRef to have pods made of worker"
            ),
            otherwise=(
                Expression("has(self.worker)", lambda spec: spec.worker is not None),
                "one of worker and targetRef is needed: set worker.image to have pods made, or targetRef to scale "
                "a Deployment that exists",
            ),
        ),
        Rule(
            rule=Expression(
                "has(self.replicas) != has(self.autoscaling)",
                lambda spec: (spec.replicas is None) != (spec.autoscaling is None),
            ),
            message=(
                "replicas and autoscaling exclude each other: to change the limits set autoscaling.minReplicas or "
                "autoscaling.maxReplicas, to scale by hand remove autoscaling, to scale on the backlog set replicas "
                "to null"
            ),
            otherwise=(
                Expression("has(self.replicas)", lambda spec: spec.replicas is not None),
                "one of replicas and autoscaling is needed: set replicas for a fixed number of pods, or "
                "autoscaling.maxReplicas to follow the backlog",
            ),
        ),
        Rule(
            rule=Expression(
                r"!has(self.redis.cluster) || self.prefix.matches('^[^{]*\\{[^}]+\\}')",
                lambda spec: spec.redis.cluster is None or re.match(r"[^{]*\{[^}]+\}", spec.prefix) is not None,
            ),
            message=(
                "prefix (%s) needs a hash tag with redis.cluster, so that all keys of a queue lie in one slot: "
                "put it in braces, as producers and workers must too"
            ),
            values=(Expression("self.prefix", attrgetter("prefix")),),
            field_path=".prefix",
        ),
    )

    queues: Annotated[list[Queue], Field(min_length=1, max_length=32), ListMap("name")]
    """The queues; each pod serves them all, each with its own slots."""
    prefix: Prefix = "bull"
    """Prefix of the queues' keys; immutable. With redis.cluster it carries a {hash tag}."""
    redis: Redis
    """The Redis that holds the queues."""
    worker: Worker | None = None
    """The pods that process the jobs. Excludes targetRef."""
    target_ref: TargetRef | None = None
    """Scale something that exists, through its scale subresource alone. Excludes worker."""
    replicas: Replicas | None = None
    """A fixed number of pods; what kubectl scale writes. Excludes autoscaling."""
    autoscaling: Autoscaling | None = None
    """Scale on what the queues hold. Excludes replicas."""

    @property
    def pods(self) -> Worker:
        """`worker`, where the pods are ours; raises ValueError for a targetRef."""
        if self.worker is None:
            raise ValueError("spec.worker: there is none, the pods belong to what spec.targetRef names")
        return self.worker
