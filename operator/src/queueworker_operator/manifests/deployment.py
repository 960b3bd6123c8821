"""The Deployment of a QueueWorker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from queueworker_operator.api.v1alpha1 import GROUP, KIND, VERSION, QueueWorkerSpec
from queueworker_operator.manifests.contract import with_contract
from queueworker_operator.manifests.fingerprint import spec_fingerprint
from queueworker_operator.manifests.names import (
    FINGERPRINT_ANNOTATION,
    RENDERER_ANNOTATION,
    SELECTOR_LABEL,
    labels,
)
from queueworker_operator.manifests.overlay import overlay
from queueworker_operator.manifests.secrets import SecretValues, connection_digest
from queueworker_operator.manifests.template import pod_template, queue_annotation

JsonObject = dict[str, Any]

RENDERER_REVISION: Final = 1
"""Counts the changes of what is rendered from the same spec. It tells who rendered a template and decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The QueueWorker that a Deployment belongs to."""

    namespace: str
    name: str
    uid: str


def render_deployment(
    owner: Owner,
    spec: QueueWorkerSpec,
    secrets: Mapping[str, SecretValues],
    *,
    renderer_revision: int = RENDERER_REVISION,
) -> JsonObject:
    """Return the Deployment as it is applied on the server's side: all but the replicas.

    Raises ManifestError where podTemplate cannot be laid over, or a Secret lacks a key that spec.redis names.
    """
    template = overlay(pod_template(owner.name, spec), spec.pods.pod_template or {})
    digest = connection_digest(spec.redis, secrets)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": owner.name,
            "namespace": owner.namespace,
            "labels": labels(owner.name),
            "annotations": {
                **queue_annotation(spec),
                FINGERPRINT_ANNOTATION: spec_fingerprint(spec, secrets),
                RENDERER_ANNOTATION: str(renderer_revision),
            },
            "ownerReferences": [_owner_reference(owner)],
        },
        "spec": {
            "selector": {"matchLabels": {SELECTOR_LABEL: owner.name}},
            # A new pod is ready before an old one stops fetching.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            "template": with_contract(template, name=owner.name, spec=spec, secrets_digest=digest),
        },
    }


def with_replicas(body: Mapping[str, Any], replicas: int) -> JsonObject:
    """Return the Deployment as it is created, with its first number of replicas."""
    return {**body, "spec": {"replicas": replicas, **body["spec"]}}


def _owner_reference(owner: Owner) -> JsonObject:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        # Blocking would need the right to update finalizers of QueueWorkers, and gains nothing here.
        "blockOwnerDeletion": False,
    }
