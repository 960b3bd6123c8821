"""What a job may ask for, checked before it is sent as BullMQ for Node checks it, and its encoding.

Names are BullMQ's, in snake_case or camelCase (`remove_on_complete` or `removeOnComplete`); times are milliseconds,
ages of kept jobs seconds, sizes bytes. Sources: `Job.validateOptions`, `Queue.add` and `optsAsJSON` of BullMQ for Node,
`includes/storeJob.lua`.
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
from queueworker.keys import DELAYED_SHIFT, LAST_EXACT, MAX_PRIORITY
from queueworker.names import usable_job_id, usable_parent_id
from queueworker.optionnames import LONG, SHORT, TELEMETRY

MAX_DUE_MS = LAST_EXACT // DELAYED_SHIFT - 1
"""The last due time that the score of a delayed job can hold, in 2039."""

# How pydantic begins to say that a type is wrong, and the types that it names within the place of an error.
_VALID = "Input should be a valid "
_TYPE = re.compile(r"bool|int|constrained-int|float|.*\[.*\]")

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
    """Adds nothing while a job with the same deduplication `id` is under way.

    `id` alone holds until that job has completed or failed (simple). With `ttl` it holds for so many milliseconds
    instead (throttle), which every further job starts anew with `extend`. With `replace` the further job takes the
    place of the one that is still delayed: `delay`, `ttl` of the same length, `extend` and `replace` make a debounce.
    With `keep_last_if_active` the last of the jobs that come while one is running is added when that one ends; `ttl`
    counts for nothing then.
    """

    id: Annotated[StrictStr, Field(min_length=1)]
    ttl: Annotated[StrictInt, Field(ge=1)] | None = None
    extend: StrictBool | None = None
    replace: StrictBool | None = None
    keep_last_if_active: StrictBool | None = None


class ParentOptions(_Options):
    """The job that waits for this one: its `id`, and its queue as `prefix:queue`."""

    id: StrictStr
    queue: StrictStr

    @field_validator("id")
    @classmethod
    def _id_is_usable(cls, value: str) -> str:
        return usable_parent_id(value)

    @field_validator("queue")
    @classmethod
    def _queue_has_a_prefix(cls, value: str) -> str:
        prefix, _, name = value.rpartition(":")
        if not prefix or not name:
            raise ValueError(f"it must be prefix and queue: write for example bull:{name or 'queue'}")
        return value

    @property
    def key(self) -> str:
        """The key of the parent's hash."""
        return f"{self.queue}:{self.id}"


class Telemetry(_Options):
    """What OpenTelemetry hands on: the context as text, or that none shall be handed on."""

    metadata: StrictStr | None = None
    omit_context: StrictBool | None = None


Keep = StrictBool | Annotated[StrictInt, Field(ge=-1)] | KeepJobs


class JobOptions(_Options):
    """Everything that a job may ask for.

    A priority is always set unless the job is `lifo`, because BullMQ serves all jobs without a priority before any that
    has one. Finished jobs are kept within bounds unless asked otherwise. BullMQ's `timestamp` is left out: the time of
    adding tells a request that is sent again from a duplicate. `repeat` is what `Queue.schedule` is for.
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
    size_limit: Annotated[StrictInt, Field(ge=1)] | None = None
    parent: ParentOptions | None = None
    fail_parent_on_failure: StrictBool | None = None
    continue_parent_on_failure: StrictBool | None = None
    ignore_dependency_on_failure: StrictBool | None = None
    remove_dependency_on_failure: StrictBool | None = None
    telemetry: Telemetry | None = None

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

    @model_validator(mode="after")
    def _links_do_not_contradict(self) -> Self:
        if len(self.on_failure) > 1:
            raise ValueError(f"{' and '.join(self.on_failure)} exclude each other")
        if self.parent is not None and self.deduplication is not None:
            raise ValueError("deduplication and parent exclude each other: the parent would wait for a job not added")
        return self

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Check options given by name; raises InvalidJobError that names the option."""
        try:
            return cls.model_validate({LONG.get(name, name): value for name, value in options.items()})
        except ValidationError as error:
            raise InvalidJobError(_explain(error)) from None

    @property
    def on_failure(self) -> list[str]:
        """What this job does to its parent when it fails for good, by BullMQ's names: one at most."""
        wanted = {
            "failParentOnFailure": self.fail_parent_on_failure,
            "continueParentOnFailure": self.continue_parent_on_failure,
            "ignoreDependencyOnFailure": self.ignore_dependency_on_failure,
            "removeDependencyOnFailure": self.remove_dependency_on_failure,
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]

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
        telemetry = options.pop("telemetry", {})
        options |= {TELEMETRY[name]: value for name, value in telemetry.items()}
        return {SHORT.get(name, name): value for name, value in options.items()}


def _explain(error: ValidationError) -> str:
    """Return one line that names the option and what is wrong with it."""
    found = error.errors(include_url=False, include_input=False)
    # Where an option may be of several types, each of them says why it is not that.
    choices = [one for one in found if one["loc"][:1] == found[-1]["loc"][:1]]
    telling = next((one for one in choices if not one["type"].endswith("_type")), choices[-1])
    what = telling["msg"].removeprefix("Value error, ")
    if telling["type"] == "extra_forbidden":
        what = "there is no such option"
    elif len(choices) > 1 and telling["type"].endswith("_type"):
        types = (one["msg"].removeprefix(_VALID).partition(" or ")[0] for one in choices)
        what = f"{_VALID}{' or '.join(types)}"
    where = ".".join(str(part) for part in telling["loc"] if not _TYPE.fullmatch(str(part)))
    return f"option {where}: {what}" if where else f"options: {what}"
