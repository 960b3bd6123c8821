"""The node agent: keeps a Node and its Lease alive and runs the pods that are bound to it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from processnode.addresses import Addresses, AddressesExhaustedError
from processnode.client import Object, RequestError
from processnode.pod import Node, Pod
from processnode.status import timestamp

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_LEASE_SECONDS = 40
_RENEW_SECONDS = 5.0
_RETRY_SECONDS = 0.3
_GONE_SECONDS = 2.0
_RESOURCES = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "4Ti", "pods": "250"}

logger = logging.getLogger(__name__)


class Agent:
    """Runs until it is cancelled; then ends its processes and removes its node and pods."""

    def __init__(self, name: str, node: Node) -> None:
        self._name = name
        self._node = node
        self._client = node.client
        self._addresses = Addresses()
        self._pods: dict[str, Pod] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Register the node, call `ready`, serve its pods."""
        try:
            await insist(self._register)
            ready()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._renew())
                group.create_task(self._follow())
        finally:
            await self._leave()

    async def _register(self) -> None:
        labels = {"kubernetes.io/hostname": self._name, "kubernetes.io/os": "linux", "queueworker.dev/node": "process"}
        with ignored(409):
            await self._client.create("/api/v1/nodes", {"metadata": {"name": self._name, "labels": labels}})
        moment = timestamp(datetime.now(UTC))
        ready = {"type": "Ready", "status": "True", "reason": "AgentReady", "message": "pods run as processes"}
        status: Object = {
            "capacity": _RESOURCES,
            "allocatable": _RESOURCES,
            "conditions": [{**ready, "lastHeartbeatTime": moment, "lastTransitionTime": moment}],
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": self._name},
            ],
        }
        with ignored(409):
            spec = {"holderIdentity": self._name, "leaseDurationSeconds": _LEASE_SECONDS, "renewTime": _micro_now()}
            await self._client.create(_LEASES, {"metadata": {"name": self._name}, "spec": spec})
        await self._client.patch(f"/api/v1/nodes/{self._name}/status", {"status": status})

    async def _renew(self) -> None:
        while True:
            await insist(self._renew_once)
            await asyncio.sleep(_RENEW_SECONDS)

    async def _renew_once(self) -> None:
        spec = {"holderIdentity": self._name, "renewTime": _micro_now()}
        node = await self._client.get(f"/api/v1/nodes/{self._name}")
        await self._client.patch(f"{_LEASES}/{self._name}", {"spec": spec})
        if any(c["type"] == "Ready" and c["status"] != "True" for c in node["status"].get("conditions", [])):
            # The node controller gave this node up while it was paused or cut off.
            await self._register()
            for pod in self._pods.values():
                pod.resend()

    async def _follow(self) -> None:
        while True:
            await insist(self._list_and_watch)

    async def _list_and_watch(self) -> None:
        mine = {"fieldSelector": f"spec.nodeName={self._name}"}
        listed = await self._client.get("/api/v1/pods", **mine)
        for pod in listed["items"]:
            self._see(pod)
        for uid in self._pods.keys() - {pod["metadata"]["uid"] for pod in listed["items"]}:
            self._pods[uid].vanished()
        version = listed["metadata"]["resourceVersion"]
        while True:
            async for event in self._client.watch("/api/v1/pods", version=version, allowWatchBookmarks="true", **mine):
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] == "DELETED" and (gone := self._pods.get(event["object"]["metadata"]["uid"])):
                    gone.vanished()
                elif event["type"] in ("ADDED", "MODIFIED"):
                    self._see(event["object"])

    def _see(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if known := self._pods.get(uid):
            known.update(pod)
        elif pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            try:
                address = self._addresses.take()
            except AddressesExhaustedError as error:
                logger.error("pod %s stays Pending: %s", pod["metadata"]["name"], error)
                return
            self._pods[uid] = new = Pod(pod, ip=address, node=self._node)
            self._tasks[uid] = asyncio.create_task(self._run(uid, new))

    async def _run(self, uid: str, pod: Pod) -> None:
        try:
            await pod.run()
        except Exception:
            logger.exception("pod %s: the agent failed; its processes are ended", uid)
        finally:
            self._addresses.give_back(pod.ip)
            del self._pods[uid], self._tasks[uid]

    async def _leave(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._node.host.close()
        self._addresses.close()
        # A test run ends its control plane too: an unreachable server is no reason to wait.
        with suppress(RequestError, TimeoutError):
            async with asyncio.timeout(_GONE_SECONDS):
                await self._remove_objects()

    async def _remove_objects(self) -> None:
        with ignored(404):
            await self._client.delete(f"/api/v1/nodes/{self._name}")
        with ignored(404):
            await self._client.delete(f"{_LEASES}/{self._name}")
        for pod in (await self._client.get("/api/v1/pods", fieldSelector=f"spec.nodeName={self._name}"))["items"]:
            path = "/api/v1/namespaces/{namespace}/pods/{name}".format_map(pod["metadata"])
            with ignored(404):
                await self._client.delete(path, {"gracePeriodSeconds": 0})


async def insist(call: Callable[[], Awaitable[None]]) -> None:
    """Call until it succeeds; a request that fails is logged and tried again."""
    while True:
        try:
            await call()
        except RequestError as error:
            logger.warning("trying again: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


class ignored:  # noqa: N801 (reads like contextlib.suppress)
    """Suppress RequestErrors of these HTTP statuses."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = statuses

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        return isinstance(error, RequestError) and error.status in self._statuses


async def end_with_parent(parent: int) -> None:
    """Return when the process that started the agent is gone."""
    while os.getppid() == parent:  # noqa: ASYNC110 (no event tells of a parent's end)
        await asyncio.sleep(_RETRY_SECONDS)


def _micro_now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
