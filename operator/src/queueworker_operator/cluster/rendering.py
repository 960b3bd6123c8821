"""The Deployment of a QueueWorker as it should be; what is wrong with the spec or a Secret is a ClusterError."""

from collections.abc import Mapping

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.port import ClusterError, JsonObject, Resource, Secret
from queueworker_operator.manifests import (
    RENDERER_REVISION,
    ManifestError,
    Owner,
    render_deployment,
    spec_fingerprint,
)


def spec_of(resource: Resource) -> QueueWorkerSpec:
    """Return the spec; raises ClusterError where it could not be read."""
    if resource.spec is None:
        message = resource.spec_error or f"the spec of the QueueWorker {resource.key} could not be read"
        raise ClusterError(message, reason=ConditionReason.SPEC_INVALID)
    return resource.spec


def render(
    resource: Resource, secrets: Mapping[str, Secret], *, renderer_revision: int = RENDERER_REVISION
) -> JsonObject:
    """Return the Deployment without its replicas; raises ClusterError where there is none to make of the spec."""
    spec = spec_of(resource)
    if spec.worker is None:
        message = f"the QueueWorker {resource.key} has no spec.worker: there is no Deployment to make of it"
        raise ClusterError(message, reason=ConditionReason.SPEC_INVALID)
    owner = Owner(namespace=resource.key.namespace, name=resource.key.name, uid=resource.uid)
    try:
        return render_deployment(owner, spec, secrets, renderer_revision=renderer_revision)
    except ManifestError as error:
        raise ClusterError(str(error), reason=error.reason) from error


def fingerprint_of(resource: Resource, secrets: Mapping[str, Secret]) -> str:
    """Return the fingerprint of the spec and its Secrets; raises ClusterError where one lacks a key."""
    try:
        return spec_fingerprint(spec_of(resource), secrets)
    except ManifestError as error:
        raise ClusterError(str(error), reason=error.reason) from error
