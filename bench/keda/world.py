"""A control plane at Kubernetes' own request rates with KEDA and a node of kwok's, and a Valkey."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.scaling.api import Api
from bench.scaling.world import NAMESPACE, World
from valkeyserver import start_valkey

import controlplane
from controlplane.keda import Certificates, Keda
from controlplane.kwok import Kwok
from queueworker.settings import ConnectionSettings

SCALED_OBJECTS = f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects"
HPA_SYNC_SECONDS = 15.0
"""The controller manager's --horizontal-pod-autoscaler-sync-period, which stays at its default."""
# The control plane of the tests asks more often than Kubernetes does by itself; a measure of HPAs must not.
_DEFAULTS = {
    "kube-controller-manager": ["--kube-api-qps=20", "--kube-api-burst=30", "--node-monitor-period=5s"],
    "kube-scheduler": ["--kube-api-qps=50", "--kube-api-burst=100"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaWorld:
    """A cluster with KEDA and no object of it, and a Redis."""

    world: World
    keda: Keda

    @property
    def api(self) -> Api:
        """Many requests at a time."""
        return self.world.api

    def check(self) -> None:
        """Raise if a process of the control plane or of KEDA has ended."""
        self.world.plane.check()
        self.keda.check()

    def operator_metrics(self) -> str:
        """Return the page of the operator's metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.keda.metrics_port}/metrics", timeout=30) as answer:
            return str(answer.read().decode())


@asynccontextmanager
async def open_keda() -> AsyncIterator[KedaWorld]:
    """Yield a world of its own."""
    server = start_valkey()
    try:
        with Certificates.made() as certificates:
            flags = {"kube-apiserver": certificates.apiserver_flags(), **_DEFAULTS}
            with controlplane.ControlPlane.start(controlplane.build(), flags=flags) as plane:
                plane.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
                settings = ConnectionSettings(host=server.host, port=server.port)
                with Kwok.start(plane), Keda.start(plane, certificates) as keda:
                    async with Api.of(plane) as api:
                        yield KedaWorld(world=World(plane=plane, api=api, settings=settings), keda=keda)
    finally:
        server.stop()
