"""What a container of the rendered template is as a process of this host: arguments and environment.

The rules of $(NAME) are those of a Pod: a reference to a variable that stands before it is replaced, $$ is a plain $,
and a reference that nothing resolves stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, Key
from queueworker_operator.manifests.environment import is_contract

_REFERENCE = re.compile(r"\$(\$|\(([^()]+)\))")
OPERATOR_PREFIX = "QUEUEWORKER_OPERATOR_"


class Values(Protocol):
    """Where Secrets and ConfigMaps come from."""

    def values(self, kind: str, namespace: str, name: str) -> Mapping[str, bytes] | None:
        """Return what a Secret or ConfigMap holds, None where there is none of the name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker runs, as its fieldRefs tell it."""

    key: Key
    worker: str
    host: str = "127.0.0.1"

    def field(self, path: str) -> str:
        """Return a field of the pod; raises ClusterError for those that a process does not have."""
        fields = {
            "metadata.name": self.worker,
            "metadata.namespace": self.key.namespace,
            "metadata.labels['queueworker.dev/queueworker']": self.key.name,
            "status.podIP": self.host,
            "status.hostIP": self.host,
            "spec.nodeName": "localhost",
        }
        if path not in fields:
            raise _invalid(self.key, f"fieldRef {path} does not exist outside Kubernetes")
        return fields[path]


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker gets of the environment that `up` was started in: all but the operator's own variables."""
    return {
        name: value
        for name, value in environment.items()
        if not is_contract(name) and not name.startswith(OPERATOR_PREFIX)
    }


def container_environment(container: Mapping[str, Any], place: Place, values: Values) -> dict[str, str]:
    """Return the variables of a container, envFrom first; raises ClusterError naming what is missing."""
    environment: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        environment |= _from_object(source, place, values)
    for variable in container.get("env", ()):
        value = _value(variable, environment, place, values)
        if value is not None:
            environment[variable["name"]] = value
    return environment


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace the $(NAME) of a text."""

    def replacement(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else environment.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def _from_object(source: Mapping[str, Any], place: Place, values: Values) -> dict[str, str]:
    for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
        if field in source:
            found = _object(kind, source[field], place, values)
            prefix = source.get("prefix", "")
            return {prefix + name: content.decode() for name, content in found.items()}
    return {}


def _value(variable: Mapping[str, Any], environment: Mapping[str, str], place: Place, values: Values) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return expand(str(variable.get("value") or ""), environment)
    return next(_resolved(variable["name"], source, place, values), None)


def _resolved(name: str, source: Mapping[str, Any], place: Place, values: Values) -> Iterator[str]:
    """Yield the value, or nothing where it is optional and not there."""
    if "fieldRef" in source:
        yield place.field(source["fieldRef"]["fieldPath"])
        return
    for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if field in source:
            reference = source[field]
            content = _object(kind, reference, place, values).get(reference["key"])
            if content is not None:
                yield content.decode()
            elif not reference.get("optional"):
                raise _missing(place.key, f"the {kind} {reference['name']} has no key {reference['key']}")
            return
    raise _invalid(place.key, f"variable {name}: this source does not exist outside Kubernetes")


def _object(kind: str, reference: Mapping[str, Any], place: Place, values: Values) -> Mapping[str, bytes]:
    found = values.values(kind, place.key.namespace, reference["name"])
    if found is None and not reference.get("optional"):
        raise _missing(place.key, f"there is no {kind} {reference['name']} in the files")
    return found or {}


def _missing(key: Key, what: str) -> ClusterError:
    return ClusterError(f"{key}: {what}: add it", reason=ConditionReason.SECRET_NOT_FOUND)


def _invalid(key: Key, what: str) -> ClusterError:
    return ClusterError(f"{key}: {what}: leave it out for a local run", reason=ConditionReason.SPEC_INVALID)
