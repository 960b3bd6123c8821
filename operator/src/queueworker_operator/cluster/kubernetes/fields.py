"""Who owns which fields of a Deployment, as `metadata.managedFields` tells it."""

import hashlib
import json
from typing import Final

from queueworker_operator.cluster.port import JsonObject

TEMPLATE_MANAGER: Final = "queueworker-operator"
"""Applies all but the replicas."""
REPLICAS_MANAGER: Final = "queueworker-scale"
"""Creates the Deployment and writes its replicas."""
STATUS_MANAGER: Final = "queueworker-status"
"""Writes the status of the QueueWorker."""

_REPLICAS_ONLY: Final[JsonObject] = {"f:spec": {"f:replicas": {}}}


def applied_fields(deployment: JsonObject) -> str | None:
    """Return a digest of the fields that the operator owns by applying them, or None where it applied nothing.

    Whoever else changes the value of such a field takes it over; applying the same value shares it. So the digest
    changes when somebody else changed what the operator had applied, and with nothing else: neither by the replicas,
    nor by the status, nor by fields that the operator never set.
    """
    for entry in _entries(deployment):
        if entry.get("manager") == TEMPLATE_MANAGER and entry.get("operation") == "Apply":
            fields = json.dumps(entry.get("fieldsV1", {}), sort_keys=True, separators=(",", ":"))
            return hashlib.sha256(fields.encode()).hexdigest()
    return None


def handover(deployment: JsonObject) -> list[JsonObject] | None:
    """Return the JSON patch after which the creator owns the replicas alone, or None where nothing was created whole.

    A Deployment that is created belongs to its creator whole, and apply takes away only what the applier itself owned
    before: a variable that leaves the spec would stay for ever. So what was created becomes what was applied.
    """
    for index, entry in enumerate(_entries(deployment)):
        if _is_creation(entry) and entry["fieldsV1"] != _REPLICAS_ONLY:
            path = f"/metadata/managedFields/{index}"
            fields = entry["fieldsV1"]
            rest = {**fields, "f:spec": {k: v for k, v in fields.get("f:spec", {}).items() if k != "f:replicas"}}
            # Tests instead of the resourceVersion: the Deployment controller writes the status at this very moment.
            return [
                {"op": "test", "path": f"{path}/manager", "value": REPLICAS_MANAGER},
                {"op": "test", "path": f"{path}/operation", "value": "Update"},
                {"op": "replace", "path": path, "value": _as_applied(entry, rest)},
                {"op": "add", "path": "/metadata/managedFields/-", "value": {**entry, "fieldsV1": _REPLICAS_ONLY}},
            ]
    return None


def _as_applied(entry: JsonObject, fields: JsonObject) -> JsonObject:
    return {**entry, "manager": TEMPLATE_MANAGER, "operation": "Apply", "fieldsV1": fields}


def _entries(deployment: JsonObject) -> list[JsonObject]:
    return list(deployment["metadata"].get("managedFields") or [])


def _is_creation(entry: JsonObject) -> bool:
    return (
        entry.get("manager") == REPLICAS_MANAGER and entry.get("operation") == "Update" and not entry.get("subresource")
    )
