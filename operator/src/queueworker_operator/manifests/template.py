"""The pod template of a worker, as far as the spec's own fields go: restricted by default."""

from typing import Any, Final

from queueworker.settings import TLS_DIRECTORY
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec, Redis, Worker
from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.manifests.environment import is_contract, redis_environment
from queueworker_operator.manifests.names import (
    CA_FILE,
    CERTIFICATE_FILE,
    CONTAINER,
    KEY_FILE,
    QUEUES_ANNOTATION,
    TEMPORARY_VOLUME,
    TLS_VOLUME,
    labels,
)

JsonObject = dict[str, Any]

_POD_SECURITY: Final = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
# No runAsUser: an image names its own, and one that names root or no number is refused by the kubelet, which says so.
_CONTAINER_SECURITY: Final = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


def pod_template(name: str, spec: QueueWorkerSpec) -> JsonObject:
    """Return the template without what podTemplate lays over it, and without the contract."""
    worker = spec.pods
    pod: JsonObject = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": dict(_POD_SECURITY),
        "containers": [_container(spec)],
        "volumes": [{"name": TEMPORARY_VOLUME, "emptyDir": {}}],
    }
    if worker.service_account_name is not None:
        pod["serviceAccountName"] = worker.service_account_name
    if worker.image_pull_secrets is not None:
        pod["imagePullSecrets"] = [_dump(secret) for secret in worker.image_pull_secrets]
    return {"metadata": {"labels": labels(name), "annotations": queue_annotation(spec)}, "spec": pod}


def queue_annotation(spec: QueueWorkerSpec) -> dict[str, str]:
    """Return the annotation that names the queues: they need not be legal label values."""
    return {QUEUES_ANNOTATION: " ".join(queue.name for queue in spec.queues)}


def tls_volume(redis: Redis) -> JsonObject | None:
    """Return the volume with the files of Redis' TLS, or None where there are none."""
    if redis.tls is None:
        return None
    sources = []
    if (ca := redis.tls.ca_secret_ref) is not None:
        sources.append({"secret": {"name": ca.name, "items": [{"key": ca.key, "path": CA_FILE}]}})
    if (pair := redis.tls.client_certificate_secret_ref) is not None:
        items = [{"key": key, "path": key} for key in (CERTIFICATE_FILE, KEY_FILE)]
        sources.append({"secret": {"name": pair.name, "items": items}})
    return {"name": TLS_VOLUME, "projected": {"sources": sources}} if sources else None


def tls_mount() -> JsonObject:
    """Return where the TLS files are in the container."""
    return {"name": TLS_VOLUME, "mountPath": TLS_DIRECTORY, "readOnly": True}


def _container(spec: QueueWorkerSpec) -> JsonObject:
    worker = spec.pods
    container: JsonObject = {
        "name": CONTAINER,
        "image": worker.image,
        "env": _environment(spec),
        "securityContext": dict(_CONTAINER_SECURITY),
        "volumeMounts": [{"name": TEMPORARY_VOLUME, "mountPath": "/tmp"}],  # noqa: S108 - the container's own
    }
    optional = {
        "command": worker.command,
        "args": worker.args,
        "imagePullPolicy": worker.image_pull_policy,
        "envFrom": [_dump(source) for source in worker.env_from] if worker.env_from is not None else None,
        "resources": _dump(worker.resources) if worker.resources is not None else None,
    }
    container |= {name: value for name, value in optional.items() if value is not None}
    return container | _health(worker)


def _environment(spec: QueueWorkerSpec) -> list[JsonObject]:
    own = [_dump(variable) for variable in spec.pods.env or []]
    prefix = spec.pods.redis_env_prefix
    if prefix is None:
        return own
    taken = {variable["name"] for variable in own}
    # The contract brings the connection once already; under its own prefix there is nothing left to copy.
    copied = [v for v in redis_environment(spec.redis, prefix=prefix) if not is_contract(v["name"])]
    return [*(variable for variable in copied if variable["name"] not in taken), *own]


def _health(worker: Worker) -> JsonObject:
    """Return port and probes. A start may take a minute; a loop that stood still for its minute is ended soon."""
    if worker.health_port is None:
        return {}
    alive = {"httpGet": {"path": "/healthz", "port": worker.health_port}}
    ready = {"httpGet": {"path": "/readyz", "port": worker.health_port}}
    return {
        "ports": [{"name": "health", "containerPort": worker.health_port, "protocol": "TCP"}],
        "startupProbe": {**alive, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 60},
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        "readinessProbe": {**ready, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3},
    }


def _dump(model: ApiModel) -> JsonObject:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
