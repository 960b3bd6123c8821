"""A QueueWorker on the real API server, and the adapter as the operator's own service account."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from controlplane import Api, ControlPlane
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.port import ClusterError, Resource
from queueworker_operator.cluster.resource import resource_of

Document = dict[str, Any]

RULES: list[Document] = yaml.safe_load(
    (Path(__file__).parents[2] / "charts/queueworker/files/rbac.yaml").read_text(encoding="utf-8")
)
NOWHERE = {"queueworker.dev/test": "nowhere"}
"""No node has this label: the pods stay pending, whatever nodes other tests have started."""
SPEC: Document = {
    "queues": [{"name": "killmail", "concurrency": 10}],
    "redis": {"host": "redis.killboard.svc"},
    "worker": {
        "image": "registry.invalid/worker:1",
        "env": [{"name": "COLOUR", "value": "red"}, {"name": "SIZE", "value": "small"}],
        "podTemplate": {"spec": {"nodeSelector": NOWHERE}},
    },
    "replicas": 1,
}


def deployment_path(namespace: str, name: str = "killmail") -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"


class RecordingRequests(Requests):
    """Remembers what was asked of the API server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[tuple[str, str]] = []
        self.fail: ClusterError | None = None
        """Raised instead of every request."""

    async def send(self, method: str, path: str, **kwargs: Any) -> Document:
        self.sent.append((method, path))
        if self.fail is not None:
            raise self.fail
        return await super().send(method, path, **kwargs)


@dataclass
class Bench:
    """One namespace: `api` is the administrator, `cluster` the adapter under test."""

    api: Api
    namespace: str
    queueworkers: str
    cluster: KubernetesCluster
    requests: RecordingRequests
    connect: Callable[[], Any]
    others: list[KubernetesCluster] = field(default_factory=list)

    def add(self, name: str = "killmail", **changes: Any) -> Resource:
        """Create a QueueWorker; `changes` replace parts of its spec, or with worker_ in front, of its worker."""
        document = {
            "apiVersion": "queueworker.dev/v1alpha1",
            "kind": "QueueWorker",
            "metadata": {"name": name},
            "spec": spec_with(**changes),
        }
        return resource_of(self.api.create(self.queueworkers, document))

    def change(self, resource: Resource, **changes: Any) -> Resource:
        path = f"{self.queueworkers}/{resource.key.name}"
        document = self.api.get(path)
        document["spec"] = spec_with(**changes)
        return resource_of(self.api.replace(path, document))

    def read(self, name: str = "killmail") -> Resource:
        return resource_of(self.api.get(f"{self.queueworkers}/{name}"))

    def deployment(self, name: str = "killmail") -> Document:
        return self.api.get(deployment_path(self.namespace, name))

    def scale_by_hand(self, replicas: int, name: str = "killmail") -> None:
        self.api.patch(f"{deployment_path(self.namespace, name)}/scale", {"spec": {"replicas": replicas}})

    def secret(self, data: dict[str, str], *, labels: dict[str, str] | None = None, name: str = "redis") -> Document:
        body = {"metadata": {"name": name, "labels": labels or {}}, "stringData": data}
        return self.api.create(f"/api/v1/namespaces/{self.namespace}/secrets", body)

    async def other(self, **kwargs: Any) -> KubernetesCluster:
        """Return an adapter of another kind, on connections of its own."""
        cluster = KubernetesCluster(await self.connect(), **kwargs)
        self.others.append(cluster)
        return cluster


@asynccontextmanager
async def open_bench(control_plane: ControlPlane, *, namespace: str, crd: str) -> AsyncIterator[Bench]:
    """Give the adapter a service account that may do exactly what the chart's rules say, in this namespace."""
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "operator", [], namespaced_rules=RULES)

    async def connect() -> RecordingRequests:
        return await RecordingRequests.connect(kubeconfig=str(kubeconfig))

    requests = await connect()
    bench = Bench(
        api=control_plane.api,
        namespace=namespace,
        queueworkers=f"{crd}/namespaces/{namespace}/queueworkers",
        cluster=KubernetesCluster(requests),
        requests=requests,
        connect=connect,
    )
    try:
        yield bench
    finally:
        for cluster in (bench.cluster, *bench.others):
            await cluster.close()


def spec_with(**changes: Any) -> Document:
    spec = copy.deepcopy(SPEC)
    for name, value in changes.items():
        if name.startswith("worker_"):
            spec["worker"][name.removeprefix("worker_")] = value
        else:
            spec[name] = value
    return {name: value for name, value in spec.items() if value is not None}


def environment_of(deployment: Document) -> dict[str, Any]:
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def managers_of_replicas(deployment: Document) -> Sequence[tuple[str, str]]:
    return [
        (entry["manager"], entry.get("subresource", ""))
        for entry in deployment["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    ]
