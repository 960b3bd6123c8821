"""What stands in a container's environment, by the rules of Kubernetes: values, references, `$(VAR)`."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from processnode.client import Client, Object, RequestError

# `$$` is a dollar sign; `$(NAME)` a reference; any other dollar sign stands for itself.
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class ConfigError(Exception):
    """A container cannot be created from its spec now; `reason` is the state's reason, the text its message."""

    def __init__(self, message: str, *, reason: str = "CreateContainerConfigError") -> None:
        self.reason = reason
        super().__init__(message)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value where there is one, and `$$` by `$`; leave the rest as it is."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def field_value(pod: Object, path: str, *, ip: str) -> str:
    """Return the value of a fieldRef; the pod's address is given because its status may not bear it yet."""
    metadata, spec = pod["metadata"], pod["spec"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str(metadata.get(match[1], {}).get(match[2], ""))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": ip,
        "status.podIPs": ip,
        "status.hostIP": "127.0.0.1",
        "status.hostIPs": "127.0.0.1",
    }
    if path not in values:
        raise ConfigError(f"fieldRef {path}: the process node knows {', '.join(values)}, labels and annotations")
    return str(values[path])


@dataclass(slots=True)
class Data:
    """Reads Secrets and ConfigMaps of one namespace, each once: a container's environment is one moment's."""

    client: Client
    namespace: str
    _seen: dict[tuple[str, str], dict[str, bytes] | None] = field(default_factory=dict)

    async def read(self, kind: str, name: str) -> dict[str, bytes] | None:
        """Return the bytes by key of a `secret` or `configmap`, None if there is no such object."""
        if (kind, name) not in self._seen:
            self._seen[kind, name] = await self._read(kind, name)
        return self._seen[kind, name]

    async def _read(self, kind: str, name: str) -> dict[str, bytes] | None:
        try:
            found = await self.client.get(f"/api/v1/namespaces/{self.namespace}/{kind}s/{name}")
        except RequestError as error:
            if error.status == 404:
                return None
            raise ConfigError(f"{kind} {self.namespace}/{name}: {error}") from error
        plain = found.get("data") or {}
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in plain.items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {**{key: value.encode() for key, value in plain.items()}, **binary}


async def container_environment(pod: Object, container: Object, *, ip: str, data: Data) -> dict[str, str]:
    """Return the variables that the spec gives to a container: envFrom first, then env in its order."""
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables.update(await _from_source(source, data))
    for entry in container.get("env", []):
        value = await _entry_value(pod, entry, ip=ip, data=data, variables=variables)
        if value is not None:
            variables[entry["name"]] = value
    return variables


async def _from_source(source: Object, data: Data) -> dict[str, str]:
    kind, reference = (
        ("secret", source["secretRef"]) if "secretRef" in source else ("configmap", source["configMapRef"])
    )
    content = await data.read(kind, reference["name"])
    if content is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    prefix = source.get("prefix", "")
    return {prefix + key: value.decode() for key, value in content.items()}


async def _entry_value(pod: Object, entry: Object, *, ip: str, data: Data, variables: Mapping[str, str]) -> str | None:
    source: dict[str, Any] | None = entry.get("valueFrom")
    if source is None:
        return expand(entry.get("value", ""), variables)
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], ip=ip)
    if "secretKeyRef" in source:
        return await _key_value("secret", source["secretKeyRef"], data)
    if "configMapKeyRef" in source:
        return await _key_value("configmap", source["configMapKeyRef"], data)
    raise ConfigError(f"env {entry['name']}: the process node does not know {', '.join(source)}")


async def _key_value(kind: str, reference: Object, data: Data) -> str | None:
    content = await data.read(kind, reference["name"])
    if content is not None and reference["key"] in content:
        return content[reference["key"]].decode()
    if reference.get("optional"):
        return None
    if content is None:
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {data.namespace}/{reference['name']}")
