"""What no podTemplate can change: the contract between operator and worker."""

from collections.abc import Mapping
from typing import Any

from queueworker.settings import TLS_DIRECTORY
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.manifests.environment import contract_environment, is_contract
from queueworker_operator.manifests.errors import ManifestError
from queueworker_operator.manifests.names import (
    CONTAINER,
    DRAIN_MARGIN_SECONDS,
    SECRETS_ANNOTATION,
    SELECTOR_LABEL,
    TLS_VOLUME,
)
from queueworker_operator.manifests.template import tls_mount, tls_volume

JsonObject = dict[str, Any]


def with_contract(
    template: Mapping[str, Any], *, name: str, spec: QueueWorkerSpec, secrets_digest: str | None
) -> JsonObject:
    """Return the template with the selector label, the Secrets' annotation, the grace period and the worker's part.

    Raises ManifestError (SpecInvalid) where podTemplate has made something of it that is no pod template.
    """
    metadata = _map(template, "metadata")
    pod = _map(template, "spec")
    annotations = _map(metadata, "annotations", where="metadata.annotations")
    annotations.pop(SECRETS_ANNOTATION, None)
    if secrets_digest is not None:
        annotations[SECRETS_ANNOTATION] = secrets_digest
    metadata["annotations"] = annotations
    metadata["labels"] = _map(metadata, "labels", where="metadata.labels") | {SELECTOR_LABEL: name}
    pod["terminationGracePeriodSeconds"] = spec.pods.drain_timeout_seconds + DRAIN_MARGIN_SECONDS
    pod["containers"] = _containers(pod, spec)
    pod["volumes"] = _volumes(pod, spec)
    return {**template, "metadata": metadata, "spec": pod}


def _containers(pod: Mapping[str, Any], spec: QueueWorkerSpec) -> list[JsonObject]:
    containers = _list(pod, "containers", where="spec.containers")
    if not any(container.get("name") == CONTAINER for container in containers):
        raise ManifestError(f"spec.worker.podTemplate removes the container {CONTAINER}: leave it in spec.containers")
    return [_worker(c, spec) if c.get("name") == CONTAINER else c for c in containers]


def _worker(container: JsonObject, spec: QueueWorkerSpec) -> JsonObject:
    where = f"spec.containers[{CONTAINER}]"
    own = _list(container, "env", where=f"{where}.env")
    env = [*contract_environment(spec), *(v for v in own if not is_contract(str(v.get("name"))))]
    if tls_volume(spec.redis) is None:
        return container | {"env": env}
    mounts = _list(container, "volumeMounts", where=f"{where}.volumeMounts")
    mounts = [mount for mount in mounts if str(mount.get("mountPath")).rstrip("/") != TLS_DIRECTORY]
    return container | {"env": env, "volumeMounts": [*mounts, tls_mount()]}


def _volumes(pod: Mapping[str, Any], spec: QueueWorkerSpec) -> list[JsonObject]:
    volumes = _list(pod, "volumes", where="spec.volumes")
    volume = tls_volume(spec.redis)
    if volume is None:
        return volumes
    return [*(other for other in volumes if other.get("name") != TLS_VOLUME), volume]


def _map(parent: Mapping[str, Any], field: str, *, where: str | None = None) -> JsonObject:
    value = parent.get(field, {})
    if not isinstance(value, Mapping):
        raise ManifestError(f"spec.worker.podTemplate: {where or field} must be a map")
    return dict(value)


def _list(parent: Mapping[str, Any], field: str, *, where: str) -> list[JsonObject]:
    value = parent.get(field, [])
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise ManifestError(f"spec.worker.podTemplate: {where} must be a list of maps")
    return [dict(item) for item in value]
