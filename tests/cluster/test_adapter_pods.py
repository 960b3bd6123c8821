"""The Kubernetes adapter and pods: every state of a pod, who goes first, and more of them than a page holds."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from adapter_bench import RULES, Bench, open_bench
from processnode import ProcessNode

from controlplane import ControlPlane
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.port import ClusterError, ConflictError, Resource
from queueworker_operator.scaling.observation import Pod, WorkersObservation

Eventually = Callable[..., Any]
SLEEP = ["/bin/sleep", "600"]
MANY = 120


@pytest.fixture
async def bench(control_plane: ControlPlane, namespace: str, crd: str) -> AsyncIterator[Bench]:
    async with open_bench(control_plane, namespace=namespace, crd=crd) as opened:
        yield opened


async def observed_until(
    bench: Bench, resource: Resource, done: Callable[[WorkersObservation], object], *, within: float = 60
) -> WorkersObservation:
    deadline = time.monotonic() + within
    while True:
        seen = await bench.cluster.observe(resource, pods=True)
        if done(seen):
            return seen
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s; last: {seen}")
        await asyncio.sleep(0.1)


def all_ready(count: int) -> Callable[[WorkersObservation], bool]:
    return lambda seen: [pod.ready for pod in seen.pods or ()] == [True] * count


def standing(seen: WorkersObservation) -> list[Pod]:
    return [pod for pod in seen.pods or () if not pod.terminating]


async def test_a_pod_tells_when_it_came_got_its_node_and_was_ready(bench: Bench, process_node: ProcessNode) -> None:
    before = int(time.time())
    resource = bench.add(worker_podTemplate={}, worker_command=SLEEP)
    await bench.cluster.create(resource, secrets={}, replicas=1)

    seen = await observed_until(bench, resource, all_ready(1))

    [pod] = seen.pods or ()
    assert pod.name.startswith("killmail-")
    assert pod.scheduled_at is not None
    assert pod.ready_at is not None
    assert before <= pod.created_at <= pod.scheduled_at <= pod.ready_at <= time.time()
    assert (pod.terminating, pod.problem, pod.deletion_cost) == (False, None, None)
    assert seen.pod_problem is None


async def test_a_pod_that_ends_is_listed_as_terminating(bench: Bench, process_node: ProcessNode) -> None:
    stubborn = ["/bin/sh", "-c", "trap '' TERM; touch /tmp/deaf; while true; do sleep 1; done"]
    deaf = {"exec": {"command": ["/usr/bin/test", "-e", "/tmp/deaf"]}, "periodSeconds": 1}
    template = {"spec": {"containers": [{"name": "worker", "readinessProbe": deaf}]}}
    resource = bench.add(worker_podTemplate=template, worker_command=stubborn)
    await bench.cluster.create(resource, secrets={}, replicas=1)
    ready = await observed_until(bench, resource, all_ready(1))
    bench.scale_by_hand(0)

    seen = await observed_until(bench, resource, lambda seen: seen.present == 0 and not standing(seen))

    assert [(pod.name, pod.terminating) for pod in seen.pods or ()] == [(pod.name, True) for pod in ready.pods or ()]


async def test_a_crash_loop_is_a_problem_and_a_pod_without_a_node_is_not(
    bench: Bench, process_node: ProcessNode
) -> None:
    crashing = bench.add("crashing", worker_podTemplate={}, worker_command=["/bin/false"])
    waiting = bench.add("waiting")
    for resource in (crashing, waiting):
        await bench.cluster.create(resource, secrets={}, replicas=1)

    # Once is told and is no crash loop yet. Between its ends it runs for a moment, and is ready.
    crashed = await observed_until(
        bench, crashing, lambda seen: [pod for pod in seen.pods or () if pod.problem and not pod.ready]
    )
    [pod] = crashed.pods or ()
    assert crashed.pod_problem is not None
    assert pod.problem == crashed.pod_problem
    assert pod.problem.reason is ConditionReason.WORKERS_NOT_READY
    assert "ended with exit code 1" in pod.problem.message
    assert pod.scheduled_at is not None

    waits = await observed_until(bench, waiting, lambda seen: seen.pod_problem)
    [pod] = waits.pods or ()
    assert (pod.problem, pod.scheduled_at, pod.ready) == (None, None, False)
    assert waits.pod_problem is not None
    assert waits.pod_problem.reason is ConditionReason.PENDING
    assert "Unschedulable" in waits.pod_problem.message


async def test_the_pod_with_a_deletion_cost_goes_first(bench: Bench, process_node: ProcessNode) -> None:
    resource = bench.add(worker_podTemplate={}, worker_command=SLEEP)
    await bench.cluster.create(resource, secrets={}, replicas=4)
    four = await observed_until(bench, resource, all_ready(4))
    names = [pod.name for pod in four.pods or ()]

    await bench.cluster.set_deletion_costs(resource, {names[0]: -100, names[1]: -100, "gone": -100})
    assert {pod.name: pod.deletion_cost for pod in (await bench.cluster.observe(resource, pods=True)).pods or ()} == {
        names[0]: -100,
        names[1]: -100,
        names[2]: None,
        names[3]: None,
    }
    await bench.cluster.set_deletion_costs(resource, {names[0]: None})
    await scale(bench, resource, 3)

    three = await observed_until(bench, resource, lambda seen: len(standing(seen)) == 3)
    assert {pod.name: pod.deletion_cost for pod in standing(three)} == dict.fromkeys([names[0], *names[2:]])


async def test_a_right_that_lacks_for_the_cost_is_named_with_its_remedy(
    bench: Bench, control_plane: ControlPlane, eventually: Eventually
) -> None:
    rules = [{**rule, "verbs": ["list"]} if rule["resources"] == ["pods"] else rule for rule in RULES]
    kubeconfig = control_plane.service_account_kubeconfig(bench.namespace, "less", [], namespaced_rules=rules)
    less = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig)))
    bench.others.append(less)
    resource = bench.add()
    await less.create(resource, secrets={}, replicas=1)
    pods = f"/api/v1/namespaces/{bench.namespace}/pods"
    [pod] = eventually(lambda: bench.api.get(pods)["items"], what="the pod")

    with pytest.raises(ClusterError, match="grant the operator the verb patch on pods") as refused:
        await less.set_deletion_costs(resource, {pod["metadata"]["name"]: -100})

    assert refused.value.reason is ConditionReason.CLUSTER_DENIED


async def test_more_pods_than_a_page_holds_are_all_listed(
    bench: Bench, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queueworker_operator.cluster.kubernetes.requests.PAGE", 50)
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=0)
    admin = await Requests.connect(kubeconfig=str(control_plane.kubeconfig))
    bench.others.append(KubernetesCluster(admin))
    path = f"/api/v1/namespaces/{bench.namespace}/pods"

    async def add(numbers: range) -> None:
        for number in numbers:
            await admin.send("POST", path, attempt="add a pod", body=fake_pod(f"killmail-{number:04}"))

    await asyncio.gather(*(add(range(first, MANY, 20)) for first in range(20)))
    bench.requests.sent.clear()

    seen = await bench.cluster.observe(resource, pods=True)

    assert [pod.name for pod in sorted(seen.pods or (), key=lambda pod: pod.name)] == [
        f"killmail-{number:04}" for number in range(MANY)
    ]
    assert bench.requests.sent.count(("GET", path)) == 3


async def scale(bench: Bench, resource: Resource, replicas: int) -> None:
    """Scale as the reconciler does: look again when the controller wrote the status in between."""
    for _ in range(20):
        with contextlib.suppress(ConflictError):
            return await bench.cluster.scale(resource, await bench.cluster.observe(resource), replicas=replicas)
    pytest.fail("20 conflicts in a row")


def fake_pod(name: str) -> dict[str, Any]:
    """A pod that no scheduler takes on."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "worker", "image": "registry.invalid/worker:1", "securityContext": security}
    return {
        "metadata": {"name": name, "labels": {"queueworker.dev/queueworker": "killmail"}},
        "spec": {"schedulerName": "nobody", "automountServiceAccountToken": False, "containers": [container]},
    }
