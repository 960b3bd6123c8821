"""`spec.autoscaling`: scale on what the queues hold."""

import re
from operator import attrgetter
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.rules import Expression, Rule

MOST_REPLICAS = 10_000
"""As many as any number of replicas may be."""
Replicas = Annotated[int, Field(ge=0, le=MOST_REPLICAS)]


class Target(ApiModel):
    """What the number of replicas aims at; the target that asks for most counts."""

    max_wait_seconds: Annotated[int, Field(ge=1, le=86400)] = 30
    """How long a job may wait, once it is ready, until it is started."""
    backlog_per_replica: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Ready jobs per replica. Without it, twice the slots stand in as long as the jobs' duration is not known."""
    expected_job_milliseconds: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    """How long a job takes, until that has been measured."""


class ThroughputLimit(ApiModel):
    """So many jobs in so many seconds, over all queues: what a downstream service bears."""

    jobs: Annotated[int, Field(ge=1, le=1_000_000_000)]
    """Jobs that may be started in periodSeconds."""
    period_seconds: Annotated[int, Field(ge=1, le=86400)]
    """The time in which they may be started."""


class Policy(ApiModel):
    """How far the number may move in a time."""

    type: Literal["Pods", "Percent"]
    """Whether value counts replicas or is a percentage of them."""
    value: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many, or how many percent."""
    period_seconds: Annotated[int, Field(ge=1, le=1800)]
    """In how many seconds."""


Policies = Annotated[list[Policy], Field(max_length=8)]
Window = Annotated[int, Field(ge=0, le=3600)]
Percent = Annotated[int, Field(ge=0, le=100)]
Select = Literal["Max", "Min", "Disabled"]


class ScaleUp(ApiModel):
    """How the number goes up: at once, unless this says otherwise."""

    stabilization_window_seconds: Window = 0
    """The lowest recommendation of this many seconds holds."""
    select_policy: Select = "Max"
    """Which policy counts where there are several; Disabled: never up."""
    tolerance_percent: Percent = 0
    """A change that is smaller than this is not made."""
    policies: Policies | None = None
    """Each allows a change; without any there is no limit."""


class ScaleDown(ApiModel):
    """How the number goes down."""

    stabilization_window_seconds: Window = 120
    """The highest recommendation of this many seconds holds."""
    select_policy: Select = "Max"
    """Which policy counts where there are several; Disabled: never down."""
    tolerance_percent: Percent = 10
    """Fewer replicas must leave so much to spare; the minimum, the maximum and zero are reached exactly."""
    policies: Policies | None = None
    """Each allows a change: 100 percent in 15 seconds where this is left out; an empty list means no limit."""


class Behavior(ApiModel):
    """How fast the number changes, as in a HorizontalPodAutoscaler."""

    scale_up: ScaleUp = ScaleUp()
    """How the number goes up."""
    scale_down: ScaleDown = ScaleDown()
    """How the number goes down."""


_CRON = r"\S+( +\S+){4}"


class Schedule(ApiModel):
    """A higher (or lower) minimum at certain times."""

    cron: Annotated[
        str,
        Field(max_length=128),
        Rule(
            # No pattern of the schema: of that the server says nothing but the pattern.
            rule=Expression(
                f"self.matches('^{_CRON}$')".replace("\\", "\\\\"),
                lambda cron: re.fullmatch(_CRON, cron, re.ASCII) is not None,
            ),
            message="a cron expression has five fields: minute hour day month weekday, such as '0 8 * * 1-5'",
        ),
    ]
    """When it begins: minute, hour, day of month, month, day of week."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+\-/]+$")] = "UTC"
    """Time zone of cron, such as Europe/Berlin."""
    duration_seconds: Annotated[int, Field(ge=60, le=604_800)]
    """How long it lasts."""
    min_replicas: Replicas
    """Takes the place of autoscaling.minReplicas meanwhile; of several the highest counts."""


class MetricsLoss(ApiModel):
    """What to do when the queues cannot be read for long."""

    after_seconds: Annotated[int, Field(ge=10, le=86400)] = 300
    """For how long."""
    replicas: Replicas
    """Raise the number to this; it is never lowered, and not raised where Redis itself is down."""


_MAXIMUM = Expression("self.maxReplicas", attrgetter("max_replicas"))


class Autoscaling(ApiModel):
    """Scale on what the queues hold."""

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "self.minReplicas <= self.maxReplicas", lambda scaling: scaling.min_replicas <= scaling.max_replicas
            ),
            message=(
                "minReplicas (%d) must not exceed maxReplicas (%d): lower autoscaling.minReplicas or raise "
                "autoscaling.maxReplicas"
            ),
            values=(Expression("self.minReplicas", attrgetter("min_replicas")), _MAXIMUM),
            field_path=".minReplicas",
        ),
        Rule(
            rule=Expression(
                "!has(self.schedules) || self.schedules.all(s, s.minReplicas <= self.maxReplicas)",
                lambda scaling: all(one.min_replicas <= scaling.max_replicas for one in scaling.schedules or ()),
            ),
            message=(
                "minReplicas of a schedule must not exceed maxReplicas (%d): lower it, or raise autoscaling.maxReplicas"
            ),
            values=(_MAXIMUM,),
            field_path=".schedules",
        ),
        Rule(
            rule=Expression(
                "!has(self.onMetricsLoss) || self.onMetricsLoss.replicas <= self.maxReplicas",
                lambda scaling: (
                    scaling.on_metrics_loss is None or scaling.on_metrics_loss.replicas <= scaling.max_replicas
                ),
            ),
            message=(
                "onMetricsLoss.replicas must not exceed maxReplicas (%d): lower it, or raise autoscaling.maxReplicas"
            ),
            values=(_MAXIMUM,),
            field_path=".onMetricsLoss",
        ),
    )

    min_replicas: Replicas = 1
    """Never fewer; 0 lets the workers end when there is nothing to do."""
    max_replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)]
    """Never more."""
    target: Target = Target()
    """What the number aims at."""
    throughput_limit: ThroughputLimit | None = None
    """Never more replicas than this many jobs keep busy."""
    behavior: Behavior = Behavior()
    """How fast the number changes."""
    cooldown_seconds: Annotated[int, Field(ge=0, le=86400)] = 60
    """How long no job is ready and none is active before the number goes to zero."""
    schedules: Annotated[list[Schedule], Field(max_length=16)] | None = None
    """Other minimums at certain times."""
    when_queue_paused: Literal["ScaleDown", "Hold"] = "ScaleDown"
    """Whether a paused queue lets its workers go, or keeps as many as there are."""
    on_metrics_loss: MetricsLoss | None = None
    """What to do when the queues cannot be read for long; without it the number stays."""
    paused: bool = False
    """Decide and report, but leave the number as it is."""
    dry_run: bool = False
    """Decide and report, and write nothing: beside a HorizontalPodAutoscaler or a ScaledObject."""
