"""The Kubernetes adapter on a real API server: Secrets, status, events, and what keeps pods from being ready."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from adapter_bench import NOWHERE, RULES, Bench, deployment_path, open_bench

from controlplane import ControlPlane
from queueworker_operator.api.reasons import ConditionReason, ConditionType, ScalingReason
from queueworker_operator.api.v1alpha1 import Condition, QueueWorkerStatus, Scaling, Vote
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, GoneError
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation

Eventually = Callable[..., Any]
LABEL = {"queueworker.dev/redis-credentials": "true"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def bench(control_plane: ControlPlane, namespace: str, crd: str) -> AsyncIterator[Bench]:
    async with open_bench(control_plane, namespace=namespace, crd=crd) as opened:
        yield opened


async def test_a_labelled_secret_is_read(bench: Bench) -> None:
    stored = bench.secret({"password": "hunter2"}, labels=LABEL)

    secret = await bench.cluster.secret(bench.namespace, "redis")

    assert (secret.name, secret.uid, secret.data) == ("redis", stored["metadata"]["uid"], {"password": b"hunter2"})


async def test_a_secret_without_the_label_is_refused_with_the_command_that_allows_it(
    bench: Bench, control_plane: ControlPlane
) -> None:
    bench.secret({"password": "hunter2"}, labels={"queueworker.dev/redis-credentials": "false"})
    with pytest.raises(ClusterError) as refused:
        await bench.cluster.secret(bench.namespace, "redis")
    assert refused.value.reason is ConditionReason.SECRET_NOT_ALLOWED
    assert "hunter2" not in str(refused.value)

    command = shlex.split(str(refused.value).partition("kubectl ")[2])
    control_plane.kubectl(*command, "--overwrite")

    assert (await bench.cluster.secret(bench.namespace, "redis")).data == {"password": b"hunter2"}


async def test_a_secret_that_is_not_there_is_named(bench: Bench) -> None:
    with pytest.raises(ClusterError, match=f"no Secret {bench.namespace}/redis") as refused:
        await bench.cluster.secret(bench.namespace, "redis")

    assert refused.value.reason is ConditionReason.SECRET_NOT_FOUND


async def test_a_right_that_is_missing_is_named(bench: Bench, control_plane: ControlPlane) -> None:
    rules = [rule for rule in RULES if rule["resources"] not in (["secrets"], ["pods"])]
    kubeconfig = control_plane.service_account_kubeconfig(bench.namespace, "less", [], namespaced_rules=rules)
    less = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig)))
    bench.others.append(less)

    with pytest.raises(ClusterError, match='cannot get resource "secrets"') as refused:
        await less.secret(bench.namespace, "redis")
    assert refused.value.reason is ConditionReason.CLUSTER_DENIED

    resource = bench.add()
    await less.create(resource, secrets={}, replicas=1)
    problem = (await less.observe(resource)).pod_problem
    assert problem is not None
    assert problem.reason is ConditionReason.CLUSTER_DENIED
    assert 'cannot list resource "pods"' in problem.message


async def test_credentials_that_nobody_knows_are_a_denial(control_plane: ControlPlane, bench: Bench) -> None:
    text = control_plane.kubeconfig.read_text().replace(control_plane.access.token, "wrong-token")
    kubeconfig = control_plane.directory / f"{bench.namespace}-wrong.kubeconfig"
    kubeconfig.write_text(text)
    stranger = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig)))
    bench.others.append(stranger)

    with pytest.raises(ClusterError, match="credentials are not accepted") as refused:
        await stranger.observe(bench.add())

    assert refused.value.reason is ConditionReason.CLUSTER_DENIED
    assert "wrong-token" not in str(refused.value)


async def test_the_status_is_what_was_last_written(bench: Bench) -> None:
    resource = bench.add()
    await bench.cluster.write_status(resource, status_of(votes=[Vote(queue="killmail", rule="backlog", replicas=3)]))
    first = bench.read().status
    assert first is not None
    assert first.conditions == [condition("False")]
    assert first.scaling is not None
    assert first.scaling.votes == [Vote(queue="killmail", rule="backlog", replicas=3)]

    later = status_of(status="True")
    await bench.cluster.write_status(resource, later)

    assert bench.read().status == later, "what is no longer said must go"
    document = bench.api.get(f"{bench.queueworkers}/killmail")
    assert document["metadata"]["generation"] == resource.generation

    await bench.cluster.write_status(resource, later)
    again = bench.api.get(f"{bench.queueworkers}/killmail")
    assert again["metadata"]["resourceVersion"] == document["metadata"]["resourceVersion"]


async def test_the_status_of_a_queueworker_that_was_replaced_or_is_gone_is_not_written(bench: Bench) -> None:
    resource = bench.add()

    with pytest.raises(GoneError):
        await bench.cluster.write_status(dataclasses.replace(resource, uid="another"), status_of())
    bench.api.delete(f"{bench.queueworkers}/killmail")
    with pytest.raises(GoneError):
        await bench.cluster.write_status(resource, status_of())


async def test_events_show_in_describe(bench: Bench, control_plane: ControlPlane) -> None:
    resource = bench.add()
    await bench.cluster.publish(resource, kind="Normal", reason="ScaledUp", message="from 0 to 4: é" + "x" * 2000)
    await bench.cluster.publish(resource, kind="Warning", reason="SecretNotFound", message="no Secret")

    described = control_plane.kubectl("describe", "queueworker", "-n", bench.namespace, "killmail").stdout

    events = described.partition("Events:")[2]
    assert "ScaledUp" in events
    assert "from 0 to 4: é" in events
    assert "SecretNotFound" in events
    assert "queueworker-operator" in events


async def test_a_pod_that_no_node_takes_says_so(bench: Bench, eventually: Eventually) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=1)
    eventually(lambda: scheduling_of(bench), what="the scheduler's word on the pod")

    observed = await bench.cluster.observe(resource)

    assert (observed.replicas, observed.ready) == (1, 0)
    assert observed.pod_problem is not None
    assert observed.pod_problem.reason is ConditionReason.PENDING
    assert "Unschedulable" in observed.pod_problem.message
    assert "pod killmail-" in observed.pod_problem.message


async def test_pods_are_not_listed_while_none_is_missing(bench: Bench, eventually: Eventually) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=0)
    eventually(lambda: bench.deployment().get("status", {}).get("observedGeneration"), what="the controller's status")

    observed = await bench.cluster.observe(resource)

    assert observed.rollout_complete
    assert not [path for _, path in bench.requests.sent if path.endswith("/pods")]


async def test_a_quota_that_is_used_up_is_the_rollouts_problem(bench: Bench, eventually: Eventually) -> None:
    bench.api.create(
        f"/api/v1/namespaces/{bench.namespace}/resourcequotas",
        {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}},
    )
    eventually(lambda: quota_is_counted(bench), what="the quota is in force")
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=3)

    observed = await eventually_observed(bench, lambda seen: seen.rollout_problem is not None)

    assert observed.ownership is Ownership.OURS
    assert observed.rollout_problem is not None
    assert observed.rollout_problem.reason is ConditionReason.QUOTA_EXCEEDED
    assert "exceeded quota: few" in observed.rollout_problem.message


async def test_a_pod_that_the_namespace_forbids_is_the_rollouts_problem(bench: Bench) -> None:
    privileged = {"securityContext": {"runAsNonRoot": False}, "hostNetwork": True, "nodeSelector": NOWHERE}
    resource = bench.add(worker_podTemplate={"spec": privileged})
    await bench.cluster.create(resource, secrets={}, replicas=1)

    observed = await eventually_observed(bench, lambda seen: seen.rollout_problem is not None)

    assert isinstance(observed.rollout_problem, Problem)
    assert observed.rollout_problem.reason is ConditionReason.CLUSTER_DENIED
    assert "violates PodSecurity" in observed.rollout_problem.message


async def test_our_own_pods_meet_the_restricted_level(bench: Bench, eventually: Eventually) -> None:
    """The namespace enforces it: the pods exist."""
    await bench.cluster.create(bench.add(), secrets={}, replicas=2)

    eventually(lambda: len(pods_of(bench)) == 2, what="both pods")


async def test_a_quota_on_deployments_refuses_the_creation(bench: Bench, eventually: Eventually) -> None:
    bench.api.create(
        f"/api/v1/namespaces/{bench.namespace}/resourcequotas",
        {"metadata": {"name": "none"}, "spec": {"hard": {"count/deployments.apps": "0"}}},
    )
    eventually(lambda: quota_is_counted(bench), what="the quota is in force")

    with pytest.raises(ClusterError, match="exceeded quota: none") as refused:
        await bench.cluster.create(bench.add(), secrets={}, replicas=1)

    assert refused.value.reason is ConditionReason.QUOTA_EXCEEDED


async def test_an_api_server_that_is_not_there_is_unavailable(bench: Bench, control_plane: ControlPlane) -> None:
    port = control_plane.ports.apiserver
    text = control_plane.kubeconfig.read_text().replace(f":{port}", ":1")
    kubeconfig = control_plane.directory / f"{bench.namespace}-nobody.kubeconfig"
    kubeconfig.write_text(text)
    nobody = KubernetesCluster(await Requests.connect(kubeconfig=str(kubeconfig)))
    bench.others.append(nobody)

    with pytest.raises(ClusterUnavailableError, match="cannot read the Deployment"):
        await nobody.observe(bench.add())


async def test_no_way_to_a_cluster_is_one_clear_error(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    with pytest.raises(ClusterError, match=r"no way to the cluster: .*; name a kubeconfig"):
        await Requests.connect()


def condition(status: Any) -> Condition:
    return Condition(
        type=ConditionType.READY,
        status=status,
        reason=ConditionReason.ROLLING_OUT,
        message="",
        last_transition_time=NOW,
        observed_generation=1,
    )


def status_of(*, status: str = "False", votes: list[Vote] | None = None) -> QueueWorkerStatus:
    scaling = Scaling(desired=3, reason=ScalingReason.BACKLOG_ABOVE_TARGET, message="3 for 30", votes=votes)
    return QueueWorkerStatus(observed_generation=1, replicas=0, scaling=scaling, conditions=[condition(status)])


def pods_of(bench: Bench) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = bench.api.get(f"/api/v1/namespaces/{bench.namespace}/pods")["items"]
    return items


def scheduling_of(bench: Bench) -> list[dict[str, Any]]:
    return [condition for pod in pods_of(bench) for condition in pod["status"].get("conditions", [])]


def quota_is_counted(bench: Bench) -> bool:
    quotas = bench.api.get(f"/api/v1/namespaces/{bench.namespace}/resourcequotas")["items"]
    return all("used" in quota.get("status", {}) for quota in quotas)


async def eventually_observed(bench: Bench, condition: Callable[[WorkersObservation], bool]) -> WorkersObservation:
    resource, deadline = bench.read(), time.monotonic() + 60
    while not condition(observed := await bench.cluster.observe(resource)):
        if time.monotonic() > deadline:
            status = bench.api.get(deployment_path(bench.namespace)).get("status")
            pytest.fail(f"not within 60 s: {observed}; {status}")
        await asyncio.sleep(0.05)
    return observed
