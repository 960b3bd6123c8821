"""Who owns which fields of a Deployment, as `metadata.managedFields` tells it."""

import hashlib
import json
from typing import Any, Final

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
    nor by the status, nor by fields that the operator never set. Before the handover is over nothing counts as applied.
    """
    if handover(deployment) is not None:
        return None
    for entry in _entries(deployment):
        if _is_applied(entry):
            fields = json.dumps(entry.get("fieldsV1", {}), sort_keys=True, separators=(",", ":"))
            return hashlib.sha256(fields.encode()).hexdigest()
    return None


def handover(deployment: JsonObject, *, created: JsonObject | None = None) -> list[JsonObject] | None:
    """Return the JSON patch after which the creator owns the replicas alone, or None where nothing was created whole.

    A Deployment that is created belongs to its creator whole, and apply takes away only what the applier itself owned
    before: a variable that leaves the spec would stay for ever. So what was created becomes what was applied. With the
    body that was `created` that is precisely what an apply of it would leave, and the apply, the dearest of all writes,
    can be spared; without it the server's defaults are among the fields, and an apply must follow.
    """
    for index, entry in enumerate(_entries(deployment)):
        if _is_creation(entry) and entry["fieldsV1"] != _REPLICAS_ONLY:
            path = f"/metadata/managedFields/{index}"
            # Tests instead of the resourceVersion: the Deployment controller writes the status at this very moment.
            return [
                {"op": "test", "path": f"{path}/manager", "value": REPLICAS_MANAGER},
                {"op": "test", "path": f"{path}/operation", "value": "Update"},
                {"op": "replace", "path": path, "value": _as_applied(entry, created)},
                {"op": "add", "path": "/metadata/managedFields/-", "value": {**entry, "fieldsV1": _REPLICAS_ONLY}},
            ]
    return None


def is_as_created(deployment: JsonObject, body: JsonObject) -> bool:
    """Return whether a Deployment is still as this body made it: nobody else wrote more than its status.

    Then an apply of the body would change nothing, and the handover alone will do.
    """
    metadata = deployment["metadata"]
    annotations = metadata.get("annotations") or {}
    return (
        metadata.get("generation") == 1
        and body["metadata"]["annotations"].items() <= annotations.items()
        and all(
            entry.get("subresource") == "status" or entry.get("manager") in (TEMPLATE_MANAGER, REPLICAS_MANAGER)
            for entry in _entries(deployment)
        )
    )


def _as_applied(entry: JsonObject, created: JsonObject | None) -> JsonObject:
    fields = entry["fieldsV1"]
    rest = {**fields, "f:spec": {k: v for k, v in fields.get("f:spec", {}).items() if k != "f:replicas"}}
    applied = rest if created is None else _asked_for(rest, created)
    return {**entry, "manager": TEMPLATE_MANAGER, "operation": "Apply", "fieldsV1": applied}


def _asked_for(fields: JsonObject, body: Any) -> JsonObject:
    """Return those of the fields that a body has, in the form of FieldsV1 (KEP-555).

    There `f:` is a field or a key of a map, `k:` an item of a list by its keys, and a dot the thing itself, which an
    apply counts for items but not for maps.
    """
    found: JsonObject = {}
    for name, below in fields.items():
        mark, _, rest = name.partition(":")
        if mark == "f" and isinstance(body, dict) and rest in body:
            inner = _asked_for(below, body[rest])
            inner.pop(".", None)
            found[name] = inner
        elif mark == "k" and isinstance(body, list) and (item := _item(body, json.loads(rest))) is not None:
            found[name] = _asked_for(below, item)
        elif mark in (".", "v"):
            found[name] = below
    return found


def _item(items: list[Any], keys: JsonObject) -> JsonObject | None:
    # A key that is left out has its default, such as the protocol of a port.
    return next((item for item in items if all(item.get(key, value) == value for key, value in keys.items())), None)


def _is_applied(entry: JsonObject) -> bool:
    return bool(entry.get("manager") == TEMPLATE_MANAGER and entry.get("operation") == "Apply")


def _entries(deployment: JsonObject) -> list[JsonObject]:
    return list(deployment["metadata"].get("managedFields") or [])


def _is_creation(entry: JsonObject) -> bool:
    by_us = entry.get("manager") == REPLICAS_MANAGER and entry.get("operation") == "Update"
    return by_us and not entry.get("subresource")
