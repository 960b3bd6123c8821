"""Volumes of a pod as directories of this host, and the mounts that a container wants of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from processnode.client import Client, Object
from processnode.environment import ConfigError, Data, field_value

_KNOWN = ("configMap", "downwardAPI", "emptyDir", "projected", "secret")


@dataclass(frozen=True, slots=True)
class Mount:
    """Bind `source` of this host over `target` in the container's own mount namespace."""

    source: Path
    target: Path
    read_only: bool


@dataclass(frozen=True, slots=True)
class Volumes:
    """Writes the volumes of one pod below `directory`, once, at its start: later changes do not reach them."""

    pod: Object
    ip: str
    directory: Path
    client: Client
    data: Data

    async def write(self) -> None:
        """Write all volumes; a Secret or ConfigMap that is missing and not optional is a ConfigError."""
        for volume in self.pod["spec"].get("volumes", []):
            kind = next((kind for kind in _KNOWN if kind in volume), None)
            if kind is None:
                raise ConfigError(f"volume {volume['name']}: the process node knows {', '.join(_KNOWN)}")
            target = self.directory / volume["name"]
            target.mkdir(parents=True, exist_ok=True)
            sources = volume["projected"]["sources"] if kind == "projected" else [{kind: volume[kind]}]
            for source in sources:
                for name, content in (await self._files(source)).items():
                    file = target / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)

    def mounts(self, container: Object) -> list[Mount]:
        """Return a container's mounts, parents before what lies below them."""
        writable = {volume["name"] for volume in self.pod["spec"].get("volumes", []) if "emptyDir" in volume}
        found = [
            Mount(
                source=self.directory / mount["name"] / mount.get("subPath", ""),
                target=Path(mount["mountPath"]),
                read_only=mount.get("readOnly", False) or mount["name"] not in writable,
            )
            for mount in container.get("volumeMounts", [])
        ]
        return sorted(found, key=lambda mount: len(mount.target.parts))

    async def _files(self, source: Object) -> dict[str, bytes]:
        if "serviceAccountToken" in source:
            token = source["serviceAccountToken"]
            return {token["path"]: (await self._token(token)).encode()}
        if "downwardAPI" in source:
            items = source["downwardAPI"].get("items", [])
            return {
                item["path"]: field_value(self.pod, item["fieldRef"]["fieldPath"], ip=self.ip).encode()
                for item in items
            }
        if "secret" in source:
            spec = source["secret"]
            return await self._keys("secret", spec.get("secretName") or spec["name"], spec)
        if "configMap" in source:
            return await self._keys("configmap", source["configMap"]["name"], source["configMap"])
        if "emptyDir" in source:
            return {}
        raise ConfigError(f"projected volume: the process node does not know {', '.join(source)}")

    async def _keys(self, kind: str, name: str, spec: Object) -> dict[str, bytes]:
        content = await self.data.read(kind, name)
        if content is None:
            if spec.get("optional"):
                return {}
            raise ConfigError(f'{kind} "{name}" not found', reason="ContainerCreating")
        if "items" not in spec:
            return content
        return dict(_picked(content, spec, name))

    async def _token(self, spec: Object) -> str:
        metadata = self.pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{self.pod['spec']['serviceAccountName']}"
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        request: Object = {"boundObjectRef": bound, "expirationSeconds": spec.get("expirationSeconds", 3600)}
        if "audience" in spec:
            request["audiences"] = [spec["audience"]]
        answer = await self.client.create(f"{path}/token", {"spec": request})
        return str(answer["status"]["token"])


def _picked(content: dict[str, bytes], spec: Object, name: str) -> Iterable[tuple[str, bytes]]:
    for item in spec["items"]:
        if item["key"] in content:
            yield item["path"], content[item["key"]]
        elif not spec.get("optional"):
            raise ConfigError(f"references non-existent key {item['key']} of {name}", reason="ContainerCreating")
