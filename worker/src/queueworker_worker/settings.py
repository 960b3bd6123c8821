"""What a worker process is told by its environment and its command line."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Field, Json, TypeAdapter, ValidationError

from queueworker.errors import SettingsError
from queueworker_worker.engine.options import BackoffStrategy, EngineOptions, Limiter
from queueworker_worker.workeroptions import KeepOption, LimiterSettings, Model, WorkerOptions

PREFIX = "QUEUEWORKER_"
_LOOK_SECONDS = 5.0
_FORMER = {"LOCK_MILLISECONDS": "LOCK_DURATION_MS", "STALLED_INTERVAL_MILLISECONDS": "STALLED_INTERVAL_MS"}


def _queue_name(value: str) -> str:
    if not value or ":" in value:
        raise ValueError("a queue name must not be empty and must not contain ':'")
    return value


def _worker_name(value: str) -> str:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("a worker's name is printable ASCII without spaces, as the names of pods and hosts are")
    return value


QueueName = Annotated[str, Field(max_length=512), AfterValidator(_queue_name)]


class QueueSettings(WorkerOptions):
    """One queue that the process serves; what it says of BullMQ's options wins over what the process says."""

    name: QueueName
    concurrency: int = Field(default=1, ge=1, le=1_000)
    limiter: LimiterSettings | None = None


class ProcessSettings(Model):
    """The life of a worker process; each field is the variable QUEUEWORKER_ and its name in capitals."""

    name: Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_worker_name)]
    drain_timeout_seconds: float = Field(default=60, ge=0, le=86_400)
    health_host: str = "127.0.0.1"
    health_port: int | None = Field(default=None, ge=0, le=65_535)
    """No port, no probes."""
    health_stale_seconds: float = Field(default=60, gt=0)
    """How old the heartbeat of the loop may be before /healthz says 503."""
    status_fd: int | None = Field(default=None, ge=3)
    """Where a process of `--processes` tells its supervisor how it is."""

    @classmethod
    def of_process(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings of the process alone; raises SettingsError."""
        try:
            return cls.model_validate(_from_environment(environment, cls.model_fields))
        except ValidationError as error:
            raise SettingsError(_one_line(error)) from None


class _Defaults(WorkerOptions):
    """BullMQ's options for all queues of the process, from variables; the structured ones are JSON."""

    model_config = ConfigDict(populate_by_name=True, extra="forbid")
    remove_on_complete: Json[KeepOption] | None = None
    remove_on_fail: Json[KeepOption] | None = None
    max_data_points: int | None = Field(default=None, ge=0)


class WorkerSettings(ProcessSettings):
    """A worker process and its queues.

    Besides the fields, all of which are variables, QUEUEWORKER_ with a field of `WorkerOptions` in capitals says it for
    every queue: QUEUEWORKER_LOCK_DURATION_MS, QUEUEWORKER_REMOVE_ON_COMPLETE='{"count": 100}'.
    """

    queues: tuple[QueueSettings, ...] = Field(min_length=1, max_length=32)
    prefix: str = Field(default="bull", min_length=1)
    refusal_patience_seconds: float = Field(default=60, ge=0)
    """How long Redis may refuse the worker (password, ACL, replica) before the process ends."""
    defaults: Mapping[str, Any] = MappingProxyType({})
    """What holds for every queue, by the names of EngineOptions."""

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
        for former, today in _FORMER.items():
            if PREFIX + former in environment:
                raise SettingsError(f"{PREFIX}{former} is called {PREFIX}{today} now: rename the variable")
        values = _from_environment(environment, set(cls.model_fields) - {"queues", "defaults"})
        if prefix is not None:
            values["prefix"] = prefix
        try:
            values["queues"] = _queues(environment, queues, concurrency, discovered)
            values["defaults"] = _defaults(environment)
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError(_one_line(error)) from None
        names = [queue.name for queue in settings.queues]
        if len(set(names)) < len(names):
            raise SettingsError(f"a queue is named twice: {', '.join(names)}")
        return settings

    def engine_options(
        self, queue: QueueSettings, *, backoff_strategies: Mapping[str, BackoffStrategy] | None = None
    ) -> EngineOptions:
        """Return what the engine of one of the queues is told."""
        limiter = queue.limiter
        said = {**self.defaults, **queue.given()}
        # A look for jobs is the heartbeat behind liveness.
        longest = self.health_stale_seconds / 2
        said["drain_delay_seconds"] = min(said.get("drain_delay_seconds", _LOOK_SECONDS), longest)
        return EngineOptions(
            queue=queue.name,
            name=self.name,
            prefix=self.prefix,
            concurrency=queue.concurrency,
            limiter=Limiter(max=limiter.max, duration_ms=limiter.duration_milliseconds) if limiter else None,
            refusal_patience_seconds=self.refusal_patience_seconds,
            backoff_strategies=backoff_strategies or {},
            **said,
        )


def _from_environment(environment: Mapping[str, str], fields: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: environment[variable] for name in fields if environment.get(variable := PREFIX + name.upper())
    }
    if "name" in fields:
        values.setdefault("name", f"{socket.gethostname()}-{os.getpid()}")
    return values


def _defaults(environment: Mapping[str, str]) -> Mapping[str, Any]:
    read = _Defaults.model_validate(_from_environment(environment, _Defaults.model_fields))
    points = {} if read.max_data_points is None else {"max_data_points": read.max_data_points}
    return {**read.given(), **points}


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
        wanted = [known.get(name) or _queue({"name": name}) for name in (named or discovered)]
    else:
        wanted = list(_read(text))
    if own:
        _queue({"name": wanted[0].name if wanted else "any", **own})
    return tuple(queue.model_copy(update=own) for queue in wanted)


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
