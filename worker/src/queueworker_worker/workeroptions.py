"""The options that BullMQ's workers have, as the environment and the command line say them."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from queueworker_worker.engine.options import DAY_SECONDS, Keep

_ALL = -1
_FOREVER = 100 * 365 * DAY_SECONDS


class Model(BaseModel):
    """Settings, in which a name that is unknown is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LimiterSettings(Model):
    """At most `max` jobs per `duration` milliseconds over all workers of the queue."""

    max: int = Field(ge=1)
    duration_milliseconds: int = Field(
        ge=1, validation_alias=AliasChoices("durationMilliseconds", "duration", "duration_milliseconds")
    )


class KeepSettings(Model):
    """How many finished jobs stay, and for how many seconds; what is left out has no bound."""

    count: int | None = Field(default=None, ge=0)
    age: int | None = Field(default=None, ge=0)


class MetricsSettings(Model):
    """How many points of metrics a queue keeps, one a minute; 0 for none."""

    max_data_points: int = Field(ge=0, alias="maxDataPoints")


KeepOption = bool | int | KeepSettings


class WorkerOptions(Model):
    """The options that BullMQ's workers have; None stands for the engine's own default."""

    lock_duration_ms: int | None = Field(default=None, ge=100, alias="lockDuration")
    lock_renew_time_ms: int | None = Field(default=None, ge=10, alias="lockRenewTime")
    stalled_interval_ms: int | None = Field(default=None, ge=100, alias="stalledInterval")
    max_stalled_count: int | None = Field(default=None, ge=0, alias="maxStalledCount")
    drain_delay_seconds: float | None = Field(default=None, gt=0, alias="drainDelay")
    remove_on_complete: KeepOption | None = Field(default=None, alias="removeOnComplete")
    remove_on_fail: KeepOption | None = Field(default=None, alias="removeOnFail")
    metrics: MetricsSettings | None = None
    skip_stalled_check: bool | None = Field(default=None, alias="skipStalledCheck")
    skip_lock_renewal: bool | None = Field(default=None, alias="skipLockRenewal")

    def given(self) -> dict[str, Any]:
        """Return what was said, by the names of EngineOptions."""
        said = {name: value for name in WorkerOptions.model_fields if (value := getattr(self, name)) is not None}
        if (metrics := said.pop("metrics", None)) is not None:
            said["max_data_points"] = metrics.max_data_points
        for name in ("remove_on_complete", "remove_on_fail"):
            if name in said:
                said[name] = _keep(said[name])
        return said


def _keep(option: bool | int | KeepSettings) -> Keep:
    if isinstance(option, KeepSettings):
        return Keep(
            count=_ALL if option.count is None else option.count, age=_FOREVER if option.age is None else option.age
        )
    if isinstance(option, bool):
        return Keep(count=0 if option else _ALL, age=_FOREVER)
    return Keep(count=option, age=_FOREVER)
