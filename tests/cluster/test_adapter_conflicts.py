"""Other writers of the number, on the real API server: told by the watch, named in the look, and forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from adapter_bench import RULES, Bench, open_bench
from stalls import Stalls

from controlplane import Api, ControlPlane
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.kubernetes.rivals import AutoscalerWatch
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.rivals import Autoscaler, Rivals
from queueworker_operator.handlers import Door, kopf_settings, register

SOON = 1.0
"""Seconds within which another autoscaler is to be seen."""


@pytest.fixture
async def bench(control_plane: ControlPlane, namespace: str, crd: str) -> AsyncIterator[Bench]:
    async with open_bench(control_plane, namespace=namespace, crd=crd) as opened:
        yield opened


class Watching:
    """kopf with our handlers, and the adapter that hears of what they see."""

    def __init__(self, requests: Requests, *, clock: Any = time.monotonic) -> None:
        self.store: dict[Key, Resource] = {}
        self.woken: list[Key] = []
        self.rivals = Rivals(self.store)
        self.rivals.look_again = self.woken.append
        self.cluster = KubernetesCluster(requests, rivals=self.rivals, clock=clock)
        self.door = Door(
            store=self.store,
            wake=lambda key, fresh=False: None,
            workers_changed=lambda key: None,
            workers_seen=self.cluster.saw,
            rivals=self.rivals,
        )

    async def conflict(self, name: str, *, fresh: bool = True) -> str | None:
        resource = next(found for key, found in self.store.items() if key.name == name)
        return (await self.cluster.observe(resource, fresh=fresh)).conflict


@asynccontextmanager
async def watching(bench: Bench, kubeconfig: Path) -> AsyncIterator[Watching]:
    """Watch as the operator does, by the rights of its service account."""
    requests = await Requests.connect(kubeconfig=str(kubeconfig))
    registry, opened = kopf.OperatorRegistry(), Watching(requests)
    access = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
    server = access["clusters"][0]["cluster"]

    @kopf.on.login(registry=registry, id="login")
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=server["server"],
            ca_data=server.get("certificate-authority-data"),
            ca_path=server.get("certificate-authority"),
            token=access["users"][0]["user"]["token"],
        )

    register(registry, opened.door)
    autoscalers = AutoscalerWatch(requests, opened.rivals, [bench.namespace])
    await autoscalers.list()
    following = asyncio.create_task(autoscalers.run())
    ended = asyncio.Event()
    task = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            standalone=True,
            namespaces=[bench.namespace],
            stop_flag=ended,
        )
    )
    try:
        yield opened
    finally:
        ended.set()
        await task
        following.cancel()
        await asyncio.wait([following])
        await opened.cluster.close()


async def until(question: Any, *, within: float = 60.0, what: str) -> float:
    """Ask until the answer is true; return how long that took."""
    began = time.monotonic()
    while not await question():
        if time.monotonic() - began > within:
            pytest.fail(f"not within {within:g} s: {what}")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def autoscaler(api: Api, namespace: str, name: str = "cpu", *, owned: bool = False, target: str = "killmail") -> str:
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    owner = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "mail", "uid": "u", "controller": True}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}
    body = {
        "metadata": {"name": name, **({"ownerReferences": [owner]} if owned else {})},
        "spec": {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 5, "metrics": [metric]},
    }
    api.create(path, body)
    return f"{path}/{name}"


def kubeconfig_of(control_plane: ControlPlane, bench: Bench, rules: list[dict[str, Any]] = RULES) -> Path:
    return control_plane.service_account_kubeconfig(bench.namespace, "watcher", [], namespaced_rules=rules)


@pytest.mark.timing
async def test_another_autoscaler_is_seen_at_once_and_forgotten_when_it_goes(
    bench: Bench, control_plane: ControlPlane, stalls: Stalls
) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=1)
    async with watching(bench, kubeconfig_of(control_plane, bench)) as seen:

        async def has_conflict() -> bool:
            return resource.key in seen.store and await seen.conflict("killmail", fresh=False) is not None

        async def known() -> bool:
            return resource.key in seen.store

        await until(known, what="the QueueWorker")
        assert await seen.conflict("killmail") is None

        path = autoscaler(bench.api, bench.namespace)
        began = time.monotonic()
        assert await until(has_conflict, what="the autoscaler") < SOON + stalls.since(began)
        assert seen.woken == [resource.key]
        assert await seen.conflict("killmail") == "HorizontalPodAutoscaler cpu"

        bench.api.delete(path)

        async def gone() -> bool:
            return not await has_conflict()

        began = time.monotonic()
        assert await until(gone, what="the end of the autoscaler") < SOON + stalls.since(began)
        assert seen.woken == [resource.key] * 2


async def test_of_two_queueworkers_with_one_target_the_younger_names_the_older(
    bench: Bench, control_plane: ControlPlane
) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "killmail"}
    owner = bench.add()
    await bench.cluster.create(owner, secrets={}, replicas=1)
    # Names decide between those of the same second.
    bench.add("younger", worker=None, targetRef=target)
    async with watching(bench, kubeconfig_of(control_plane, bench)) as seen:

        async def both() -> bool:
            return len(seen.store) == 2

        await until(both, what="both QueueWorkers")
        assert await seen.conflict("killmail") is None
        assert await seen.conflict("younger") == "QueueWorker killmail"

        path = autoscaler(bench.api, bench.namespace, "keda-hpa-mail", owned=True)

        async def named() -> bool:
            return await seen.conflict("younger") == "ScaledObject mail (HorizontalPodAutoscaler keda-hpa-mail)"

        await until(named, what="the autoscaler")
        bench.api.delete(path)


async def test_an_autoscaler_whose_end_the_watch_missed_is_looked_for(bench: Bench) -> None:
    resource = bench.add()
    now = 1000.0
    seen = Watching(bench.requests, clock=lambda: now)
    seen.store[resource.key] = resource
    seen.rivals.took(resource)
    path = autoscaler(bench.api, bench.namespace)
    seen.rivals.saw_autoscaler(None, Autoscaler.of(bench.api.get(path)))
    assert await seen.conflict("killmail") == "HorizontalPodAutoscaler cpu"
    bench.api.delete(path)

    assert await seen.conflict("killmail") == "HorizontalPodAutoscaler cpu", "it was there a moment ago"
    now += 31
    assert await seen.conflict("killmail", fresh=False) == "HorizontalPodAutoscaler cpu"
    assert await seen.conflict("killmail") is None

    seen.rivals.may_not_see(bench.namespace, "forbidden; grant it")
    problem = (await seen.cluster.observe(resource, fresh=False)).conflict_problem
    assert problem is not None
    assert problem.reason is ConditionReason.CLUSTER_DENIED
    assert problem.message == "whether another autoscaler writes it too is not known: forbidden; grant it"
