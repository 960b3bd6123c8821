"""What the operator says about a QueueWorker in the cluster: its status and its events."""

import secrets
from datetime import datetime
from typing import Final

from queueworker_operator.api.v1alpha1 import GROUP, KIND, PLURAL, VERSION, QueueWorkerStatus
from queueworker_operator.cluster.kubernetes.errors import MismatchError, NotFoundError
from queueworker_operator.cluster.kubernetes.fields import STATUS_MANAGER
from queueworker_operator.cluster.kubernetes.requests import JSON_PATCH, Requests, path_of
from queueworker_operator.cluster.port import GoneError, JsonObject, Resource

API_VERSION: Final = f"{GROUP}/{VERSION}"
COMPONENT: Final = "queueworker-operator"
_LONGEST_MESSAGE = 1024


async def write_status(requests: Requests, resource: Resource, status: QueueWorkerStatus) -> None:
    """Replace the status of the QueueWorker; raises ClusterError, and GoneError where it is no longer there."""
    namespace, name = resource.key
    try:
        await requests.send(
            "PATCH",
            path_of("apis", GROUP, VERSION, "namespaces", namespace, PLURAL, name, "status"),
            attempt=f"write the status of the QueueWorker {resource.key}",
            query={"fieldManager": STATUS_MANAGER},
            body=status_patch(resource, status),
            content_type=JSON_PATCH,
        )
    except (NotFoundError, MismatchError) as error:
        raise GoneError(str(error)) from error


async def publish(requests: Requests, resource: Resource, body: JsonObject) -> None:
    """Publish an event about the QueueWorker; raises ClusterError."""
    await requests.send(
        "POST",
        path_of("api", "v1", "namespaces", resource.key.namespace, "events"),
        attempt=f"publish an event about the QueueWorker {resource.key}",
        query={"fieldManager": COMPONENT},
        body=body,
    )


def status_patch(resource: Resource, status: QueueWorkerStatus) -> list[JsonObject]:
    """Return the JSON patch that puts this status, whole, in the place of what is there.

    It holds for this very QueueWorker and not for a later one of the name: writes of a status disregard the uid that
    a merged or applied body names, but not a test of it.
    """
    value = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [
        {"op": "test", "path": "/metadata/uid", "value": resource.uid},
        {"op": "add", "path": "/status", "value": value},
    ]


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
