"""The Secrets and ConfigMaps of the files that `up` was given."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, Secret
from queueworker_operator.manifests.names import CREDENTIALS_LABEL

KINDS = ("Secret", "ConfigMap")


class LocalObjects:
    """Secrets and ConfigMaps by namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], tuple[Mapping[str, str], Mapping[str, bytes]]] = {}

    def add(self, document: Mapping[str, Any]) -> None:
        """Take in a Secret (data in base64, stringData) or a ConfigMap; raises ValueError saying what is wrong."""
        kind, metadata = document["kind"], document["metadata"]
        data = {name: _decoded(kind, name, value) for name, value in _texts(document, "data")}
        data |= {name: value.encode() for name, value in _texts(document, "stringData")}
        labels = metadata.get("labels") or {}
        self._objects[kind, metadata.get("namespace") or "default", metadata["name"]] = (labels, data)

    def values(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return what an object holds, None where there is none."""
        found = self._objects.get((kind, namespace, name))
        return found and found[1]

    def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret that the operator may read, by the same rule as in a cluster."""
        found = self._objects.get(("Secret", namespace, name))
        if found is None:
            message = f"there is no Secret {name} in the files: add it to one of them"
            raise ClusterError(message, reason=ConditionReason.SECRET_NOT_FOUND)
        labels, data = found
        if labels.get(CREDENTIALS_LABEL) != "true":
            message = f'the Secret {name} needs the label {CREDENTIALS_LABEL}: "true" for the operator to read it'
            raise ClusterError(message, reason=ConditionReason.SECRET_NOT_ALLOWED)
        return Secret(name=name, uid=f"{namespace}/{name}", data=data)


def _texts(document: Mapping[str, Any], field: str) -> Iterator[tuple[str, str]]:
    values = document.get(field) or {}
    if not isinstance(values, Mapping):
        raise ValueError(f"{field}: is an object of texts")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"{field}.{name}: is a text: put it in quotes")
        yield name, value


def _decoded(kind: str, name: str, value: str) -> bytes:
    if kind == "ConfigMap":
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        # The text itself may be the secret: it must not be repeated.
        raise ValueError(f"data.{name}: not base64; write plain text under stringData") from None
