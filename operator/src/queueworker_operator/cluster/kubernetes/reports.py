"""What the operator says about a QueueWorker in the cluster: its status and its events."""

import secrets
from datetime import datetime
from typing import Final

from queueworker_operator.api.v1alpha1 import GROUP, KIND, VERSION, QueueWorkerStatus
from queueworker_operator.cluster.port import JsonObject, Resource

API_VERSION: Final = f"{GROUP}/{VERSION}"
COMPONENT: Final = "queueworker-operator"
_LONGEST_MESSAGE = 1024


def status_body(resource: Resource, status: QueueWorkerStatus) -> JsonObject:
    """Return the status as it is applied: whole, so that what is no longer in it goes."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        # With the uid it cannot land on a later QueueWorker of the name.
        "metadata": {"name": resource.key.name, "namespace": resource.key.namespace, "uid": resource.uid},
        "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def event_body(resource: Resource, *, kind: str, reason: str, message: str, now: datetime, instance: str) -> JsonObject:
    """Return an event about a QueueWorker; kind is Normal or Warning, `instance` the operator's host."""
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{resource.key.name}.{secrets.token_hex(8)}", "namespace": resource.key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": resource.key.name,
            "namespace": resource.key.namespace,
            "uid": resource.uid,
        },
        "type": kind,
        "reason": reason,
        "message": _shortened(message),
        "count": 1,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
    }


def _shortened(message: str) -> str:
    # The server counts bytes.
    return message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore")
