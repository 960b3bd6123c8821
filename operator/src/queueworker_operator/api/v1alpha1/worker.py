"""`spec.worker`: the pods that process the jobs."""

from typing import Annotated, Any, Literal

from pydantic import Field

from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.redis import DataKey, ObjectName

EnvName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")]
Quantity = int | str


class KeySelector(ApiModel):
    """One key of a Secret or ConfigMap."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: DataKey
    """Key within it."""
    optional: bool | None = None
    """Whether it may be missing."""


class FieldSelector(ApiModel):
    """A field of the pod."""

    field_path: Annotated[str, Field(min_length=1, max_length=253)]
    """Path of the field, metadata.name for example."""
    api_version: Annotated[str, Field(max_length=63)] | None = None
    """Version of the schema that the path is written in; v1."""


class ResourceFieldSelector(ApiModel):
    """A resource of the container."""

    resource: Annotated[str, Field(min_length=1, max_length=253)]
    """The resource, limits.memory for example."""
    container_name: Annotated[str, Field(max_length=63)] | None = None
    """The container; this one where it is left out."""
    divisor: Quantity | None = None
    """What the value is divided by; 1."""


class EnvVarSource(ApiModel):
    """Where the value of a variable comes from: exactly one of these."""

    secret_key_ref: KeySelector | None = None
    """A key of a Secret."""
    config_map_key_ref: KeySelector | None = None
    """A key of a ConfigMap."""
    field_ref: FieldSelector | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldSelector | None = None
    """A resource of the container."""


class EnvVar(ApiModel):
    """An environment variable of the worker container."""

    name: EnvName
    """Name of the variable."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """Value; $(NAME) refers to variables before it."""
    value_from: EnvVarSource | None = None
    """Source of the value."""


class EnvFromObject(ApiModel):
    """A Secret or ConfigMap whose every key becomes a variable."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    optional: bool | None = None
    """Whether it may be missing."""


class EnvFrom(ApiModel):
    """Many variables at once: exactly one of secretRef and configMapRef."""

    prefix: Annotated[str, Field(max_length=253)] | None = None
    """Put before each name."""
    secret_ref: EnvFromObject | None = None
    """A Secret."""
    config_map_ref: EnvFromObject | None = None
    """A ConfigMap."""


class Resources(ApiModel):
    """Compute resources of the worker container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """What the scheduler reserves."""
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] | None = None
    """What the container may not exceed."""


class LocalObjectRef(ApiModel):
    """An object in the same namespace."""

    name: ObjectName
    """Its name."""


class Worker(ApiModel):
    """The pods that process the jobs, run by a Deployment of the QueueWorker's name."""

    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^\S+$")]
    """Image of the worker container."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] | None = None
    """Entrypoint; the image's own where it is left out."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] | None = None
    """Arguments to the entrypoint."""
    env: Annotated[list[EnvVar], Field(max_length=256)] | None = None
    """Environment variables. Names that begin with QUEUEWORKER_ are the operator's own."""
    env_from: Annotated[list[EnvFrom], Field(max_length=32)] | None = None
    """Secrets and ConfigMaps whose every key becomes a variable."""
    resources: Resources | None = None
    """Compute resources."""
    service_account_name: ObjectName | None = None
    """Service account of the pods; its token is not mounted unless podTemplate says so."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image."""
    image_pull_secrets: Annotated[list[LocalObjectRef], Field(max_length=16)] | None = None
    """Secrets to pull the image with."""
    drain_timeout_seconds: Annotated[int, Field(ge=0, le=86400)] = 60
    """How long running jobs may go on after SIGTERM. The pod's grace period is this and 15 seconds."""
    health_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of /healthz and /readyz; without it the pods have no probes."""
    redis_env_prefix: Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Z0-9_]*_$")] | None = None
    """Pass the Redis connection under this prefix too, REDIS_ for example, for images that expect it."""
    pod_template: dict[str, Any] | None = None
    """Anything else of a pod, laid over the template: containers, env and volumes match by name."""
