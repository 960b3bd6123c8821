"""What a job may ask for, checked before it is sent as BullMQ for Node checks it, and its encoding.

Names are BullMQ's, in snake_case or camelCase (`remove_on_complete` or `removeOnComplete`); times are milliseconds,
ages of kept jobs seconds. Sources: `Job.validateOptions` and `Queue.add` of BullMQ for Node, `includes/storeJob.lua`.
"""

from __future__ import annotations

import enum
import re
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from queueworker.errors import InvalidJobError
from queueworker.keys import DELAYED_SHIFT, MAX_PRIORITY

MAX_DUE_MS = 2**53 // DELAYED_SHIFT - 1
"""The last due time that the score of a delayed job can hold, in 2039."""

# How storeJob.lua expects some options to be named.
_SHORT = {"keepLogs": "kl", "deduplication": "de"}
_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_RESERVED = {
    *("wait", "paused", "active", "prioritized", "delayed", "waiting-children", "completed", "failed", "stalled"),
    *("stalled-check", "limiter", "meta", "id", "pc", "marker", "events", "repeat", "priority"),
}

Milliseconds = Annotated[StrictInt, Field(ge=0, le=MAX_DUE_MS)]


class Priority(enum.IntEnum):
    """Priorities that everybody understands; any integer from 1 (first) to 2097151 (last) is one."""

    HIGH = 1
    NORMAL = 5
    LOW = 10


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    def encode(self) -> dict[str, Any]:
        """Return the options as BullMQ names them, without those that are not set."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Backoff(_Options):
    """How long to wait before attempt n + 1: `fixed` delay, `exponential` 2^(n-1) * delay, or a worker's own type."""

    type: Annotated[StrictStr, Field(min_length=1)]
    delay: Milliseconds = 0
    jitter: Annotated[StrictFloat | StrictInt, Field(ge=0, le=1)] | None = None


class KeepJobs(_Options):
    """Which finished jobs to keep: those younger than `age` seconds, and at most `count` of them."""

    age: Annotated[StrictInt, Field(ge=0)] | None = None
    count: Annotated[StrictInt, Field(ge=0)] | None = None
    limit: Annotated[StrictInt, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.age is None and self.count is None:
            raise ValueError("age or count is needed")
        return self


class Deduplication(_Options):
    """Adds nothing while a job with the same deduplication id is under way, or for `ttl` milliseconds."""

    id: Annotated[StrictStr, Field(min_length=1)]
    ttl: Annotated[StrictInt, Field(ge=1)] | None = None
    extend: StrictBool | None = None
    replace: StrictBool | None = None
    keep_last_if_active: StrictBool | None = None


Keep = StrictBool | Annotated[StrictInt, Field(ge=-1)] | KeepJobs


class JobOptions(_Options):
    """Everything that a job may ask for.

    A priority is always set unless the job is `lifo`, because BullMQ serves all jobs without a priority before any that
    has one. Finished jobs are kept within bounds unless asked otherwise.
    """

    job_id: StrictStr | None = None
    priority: Annotated[StrictInt, Field(ge=1, le=MAX_PRIORITY)] | None = None
    lifo: StrictBool = False
    delay: Milliseconds = 0
    attempts: Annotated[StrictInt, Field(ge=1)] = 3
    backoff: Backoff | None = Backoff(type="exponential", delay=1000)
    remove_on_complete: Keep = KeepJobs(age=3600, count=1000)
    remove_on_fail: Keep = KeepJobs(age=604_800, count=5000)
    deduplication: Deduplication | None = None
    keep_logs: Annotated[StrictInt, Field(ge=0)] | None = None
    stack_trace_limit: Annotated[StrictInt, Field(ge=0)] | None = None

    @field_validator("job_id")
    @classmethod
    def _job_id_is_usable(cls, value: str | None) -> str | None:
        return None if value is None else usable_job_id(value)

    @field_validator("backoff", mode="before")
    @classmethod
    def _a_number_is_a_fixed_backoff(cls, value: Any) -> Any:
        return {"type": "fixed", "delay": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("priority", mode="before")
    @classmethod
    def _an_enum_is_a_number(cls, value: Any) -> Any:
        return int(value) if isinstance(value, Priority) else value

    @model_validator(mode="after")
    def _lifo_has_no_priority(self) -> Self:
        if self.lifo and self.priority is not None:
            raise ValueError("lifo and priority exclude each other: BullMQ ignores lifo where a priority is set")
        return self

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Check options given by name; raises InvalidJobError that names the option."""
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            # Of a choice of types the last one is the most telling.
            found = error.errors(include_url=False, include_input=False)[-1]
            where = ".".join(str(part) for part in found["loc"])
            what = found["msg"].removeprefix("Value error, ")
            raise InvalidJobError(f"option {where}: {what}" if where else f"options: {what}") from None

    @property
    def effective_priority(self) -> int:
        """The priority that is sent; 0 means none."""
        if self.lifo:
            return 0
        return int(Priority.NORMAL) if self.priority is None else self.priority

    def encode(self) -> dict[str, Any]:
        """Return BullMQ's `opts`, as they are packed for its scripts and stored with the job."""
        options = super().encode()
        if not self.lifo:
            options["priority"] = self.effective_priority
            del options["lifo"]
        return {_SHORT.get(name, name): value for name, value in options.items()}


def usable_job_id(value: str) -> str:
    """Return the id as it is stored: `type:id` becomes `type-id`. Raises ValueError for one that BullMQ refuses.

    Ids with exactly two colons stand as they are, BullMQ's own repeated jobs have such. Integers would collide with
    the ids that BullMQ counts up, and names of the queue's own keys would destroy the queue.
    """
    job_id = value.replace(":", "-") if value.count(":") == 1 and not value.startswith("0:") else value
    if not job_id:
        raise ValueError("an empty id is not allowed: leave it out to have one generated")
    if job_id == "0" or job_id.startswith("0:"):
        raise ValueError("an id must not be '0' or start with '0:'")
    if _INTEGER.fullmatch(job_id):
        raise ValueError(f"an integer is not allowed as id: write for example job-{job_id}")
    if job_id.count(":") not in {0, 2}:
        raise ValueError(f"an id must not contain ':', write {job_id.replace(':', '-')}")
    if job_id in _RESERVED:
        raise ValueError(f"{job_id!r} is the name of a key of the queue: write for example job-{job_id}")
    return job_id


def usable_queue_name(value: str) -> str:
    """Return the queue's name; raises InvalidJobError for one that BullMQ refuses."""
    if not value or ":" in value:
        raise InvalidJobError(f"queue name {value!r}: it must not be empty and must not contain ':'")
    return value
