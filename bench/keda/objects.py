"""What KEDA scales, and by what."""

from __future__ import annotations

from bench.scaling.api import Object

from queueworker.settings import ConnectionSettings

ENTRIES = 1_000
REPLICAS = 100


def deployment(name: str) -> Object:
    """Return a Deployment at zero."""
    labels = {"app": name}
    container = {"name": "worker", "image": "localhost/none:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def scaled_object(name: str, settings: ConnectionSettings, *, polling_seconds: int) -> Object:
    """Return a ScaledObject for the Deployment and the list of this name: 0 to 100, the rest at KEDA's defaults."""
    address = f"{settings.host}:{settings.port}"
    metadata = {"address": address, "listName": name, "listLength": str(ENTRIES // REPLICAS)}
    spec = {
        "scaleTargetRef": {"name": name},
        "pollingInterval": polling_seconds,
        "minReplicaCount": 0,
        "maxReplicaCount": REPLICAS,
        "triggers": [{"type": "redis", "metadata": metadata}],
    }
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name}, "spec": spec}


def is_ready(scaled: Object) -> bool:
    """Whether KEDA has made the HPA of a ScaledObject and polls its trigger."""
    status = scaled.get("status") or {}
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    return bool(status.get("hpaName")) and conditions.get("Ready") == "True"
