"""What a worker process is told by its environment and its command line."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from queueworker.errors import SettingsError
from queueworker_worker.engine.options import EngineOptions, Limiter

PREFIX = "QUEUEWORKER_"


def _queue_name(value: str) -> str:
    if not value or ":" in value:
        raise ValueError("a queue name must not be empty and must not contain ':'")
    return value


def _worker_name(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("a worker's name is printable ASCII without spaces, as the names of pods and hosts are")
    return value


QueueName = Annotated[str, Field(max_length=512), AfterValidator(_queue_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LimiterSettings(_Model):
    """At most `max` jobs per `durationMilliseconds` over all workers of the queue."""

    max: int = Field(ge=1)
    duration_milliseconds: int = Field(ge=1, alias="durationMilliseconds")


class QueueSettings(_Model):
    """One queue that the process serves."""

    name: QueueName
    concurrency: int = Field(default=1, ge=1, le=1_000)
    limiter: LimiterSettings | None = None


class WorkerSettings(_Model):
    """A worker process; each field but `queues` is the variable QUEUEWORKER_ and its name in capitals."""

    queues: tuple[QueueSettings, ...] = Field(min_length=1, max_length=32)
    prefix: str = Field(default="bull", min_length=1)
    name: Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_worker_name)]
    drain_timeout_seconds: float = Field(default=60, ge=0, le=86_400)
    health_host: str = "127.0.0.1"
    health_port: int | None = Field(default=None, ge=0, le=65_535)
    """No port, no probes."""
    health_stale_seconds: float = Field(default=60, gt=0)
    """How old the heartbeat of the loop may be before /healthz says 503."""
    lock_milliseconds: int = Field(default=15_000, ge=100)
    stalled_interval_milliseconds: int = Field(default=5_000, ge=100)
    max_stalled_count: int = Field(default=3, ge=0)
    refusal_patience_seconds: float = Field(default=60, ge=0)
    """How long Redis may refuse the worker (password, ACL, replica) before the process ends."""

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        *,
        queues: Sequence[str] = (),
        concurrency: int | None = None,
        prefix: str | None = None,
        discovered: Sequence[str] = (),
    ) -> Self:
        """Read the settings; the queues are those named, else QUEUEWORKER_QUEUES, else those that have a processor.

        Raises SettingsError, one line that names the variable.
        """
        fields = (name for name in cls.model_fields if name != "queues")
        values: dict[str, Any] = {
            name: environment[variable] for name in fields if environment.get(variable := PREFIX + name.upper())
        }
        values.setdefault("name", f"{socket.gethostname()}-{os.getpid()}")
        if prefix is not None:
            values["prefix"] = prefix
        try:
            values["queues"] = _queues(environment, queues, concurrency, discovered)
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_one_line(error)) from None
        names = [queue.name for queue in settings.queues]
        if len(set(names)) < len(names):
            raise SettingsError(f"a queue is named twice: {', '.join(names)}")
        return settings

    def engine_options(self, queue: QueueSettings) -> EngineOptions:
        """Return what the engine of one of the queues is told."""
        limiter = queue.limiter
        return EngineOptions(
            queue=queue.name,
            name=self.name,
            prefix=self.prefix,
            concurrency=queue.concurrency,
            limiter=Limiter(max=limiter.max, duration_ms=limiter.duration_milliseconds) if limiter else None,
            lock_duration_ms=self.lock_milliseconds,
            stalled_interval_ms=self.stalled_interval_milliseconds,
            max_stalled_count=self.max_stalled_count,
            drain_delay_seconds=min(5.0, self.health_stale_seconds / 2),
            refusal_patience_seconds=self.refusal_patience_seconds,
        )


def _queues(
    environment: Mapping[str, str], named: Sequence[str], concurrency: int | None, discovered: Sequence[str]
) -> tuple[QueueSettings, ...]:
    own = {} if concurrency is None else {"concurrency": concurrency}
    text = environment.get(PREFIX + "QUEUES")
    if named or not text:
        if not named and not discovered:
            raise SettingsError(
                "no queue to serve: name one, set QUEUEWORKER_QUEUES, or name a module with processors (--module)"
            )
        # What the environment says of a queue holds for it when it is named, too.
        known = {queue.name: queue for queue in _read(text)} if text else {}
        wanted = [known[name].model_dump() if name in known else {"name": name} for name in (named or discovered)]
    else:
        wanted = [queue.model_dump() for queue in _read(text)]
    return tuple(_queue(queue | own) for queue in wanted)


def _queue(values: Mapping[str, Any]) -> QueueSettings:
    try:
        return QueueSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(f"queue {values['name']!r}: {_one_line(error, prefix='')}") from None


def _read(text: str) -> tuple[QueueSettings, ...]:
    try:
        return TypeAdapter(tuple[QueueSettings, ...]).validate_json(text)
    except ValidationError as error:
        raise SettingsError(f"{PREFIX}QUEUES: {_one_line(error, prefix='')}") from None


def _one_line(error: ValidationError, *, prefix: str = PREFIX) -> str:
    # The input stays out of the message: a wrong variable may hold anything.
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if prefix:
        where = prefix + where.upper()
    what = first["msg"].removeprefix("Value error, ")
    return f"{where or 'value'}: {what}"
