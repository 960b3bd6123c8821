"""`status` of a QueueWorker: what was seen, what was decided, and why. Times are RFC 3339 in UTC.

Reasons and condition types are enums here and open strings in the CRD: an operator that is newer than the CRD must be
able to write its status.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from queueworker_operator.api.reasons import ConditionType, ScalingReason
from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.rules import ListMap

_WORD = WithJsonSchema({"type": "string", "maxLength": 64, "pattern": "^[A-Z][A-Za-z]*$"})
Text = Annotated[str, Field(max_length=1024)]
Count = Annotated[int, Field(ge=0)]
Replicas = Annotated[int, Field(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(max_length=128)]


class Condition(ApiModel):
    """A condition, shaped as metav1.Condition."""

    type: Annotated[ConditionType, _WORD]
    """Which condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(min_length=1, max_length=128)]
    """Why, in one word."""
    message: Text = ""
    """Why, in one sentence."""
    last_transition_time: datetime
    """When status last changed."""
    observed_generation: Count | None = None
    """The generation that this speaks of."""


class QueueInputs(ApiModel):
    """What the decision knows of one queue, rounded: written only when it differs visibly."""

    name: Name
    """Name of the queue."""
    backlog: Count | None = None
    """Jobs that a free slot could take; none where the queue could not be read."""
    active: Count | None = None
    """Jobs being processed."""
    slots: Count | None = None
    """Jobs that one pod processes at a time, as observed."""
    service_milliseconds: Count | None = None
    """How long a job takes on average."""
    service_source: Annotated[str, Field(max_length=64)] | None = None
    """Where that comes from: statistics, counters, finished, remembered, active or expected."""
    arrivals_per_minute: Count | None = None
    """Jobs that became ready; none where nothing counts them."""


class Inputs(ApiModel):
    """What the decision rests on, summed over the queues."""

    waiting: Count | None = None
    """Jobs in wait."""
    prioritized: Count | None = None
    """Jobs in prioritized."""
    delayed_due: Count | None = None
    """Delayed jobs whose time has come."""
    backlog: Count | None = None
    """Jobs that a free slot could take: the sum of the three."""
    active: Count | None = None
    """Jobs being processed."""
    delayed: Count | None = None
    """All delayed jobs."""
    failed: Count | None = None
    """Failed jobs that are kept."""
    oldest_age_seconds: Count | None = None
    """How long the job has been ready that waits longest."""
    paused_queues: Annotated[list[Name], Field(max_length=32)] | None = None
    """Queues that are paused."""
    queues: Annotated[list[QueueInputs], Field(max_length=32)] | None = None
    """What was measured of each queue."""
    start_up_seconds: Count | None = None
    """How long a pod needs until it is ready; none as long as nobody has measured it."""


class Vote(ApiModel):
    """How many replicas one rule asks for."""

    queue: Name | None = None
    """The queue that it speaks for; none for the whole QueueWorker."""
    rule: Annotated[str, Field(max_length=64)]
    """The rule."""
    replicas: Replicas
    """What it asks for."""


class Limit(ApiModel):
    """A rule that changed the number."""

    queue: Annotated[str, Field(max_length=128)] | None = None
    """The queue whose vote it changed; none for the whole QueueWorker."""
    by: Annotated[str, Field(max_length=64)]
    """The rule."""
    from_: Replicas = Field(alias="from")
    """The number before."""
    to: Replicas
    """The number after."""
    until: datetime | None = None
    """When it stops to hold, where that is known."""


class Change(ApiModel):
    """A change of the number of replicas."""

    time: datetime
    """When."""
    from_: Replicas = Field(alias="from")
    """The number before."""
    to: Replicas
    """The number after."""
    reason: Annotated[ScalingReason, _WORD]
    """Why."""
    backlog: Count | None = None
    """The backlog then."""


class Recommendation(ApiModel):
    """A number that was recommended, kept for the stabilization window."""

    time: datetime
    """When."""
    replicas: Replicas
    """The number."""


class ServiceTime(ApiModel):
    """How long the jobs of one name took."""

    queue: Name
    """The queue."""
    name: Name
    """The name of the jobs."""
    milliseconds: Count
    """The mean."""
    p95_milliseconds: Count | None = None
    """What 95 of 100 stay below."""
    time: datetime
    """When that was measured last."""


class Start(ApiModel):
    """How long a pod took to become ready."""

    time: datetime
    """When it became ready."""
    seconds: Count
    """How long it took from its node to ready."""


class ScaleEvent(ApiModel):
    """A change that the policies of behavior count."""

    time: datetime
    """When."""
    change: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
    """By how many."""


class Memory(ApiModel):
    """What the operator cannot rebuild from the world after a restart."""

    recommendations: Annotated[list[Recommendation], Field(max_length=64)] | None = None
    """Peaks of the stabilization window."""
    low_recommendations: Annotated[list[Recommendation], Field(max_length=64)] | None = None
    """Lows of the stabilization window of behavior.scaleUp."""
    idle_since: datetime | None = None
    """Since when no job is ready and none is active."""
    desired: Replicas | None = None
    """The last number."""
    seen_queues: Annotated[list[Name], Field(max_length=32)] | None = None
    """Queues that were once there."""
    missing_since: datetime | None = None
    """Since when a queue that was once there is gone."""
    missing_queues: Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=32)] | None = None
    """Queues that were once there and are gone."""
    not_consuming_since: datetime | None = None
    """Since when jobs are ready and workers are, but none is active."""
    service_times: Annotated[list[ServiceTime], Field(max_length=128)] | None = None
    """How long jobs take, by queue and name."""
    starts: Annotated[list[Start], Field(max_length=20)] | None = None
    """The last starts of pods."""
    scale_events: Annotated[list[ScaleEvent], Field(max_length=64)] | None = None
    """Changes within the longest period of a policy."""
    unknown_since: datetime | None = None
    """Since when some queue cannot be read."""
    lost_since: datetime | None = None
    """Since when no queue can be read."""
    applied_fields: Annotated[str, Field(max_length=64)] | None = None
    """Digest of the fields of the Deployment that the operator owned after its last apply."""
    drift_corrected_at: datetime | None = None
    """When a foreign change of the Deployment was last corrected."""


class Scaling(ApiModel):
    """The decision record."""

    desired: Replicas
    """The number of replicas decided on."""
    reason: Annotated[ScalingReason, _WORD]
    """Why, in one word."""
    message: Text
    """Why, in one sentence with all numbers."""
    inputs: Inputs = Inputs()
    """What it rests on."""
    votes: Annotated[list[Vote], Field(max_length=128)] | None = None
    """What each rule asked for."""
    limits: Annotated[list[Limit], Field(max_length=64)] | None = None
    """What changed the highest vote into the number."""
    last_scale_time: datetime | None = None
    """When the number was last written."""
    last_decision_change_time: datetime | None = None
    """When number or reason last changed."""
    history: Annotated[list[Change], Field(max_length=10)] | None = None
    """The last changes, newest first."""
    memory: Memory | None = None
    """What the operator cannot rebuild from the world after a restart."""


class QueueWorkerStatus(ApiModel):
    """What was seen, what was decided, and why."""

    observed_generation: Count | None = None
    """The generation of the spec that this speaks of."""
    replicas: Replicas | None = None
    """Pods that the Deployment has."""
    ready_replicas: Replicas | None = None
    """Pods that are ready."""
    selector: Annotated[str, Field(max_length=1024)] | None = None
    """Selector of the pods, for the scale subresource."""
    scaling: Scaling | None = None
    """The decision record."""
    conditions: Annotated[list[Condition], Field(max_length=16), ListMap("type")] | None = None
    """Ready (the spec is accepted, the template applied, the rollout done), Reconciling and Stalled as kstatus reads
    them, and QueueReachable, ScalingActive, ScalingLimited, WorkersAvailable, WorkersConsuming, Paused and
    QueueShared."""
