"""One pod: volumes, init containers, containers, its status in the API server, its end."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from processnode import status
from processnode.client import Client, Object, RequestError
from processnode.container import Container
from processnode.environment import ConfigError, Data, container_environment, expand
from processnode.process import Host, Launch
from processnode.volumes import Volumes

_RETRY_SECONDS = 0.5
# A kubelet grants this much to a pod that was deleted by force.
_FORCED_GRACE_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """What all pods of a node share. `base_environment` goes below the pod's own variables."""

    client: Client
    host: Host
    directory: Path
    base_environment: Mapping[str, str]
    backoff_seconds: tuple[float, float]

    def entrypoint(self, image: str) -> list[str] | None:
        """Return the command that stands for an image's entrypoint, read anew each time."""
        file = self.directory / "entrypoints.json"
        known: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
        return known.get(image)


class Pod:
    """Runs one pod from its first sight to its removal from the API server."""

    def __init__(self, pod: Object, *, ip: str, node: Node) -> None:
        self.ip = ip
        self._pod = pod
        self._node = node
        self._path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        self._directory = node.directory / "pods" / "{namespace}_{name}_{uid}".format_map(pod["metadata"])
        self._dirty = asyncio.Event()
        self._initialized = False
        self._gone = False
        self._terminating = asyncio.Event()
        self._deadline = float("inf")
        self._conditions: list[Object] = []
        self._sent: Object = {}
        self._start_time = status.timestamp(datetime.now(UTC))
        policy = pod["spec"]["restartPolicy"]
        init_policy = "Never" if policy == "Never" else "OnFailure"
        self._init = [self._container(spec, init_policy) for spec in pod["spec"].get("initContainers", [])]
        self._containers = [self._container(spec, policy) for spec in pod["spec"]["containers"]]

    def update(self, pod: Object) -> None:
        """Take a newer version of the object; only a deletion and its grace period matter."""
        self._pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._end_within(float(pod["metadata"].get("deletionGracePeriodSeconds", 30)))

    def resend(self) -> None:
        """Write the status again: the node controller changes it when it gives a node up."""
        self._sent = {}
        self._dirty.set()

    def vanished(self) -> None:
        """The object is gone from the API server: end the processes, report nothing more."""
        self._gone = True
        self._end_within(_FORCED_GRACE_SECONDS)

    async def run(self) -> None:
        """Run the pod; return when its processes have ended and its object is gone."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self.update(self._pod)
        reporting = asyncio.create_task(self._logged(self._report()))
        living = asyncio.create_task(self._logged(self._live()))
        try:
            await self._terminating.wait()
            await self._stop(living)
            if not self._gone:
                await self._remove(reporting)
        finally:
            for task in (living, reporting):
                task.cancel()
            await asyncio.gather(living, reporting, return_exceptions=True)
            await self._kill()

    def _container(self, spec: Object, policy: str) -> Container:
        return Container(
            spec,
            ip=self.ip,
            restart_policy=policy,
            host=self._node.host,
            prepare=self._prepare,
            changed=self._dirty.set,
            grace_seconds=float(self._pod["spec"].get("terminationGracePeriodSeconds", 30)),
            backoff_seconds=self._node.backoff_seconds,
        )

    def _end_within(self, seconds: float) -> None:
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + seconds)
        self._terminating.set()

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("%s: a defect of the process node", self._path)
            raise

    async def _live(self) -> None:
        self._dirty.set()
        if self._terminating.is_set() or not await self._provide_volumes():
            return
        for container in self._init:
            await container.run()
            if container.exit_code != 0:
                return
        self._initialized = True
        await asyncio.gather(*(container.run() for container in self._containers))

    async def _provide_volumes(self) -> bool:
        while not self._terminating.is_set():
            try:
                refuse_unknown(self._pod["spec"])
                await self._volumes().write()
            except (ConfigError, RequestError) as error:
                reason = error.reason if isinstance(error, ConfigError) else "ContainerCreating"
                for container in self._init + self._containers:
                    container.wait_for(reason, str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return True
        return False

    def _volumes(self) -> Volumes:
        data = Data(self._node.client, self._pod["metadata"]["namespace"])
        directory = self._directory / "volumes"
        return Volumes(pod=self._pod, ip=self.ip, directory=directory, client=self._node.client, data=data)

    async def _prepare(self, spec: Object) -> Launch:
        volumes = self._volumes()
        own = await container_environment(self._pod, spec, ip=self.ip, data=volumes.data)
        name = self._pod["metadata"]["name"]
        environment = {**self._node.base_environment, "HOSTNAME": name, **own}
        command = spec.get("command") or self._node.entrypoint(spec["image"])
        if not command:
            raise ConfigError(
                f"{spec['image']}: the process node runs no images; give the container a command,"
                " or the image an entrypoint (ProcessNode.set_entrypoint)",
                reason="ImagePullBackOff",
            )
        root = self._directory / spec["name"]
        root.mkdir(exist_ok=True)
        return Launch(
            argv=[expand(word, own) for word in [*command, *spec.get("args", [])]],
            environment=environment,
            mounts=volumes.mounts(spec),
            working_directory=Path(spec.get("workingDir") or root),
            log=self._directory / f"{spec['name']}.log",
        )

    async def _stop(self, living: asyncio.Task[None]) -> None:
        await asyncio.gather(*(c.stop(deadline=lambda: self._deadline) for c in self._init + self._containers))
        await asyncio.wait({living})

    async def _kill(self) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.gather(*(c.stop(deadline=lambda: now) for c in self._init + self._containers))

    async def _report(self) -> None:
        while not self._gone:
            await self._dirty.wait()
            self._dirty.clear()
            await self._send_status()

    async def _send_status(self) -> None:
        new = self._status()
        if new == self._sent:
            return
        try:
            await self._node.client.patch(f"{self._path}/status", {"metadata": self._identity(), "status": new})
            self._sent, self._conditions = new, new["conditions"]
        except RequestError as error:
            if error.status in (404, 409):  # 409: a pod of that name with another uid
                self._gone = True
                return
            logger.warning("%s: status not written, trying again: %s", self._path, error)
            await asyncio.sleep(_RETRY_SECONDS)
            self._dirty.set()

    async def _remove(self, reporting: asyncio.Task[None]) -> None:
        reporting.cancel()
        with suppress(asyncio.CancelledError):
            await reporting
        await self._send_status()
        options = {"gracePeriodSeconds": 0, "preconditions": self._identity()}
        while not self._gone:
            try:
                await self._node.client.delete(self._path, options)
                return
            except RequestError as error:
                if error.status in (404, 409):
                    return
                logger.warning("%s: not removed, trying again: %s", self._path, error)
                await asyncio.sleep(_RETRY_SECONDS)

    def _identity(self) -> Object:
        return {"uid": self._pod["metadata"]["uid"]}

    def _status(self) -> Object:
        entries = [container.status() for container in self._containers]
        failed = any(container.ended and container.exit_code for container in self._init)
        restarts = not all(container.ended for container in self._containers)
        phase = status.phase(entries, restarts=restarts, initialized=self._initialized)
        if failed:
            phase = "Failed"
        conditions = status.conditions(entries, phase=phase, initialized=self._initialized)
        return {
            "phase": phase,
            "podIP": self.ip,
            "podIPs": [{"ip": self.ip}],
            "hostIP": "127.0.0.1",
            "hostIPs": [{"ip": "127.0.0.1"}],
            "startTime": self._start_time,
            "conditions": status.dated(conditions, self._conditions, datetime.now(UTC)),
            "containerStatuses": entries,
            **({"initContainerStatuses": [container.status() for container in self._init]} if self._init else {}),
        }


def refuse_unknown(spec: Object) -> None:
    """Refuse what the process node would silently do otherwise than a kubelet does."""
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy") == "Always":
            _refuse(container, "restartPolicy of an init container (sidecar)")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        if container.get("lifecycle"):
            _refuse(container, "lifecycle hooks")
        probes: Sequence[Object] = [container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")]
        if any("grpc" in probe for probe in probes):
            _refuse(container, "gRPC probes")


def _refuse(container: Object, what: str) -> None:
    message = f"container {container['name']}: the process node does not know {what}"
    raise ConfigError(message, reason="CreateContainerError")
