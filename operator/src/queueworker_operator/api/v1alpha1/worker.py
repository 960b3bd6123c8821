"""`spec.worker`: the pods that process the jobs."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from queueworker_operator.api.v1alpha1.base import NO_BLANKS, ApiModel
from queueworker_operator.api.v1alpha1.redis import DataKey, ObjectName
from queueworker_operator.api.v1alpha1.rules import Expression, ListMap, Rule

_RESERVED = Rule(
    rule=Expression("!self.startsWith('QUEUEWORKER_')", lambda name: not name.startswith("QUEUEWORKER_")),
    message="names that begin with QUEUEWORKER_ are the operator's own: choose another name",
    reason="FieldValueForbidden",
)
EnvName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"), _RESERVED]
Quantity = (
    Annotated[int, Field(ge=0)]
    | Annotated[
        str,
        Field(max_length=32, pattern=r"^([0-9]+\.?[0-9]*|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]+)?$"),
    ]
)
Quantities = Annotated[dict[str, Quantity], Field(max_length=16)]
Words = Annotated[list[Annotated[str, Field(max_length=32768)]], Field(max_length=64)]


def _texts(description: str, *, max_length: int) -> dict[str, Any]:
    values = {"type": "string", "maxLength": max_length}
    return {"description": description, "type": "object", "maxProperties": 64, "additionalProperties": values}


# A PodTemplateSpec: its metadata is closed, so that a name or a slip is refused; its spec is checked by applying it,
# the one place of the schema that takes what it does not know.
PodTemplate = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "metadata": {
                    "description": "Labels and annotations of the pods.",
                    "type": "object",
                    "properties": {
                        "labels": _texts("Labels beside the operator's own.", max_length=63),
                        "annotations": _texts("Annotations beside the operator's own.", max_length=65536),
                    },
                },
                "spec": {
                    "description": "A PodSpec, in part or whole.",
                    "type": "object",
                    "maxProperties": 64,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
            },
        }
    ),
]


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

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef), "
                "has(self.resourceFieldRef)].exists_one(named, named)",
                lambda source: sum(value is not None for _, value in source) == 1,
            ),
            message="valueFrom needs exactly one of secretKeyRef, configMapKeyRef, fieldRef and resourceFieldRef",
        ),
    )

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

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "!has(self.value) || !has(self.valueFrom)",
                lambda variable: variable.value is None or variable.value_from is None,
            ),
            message="value and valueFrom exclude each other: remove one of them",
            field_path=".value",
        ),
    )

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

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "has(self.secretRef) != has(self.configMapRef)",
                lambda source: (source.secret_ref is None) != (source.config_map_ref is None),
            ),
            message="an entry of envFrom needs exactly one of secretRef and configMapRef: split it in two entries",
            otherwise=(
                Expression("has(self.secretRef)", lambda source: source.secret_ref is not None),
                "an entry of envFrom needs exactly one of secretRef and configMapRef: name the Secret or the ConfigMap",
            ),
        ),
    )

    prefix: Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]*$"), _RESERVED] | None = None
    """Put before each name."""
    secret_ref: EnvFromObject | None = None
    """A Secret."""
    config_map_ref: EnvFromObject | None = None
    """A ConfigMap."""


class Resources(ApiModel):
    """Compute resources of the worker container."""

    requests: Quantities | None = None
    """What the scheduler reserves."""
    limits: Quantities | None = None
    """What the container may not exceed."""


class LocalObjectRef(ApiModel):
    """An object in the same namespace."""

    name: ObjectName
    """Its name."""


class Worker(ApiModel):
    """The pods that process the jobs, run by a Deployment of the QueueWorker's name."""

    image: Annotated[str, Field(min_length=1, max_length=1024, pattern=NO_BLANKS)]
    """Image of the worker container."""
    command: Words | None = None
    """Entrypoint; the image's own where it is left out."""
    args: Words | None = None
    """Arguments to the entrypoint."""
    env: Annotated[list[EnvVar], Field(max_length=256), ListMap("name")] | None = None
    """Environment variables. Names that begin with QUEUEWORKER_ are the operator's own."""
    env_from: Annotated[list[EnvFrom], Field(max_length=32)] | None = None
    """Secrets and ConfigMaps whose every key becomes a variable."""
    resources: Resources | None = None
    """Compute resources."""
    service_account_name: ObjectName | None = None
    """Service account of the pods; its token is not mounted unless podTemplate says so."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image."""
    image_pull_secrets: Annotated[list[LocalObjectRef], Field(max_length=16), ListMap("name")] | None = None
    """Secrets to pull the image with."""
    drain_timeout_seconds: Annotated[int, Field(ge=0, le=86400)] = 60
    """How long running jobs may go on after SIGTERM. The pod's grace period is this and 15 seconds."""
    health_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of /healthz and /readyz; without it the pods have no probes."""
    redis_env_prefix: Annotated[str, Field(max_length=64, pattern=r"^[A-Z][A-Z0-9_]*_$"), _RESERVED] | None = None
    """Pass the Redis connection under this prefix too, REDIS_ for example, for images that expect it."""
    pod_template: PodTemplate | None = None
    """Anything else of a pod, laid over the template: metadata.labels, metadata.annotations and spec; containers, env
    and volumes match by name, mounts by path, ports by number. It wins over the fields above."""
