"""The Kubernetes adapter and what targetRef names: Deployment, StatefulSet, a kind of somebody's own, or nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from adapter_bench import NOWHERE, RULES, Bench, open_bench
from processnode import ProcessNode

from controlplane import ControlPlane
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.port import ClusterError, ConflictError, Resource
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

Eventually = Callable[..., Any]
LABELS = {"app": "mine"}
DEPLOYMENT = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "mine"}
STATEFUL_SET = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "mine"}
GROUP = "fleets.example.com"
FLEET = {"apiVersion": f"{GROUP}/v1", "kind": "Fleet", "name": "mine"}
HULL = {"apiVersion": f"{GROUP}/v1", "kind": "Hull", "name": "mine"}


@pytest.fixture
async def bench(control_plane: ControlPlane, namespace: str, crd: str) -> AsyncIterator[Bench]:
    async with open_bench(control_plane, namespace=namespace, crd=crd) as opened:
        yield opened


@pytest.fixture(scope="module")
def fleets(control_plane: ControlPlane, crd: str) -> Iterator[str]:
    """Two kinds of somebody's own: a Fleet has a scale subresource, a Hull has none."""
    collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    scale = {
        "specReplicasPath": ".spec.ships",
        "statusReplicasPath": ".status.ships",
        "labelSelectorPath": ".status.selector",
    }
    for kind, subresources in (("Fleet", {"status": {}, "scale": scale}), ("Hull", {"status": {}})):
        control_plane.api.create(collection, custom_kind(kind, subresources))
    for kind in ("fleets", "hulls"):
        control_plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{kind}.{GROUP}")
    yield f"/apis/{GROUP}/v1"
    for kind in ("fleets", "hulls"):
        control_plane.api.delete(f"{collection}/{kind}.{GROUP}")


def custom_kind(kind: str, subresources: dict[str, Any]) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "subresources": subresources,
    }
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    spec = {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]}
    return {"metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec}


def workload(*, replicas: int, grace_seconds: int = 45, command: list[str] | None = None) -> dict[str, Any]:
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "mine", "image": "registry.invalid/mine:1", "securityContext": security}
    pod = {
        "terminationGracePeriodSeconds": grace_seconds,
        **({} if command else {"nodeSelector": NOWHERE}),
        "containers": [{**container, **({"command": command} if command else {})}],
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": pod},
    }
    return {"metadata": {"name": "mine"}, "spec": spec}


def add_target(bench: Bench, plural: str, body: dict[str, Any]) -> dict[str, Any]:
    return bench.api.create(f"/apis/apps/v1/namespaces/{bench.namespace}/{plural}", body)


def scaled_by(bench: Bench, target: dict[str, str], name: str = "killmail") -> Resource:
    return bench.add(name, worker=None, targetRef=target)


async def scale(bench: Bench, resource: Resource, replicas: int) -> None:
    for _ in range(20):
        try:
            return await bench.cluster.scale(resource, await bench.cluster.observe(resource), replicas=replicas)
        except ConflictError:
            await asyncio.sleep(0.05)
    pytest.fail("20 conflicts in a row")


async def observed_until(
    bench: Bench, resource: Resource, done: Callable[[WorkersObservation], object]
) -> WorkersObservation:
    deadline = time.monotonic() + 60
    while not done(seen := await bench.cluster.observe(resource)):
        if time.monotonic() > deadline:
            pytest.fail(f"not within 60 s; last: {seen}")
        await asyncio.sleep(0.1)
    return seen


async def test_a_deployment_of_the_users_is_observed_and_scaled_and_nothing_else_of_it_written(
    bench: Bench, process_node: ProcessNode
) -> None:
    before = add_target(bench, "deployments", workload(replicas=2, command=["/bin/sleep", "600"]))
    resource = scaled_by(bench, DEPLOYMENT)

    seen = await observed_until(bench, resource, lambda seen: seen.ready == 2 and seen.rollout_complete)

    assert (seen.ownership, seen.replicas, seen.present) == (Ownership.TARGET, 2, 2)
    assert (seen.selector, seen.grace_seconds, seen.ordinal) == ("app=mine", 45, False)
    assert (seen.target_problem, seen.conflict, seen.fingerprint, seen.drifted) == (None, None, None, False)
    assert [pod.ready for pod in seen.pods or ()] == [True, True]

    await scale(bench, resource, 3)
    after = bench.api.get(f"/apis/apps/v1/namespaces/{bench.namespace}/deployments/mine")
    assert after["spec"] == {**before["spec"], "replicas": 3}
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    writers = {(entry["manager"], entry.get("subresource")) for entry in after["metadata"]["managedFields"]}
    assert ("queueworker-scale", "scale") in writers
    assert (await bench.cluster.observe(resource, fresh=False)).replicas == 3


async def test_workers_of_an_earlier_spec_go_on_and_are_named_as_long_as_there_are_any(bench: Bench) -> None:
    add_target(bench, "deployments", workload(replicas=0))
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=2)
    turned = bench.change(resource, worker=None, targetRef=DEPLOYMENT)

    seen = await bench.cluster.observe(turned)
    assert seen.left_behind == f"Deployment {resource.key}"
    assert bench.deployment()["spec"]["replicas"] == 2
    itself = bench.change(resource, worker=None, targetRef={**DEPLOYMENT, "name": "killmail"})
    assert (await bench.cluster.observe(itself)).left_behind is None

    bench.scale_by_hand(0)
    gone = await until_gone(bench)
    bench.cluster.saw("MODIFIED", gone)
    assert (await bench.cluster.observe(turned, fresh=False)).left_behind is None


async def until_gone(bench: Bench) -> dict[str, Any]:
    """Return the Deployment once its controller has taken away all pods."""
    deadline = time.monotonic() + 60
    while (found := bench.deployment()).get("status", {}).get("replicas"):
        if time.monotonic() > deadline:
            pytest.fail("there are pods after 60 s")
        await asyncio.sleep(0.05)
    return found


async def test_the_number_is_only_written_on_the_target_as_it_was_observed(bench: Bench) -> None:
    add_target(bench, "deployments", workload(replicas=2))
    resource = scaled_by(bench, DEPLOYMENT)
    seen = await bench.cluster.observe(resource)
    bench.scale_by_hand(5, "mine")

    with pytest.raises(ConflictError):
        await bench.cluster.scale(resource, seen, replicas=1)

    assert (await bench.cluster.observe(resource)).replicas == 5


async def test_a_stateful_set_loses_its_highest_ordinal_first(bench: Bench) -> None:
    add_target(
        bench, "statefulsets", {**workload(replicas=1), "spec": {**workload(replicas=1)["spec"], "serviceName": ""}}
    )
    resource = scaled_by(bench, STATEFUL_SET)

    seen = await observed_until(
        bench, resource, lambda seen: seen.pods and seen.pod_problem and seen.rollout_complete is not None
    )

    assert seen.ordinal
    assert [pod.name for pod in seen.pods or ()] == ["mine-0"]
    assert seen.pod_problem is not None
    assert seen.pod_problem.reason is ConditionReason.PENDING
    assert seen.rollout_complete
    await scale(bench, resource, 0)
    assert (await bench.cluster.observe(resource)).replicas == 0


async def test_any_kind_with_a_scale_subresource_is_scaled(
    bench: Bench, control_plane: ControlPlane, fleets: str
) -> None:
    path = f"{fleets}/namespaces/{bench.namespace}/fleets"
    bench.api.create(
        path, {"apiVersion": f"{GROUP}/v1", "kind": "Fleet", "metadata": {"name": "mine"}, "spec": {"ships": 4}}
    )
    resource = scaled_by(bench, FLEET)

    refused = await bench.cluster.observe(resource)
    assert refused.target_problem is not None
    assert refused.target_problem.reason is ConditionReason.CLUSTER_DENIED
    assert "add it to rbac.extraScaleTargets" in refused.target_problem.message

    more = [*RULES, {"apiGroups": [GROUP], "resources": ["fleets/scale"], "verbs": ["get", "patch"]}]
    kubeconfig = control_plane.service_account_kubeconfig(bench.namespace, "more", [], namespaced_rules=more)
    bench.others.append(bench.cluster)
    bench.cluster = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig)))
    seen = await bench.cluster.observe(resource)
    assert (seen.ownership, seen.replicas, seen.present, seen.pods) == (Ownership.TARGET, 4, 0, None)
    assert (seen.selector, seen.rollout_complete, seen.target_problem) == ("", True, None)

    status = {"ships": 1, "selector": "app=mine"}
    bench.api.patch(f"{path}/mine/status", {"status": status})
    await scale(bench, resource, 6)
    assert bench.api.get(f"{path}/mine")["spec"] == {"ships": 6}
    seen = await bench.cluster.observe(resource)
    assert (seen.replicas, seen.present, seen.selector, seen.pods) == (6, 1, "app=mine", ())


async def test_what_cannot_be_scaled_says_why(bench: Bench, fleets: str) -> None:
    sayings = {
        "absent": (DEPLOYMENT, f"there is no Deployment {bench.namespace}/mine of apps/v1: create it, or name"),
        "unknown": ({**DEPLOYMENT, "kind": "Deplyment"}, "the API server has no Deplyment of apps/v1"),
        "group": ({**DEPLOYMENT, "apiVersion": "none.example.com/v1"}, "has no Deployment of none.example.com/v1"),
        "hull": (HULL, f"Hull {bench.namespace}/mine has no scale subresource"),
        "core": ({"apiVersion": "v1", "kind": "Secret", "name": "mine"}, "has no scale subresource"),
    }
    for name, (target, said) in sayings.items():
        resource = scaled_by(bench, target, name)
        seen = await bench.cluster.observe(resource)
        assert seen.ownership is Ownership.TARGET
        assert seen.target_problem is not None, name
        assert said in seen.target_problem.message
        assert seen.target_problem.reason is ConditionReason.TARGET_NOT_FOUND
        with pytest.raises(ConflictError):
            await bench.cluster.scale(resource, seen, replicas=1)


async def test_a_target_that_comes_is_found_by_the_next_fresh_look(bench: Bench) -> None:
    resource = scaled_by(bench, DEPLOYMENT)
    assert (await bench.cluster.observe(resource)).target_problem is not None
    add_target(bench, "deployments", workload(replicas=2))

    assert (await bench.cluster.observe(resource)).replicas == 2
    bench.requests.sent.clear()
    assert (await bench.cluster.observe(resource, fresh=False)).replicas == 2
    assert bench.requests.sent == []


async def test_nothing_is_made_for_a_target(bench: Bench) -> None:
    resource = scaled_by(bench, DEPLOYMENT)
    with pytest.raises(ClusterError, match=r"has no spec\.worker"):
        await bench.cluster.create(resource, secrets={}, replicas=1)
