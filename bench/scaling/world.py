"""What the parts share: a control plane with a node of kwok, a Valkey, the operator as a process, QueueWorkers."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import redis
from acceptance import ROOT, OperatorProcess, running_operator
from bench.scaling.api import Api, Object
from valkeyserver import start_valkey

import controlplane
from controlplane.kwok import Kwok
from queueworker.settings import ConnectionSettings

NAMESPACE = "bench"
WORKERS = f"/apis/queueworker.dev/v1alpha1/namespaces/{NAMESPACE}/queueworkers"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/queueworkers.queueworker.dev"
_WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
_OURS = {"queueworkers", "deployments", "events", "pods"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A cluster without QueueWorkers, and a Redis."""

    plane: controlplane.ControlPlane
    api: Api
    settings: ConnectionSettings

    @property
    def redis(self) -> redis.Redis:
        """A client of the Redis."""
        return redis.Redis(host=self.settings.host, port=self.settings.port, decode_responses=True)

    @contextmanager
    def operator(self, *, ready: bool = True) -> Iterator[OperatorProcess]:
        """Run the operator with the rights of the chart; wait until it is ready, unless its start is measured."""
        with running_operator(self.plane, NAMESPACE, ready=ready) as process:
            yield process

    def writes(self) -> int:
        """Return how many writes to our kinds the API server has served, those of a Deployment's pods left out."""
        counted = 0.0
        for line in self.plane.api.text("/metrics").splitlines():
            if line.startswith("apiserver_request_total{"):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
                own = labels["resource"] in _OURS - {"pods"} and labels["verb"] in _WRITES
                # The controllers write the status of Deployments; the operator never does.
                if own and not (labels["resource"] == "deployments" and labels.get("subresource") == "status"):
                    counted += float(line.rpartition(" ")[2])
        return int(counted)

    async def quiet(self) -> None:
        """Wait until nothing is written for some seconds."""
        last = -1

        async def still() -> bool:
            nonlocal last
            before, last = last, self.writes()
            return before == last

        await until(still, within=1800, what="the last write", every=12.0)

    async def delete_all(self) -> None:
        """Remove all QueueWorkers and what they own, and wait until it is gone."""
        self.plane.api.delete(WORKERS)
        self.plane.api.delete(DEPLOYMENTS)
        await until(lambda: self._is_empty(), within=300, what="the namespace to be empty")
        self.redis.flushall()

    async def _is_empty(self) -> bool:
        return await self.api.count(WORKERS) + await self.api.count(DEPLOYMENTS) == 0


@asynccontextmanager
async def open_world(*, node: bool = True) -> AsyncIterator[World]:
    """Yield a world of its own, with the CRD and, if wanted, a node whose pods are ready at once."""
    server = start_valkey()
    try:
        with controlplane.ControlPlane.start(controlplane.build()) as plane:
            plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds/queueworkers.yaml"))
            await until(lambda: _is_established(plane), within=20, what="the CRD")
            plane.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
            settings = ConnectionSettings(host=server.host, port=server.port)
            with Kwok.start(plane) if node else _nothing():
                async with Api.of(plane) as api:
                    yield World(plane=plane, api=api, settings=settings)
    finally:
        server.stop()


async def _is_established(plane: controlplane.ControlPlane) -> bool:
    conditions = plane.api.get(_CRD).get("status", {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def queueworker(name: str, settings: ConnectionSettings, *, concurrency: int = 10, **autoscaling: Any) -> Object:
    """Return a QueueWorker with a queue of its own name."""
    spec = {
        "queues": [{"name": name, "concurrency": concurrency}],
        "redis": {"host": settings.host, "port": settings.port},
        "worker": {"image": "localhost/none:1"},
        "autoscaling": {"minReplicas": 0, "maxReplicas": 100, **autoscaling},
    }
    return {
        "apiVersion": "queueworker.dev/v1alpha1",
        "kind": "QueueWorker",
        "metadata": {"name": name},
        "spec": spec,
    }


async def until(ask: Callable[[], Awaitable[bool]], *, within: float, what: str, every: float = 0.1) -> float:
    """Ask until the answer is yes; return how many seconds that took."""
    started = time.monotonic()
    while not await ask():
        if time.monotonic() - started > within:
            raise SystemExit(f"waited {within:.0f} s in vain for {what}")
        await asyncio.sleep(every)
    return time.monotonic() - started


def metric(operator: OperatorProcess, name: str) -> dict[str, float]:
    """Return the samples of one metric of the operator by their labels."""
    query = urllib.parse.urlencode({"name[]": name})
    with urllib.request.urlopen(f"http://127.0.0.1:{operator.port}/metrics?{query}", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    samples = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {labels: float(value) for labels, _, value in samples}


def process_of(operator: OperatorProcess) -> psutil.Process:
    """Return the operator's process."""
    assert operator.process is not None
    return psutil.Process(operator.process.pid)


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)


def connections(world: World) -> int:
    """Return how many connections the operator has to the Redis."""
    return sum(client["name"].startswith("queueworker-operator") for client in world.redis.client_list())
