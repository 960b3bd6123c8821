"""How an operator process is told what to do: QUEUEWORKER_OPERATOR_* in its environment, options over them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from queueworker.errors import SettingsError

PREFIX = "QUEUEWORKER_OPERATOR_"
# Of such a name the API server has an empty list, and the operator would serve nothing without a word.
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class OperatorSettings(BaseModel):
    """The settings of `queueworker operator`; in the environment QUEUEWORKER_OPERATOR_METRICS_PORT and so on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, ...] = ()
    """Namespaces to serve; all where there are none. Separated by commas in the environment."""
    allow_loopback_redis: bool = False
    """Accept Redis hosts that are loopback or link-local: for tests and local work."""
    metrics_host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the kubelet come from elsewhere
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    busy_seconds: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    """Between two reads of a queue with jobs."""
    quiet_seconds: Annotated[float, Field(ge=0.1, le=300)] = 30.0
    """Between two reads of a queue without, where its events wake the operator."""
    polled_seconds: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    """Between two reads of a queue without, where they do not: on a Cluster, and where XREAD is denied."""
    read_deadline_seconds: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["plain", "json"] = "plain"

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("namespaces")
    @classmethod
    def _are_names(cls, namespaces: tuple[str, ...]) -> tuple[str, ...]:
        for name in namespaces:
            if not _NAMESPACE.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a namespace: those have lower-case letters, digits and dashes alone, "
                    "no dash at an end, and at most 63 characters"
                )
        return namespaces

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], **options: object) -> Self:
        """Read the environment, options that are not None over it; raises SettingsError naming the setting."""
        values: dict[str, object] = {
            field: environment[PREFIX + field.upper()]
            for field in cls.model_fields
            if environment.get(PREFIX + field.upper())
        }
        values |= {name: value for name, value in options.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            what = str(first["msg"]).removeprefix("Value error, ")
            raise SettingsError(f"{PREFIX}{name.upper()}, or its option: {what}") from None
