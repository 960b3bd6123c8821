"""How an operator process is told what to do: QUEUEWORKER_OPERATOR_* in its environment, options over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from queueworker.errors import SettingsError

PREFIX = "QUEUEWORKER_OPERATOR_"


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
    quiet_seconds: Annotated[float, Field(ge=0.1, le=300)] = 5.0
    """Between two reads of a queue without."""
    read_deadline_seconds: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["plain", "json"] = "plain"

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

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
            raise SettingsError(f"{PREFIX}{name.upper()}, or its option: {first['msg']}") from None
