"""The Kubernetes adapter on a real API server: create, apply, scale, adopt and observe a Deployment."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from adapter_bench import (
    NOWHERE,
    Bench,
    deployment_path,
    environment_of,
    managers_of_replicas,
    open_bench,
)

from controlplane import ApiError, ControlPlane
from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.api.v1alpha1 import Memory, QueueWorkerStatus, Scaling
from queueworker_operator.cluster.port import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    GoneError,
    Resource,
    Secret,
)
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

Eventually = Callable[..., Any]


@pytest.fixture
async def bench(control_plane: ControlPlane, namespace: str, crd: str) -> AsyncIterator[Bench]:
    async with open_bench(control_plane, namespace=namespace, crd=crd) as opened:
        yield opened


async def test_nothing_is_there_before_the_first_apply(bench: Bench) -> None:
    observed = await bench.cluster.observe(bench.add())

    assert observed == WorkersObservation(ownership=Ownership.ABSENT, selector="queueworker.dev/queueworker=killmail")


async def test_replicas_stay_as_created_and_as_scaled_when_the_template_is_applied(bench: Bench) -> None:
    resource = bench.add()
    created = await bench.cluster.create(resource, secrets={}, replicas=4)
    assert (created.ownership, created.replicas) == (Ownership.OURS, 4)
    assert created.fingerprint == bench.cluster.fingerprint(resource, {})
    assert bench.requests.sent[0][0] == "POST", "the first request makes the Deployment"

    applied = await bench.cluster.apply(resource, created, secrets={})
    assert applied.replicas == 4

    await scale(bench, resource, 7)
    applied = await bench.cluster.apply(resource, await bench.cluster.observe(resource), secrets={})
    assert applied.replicas == 7
    assert {manager for manager, _ in managers_of_replicas(bench.deployment())} == {"queueworker-scale"}


async def test_applying_the_same_again_writes_nothing(bench: Bench) -> None:
    resource = bench.add()
    created = await bench.cluster.create(resource, secrets={}, replicas=0)

    for _ in range(20):
        before = bench.deployment()["metadata"]["resourceVersion"]
        applied = await bench.cluster.apply(resource, created, secrets={})
        assert applied.applied_fields == created.applied_fields
        if applied.resource_version == before:
            return
    pytest.fail("the Deployment changed with each of 20 applies; its controller writes its status but a few times")


RICH: dict[str, Any] = {
    "worker_healthPort": 8080,
    "worker_command": ["work"],
    "worker_args": ["--quiet"],
    "worker_resources": {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}},
    "worker_redisEnvPrefix": "REDIS_",
    "worker_env": [
        {"name": "PLAIN", "value": "1"},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ],
    "worker_podTemplate": {
        "metadata": {"labels": {"team": "a"}, "annotations": {"note": "x"}},
        "spec": {
            "nodeSelector": NOWHERE,
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "zone",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": {"team": "a"}},
                }
            ],
            "initContainers": [{"name": "first", "image": "registry.invalid/first:1"}],
            "containers": [
                {
                    "name": "worker",
                    "ports": [{"containerPort": 9090}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                    "workingDir": "/cache",
                }
            ],
        },
    },
}


@pytest.mark.parametrize("changes", [{}, RICH], ids=["plain", "rich"])
async def test_what_is_handed_over_is_what_an_apply_would_own(bench: Bench, changes: dict[str, Any]) -> None:
    resource = bench.add(**changes)
    created = await bench.cluster.create(resource, secrets={}, replicas=0)
    owned = owned_fields(bench.deployment())

    applied = await bench.cluster.apply(resource, created, secrets={})

    assert owned_fields(bench.deployment()) == owned
    assert applied.applied_fields == created.applied_fields


@pytest.mark.parametrize("changes", [{}, RICH], ids=["plain", "rich"])
async def test_a_hurried_creation_is_finished_by_the_next_apply(bench: Bench, changes: dict[str, Any]) -> None:
    resource = bench.add(**changes)
    created = await bench.cluster.create(resource, secrets={}, replicas=2, hurried=True)
    assert (created.replicas, created.fingerprint, created.applied_fields) == (2, None, None)

    finished = await bench.cluster.apply(resource, created, secrets={})
    owned = owned_fields(bench.deployment())
    again = await bench.cluster.apply(resource, finished, secrets={})

    assert finished.fingerprint == bench.cluster.fingerprint(resource, {})
    assert owned_fields(bench.deployment()) == owned
    assert again.applied_fields == finished.applied_fields
    assert again.replicas == 2


async def test_what_somebody_wrote_into_a_hurried_creation_is_put_right(bench: Bench) -> None:
    resource = bench.add()
    created = await bench.cluster.create(resource, secrets={}, replicas=0, hurried=True)
    containers = bench.deployment()["spec"]["template"]["spec"]["containers"]
    for variable in containers[0]["env"]:
        variable.update({"value": "huge"} if variable["name"] == "SIZE" else {})
    bench.api.patch(deployment_path(bench.namespace), {"spec": {"template": {"spec": {"containers": containers}}}})
    assert environment_of(bench.deployment())["SIZE"] == "huge"

    await bench.cluster.apply(resource, created, secrets={})

    assert environment_of(bench.deployment())["SIZE"] == "small"


def owned_fields(deployment: dict[str, Any]) -> Any:
    entries = deployment["metadata"]["managedFields"]
    [owned] = [entry["fieldsV1"] for entry in entries if entry["manager"] == "queueworker-operator"]
    return owned


async def test_what_leaves_the_spec_leaves_the_deployment(bench: Bench) -> None:
    created = await bench.cluster.create(bench.add(), secrets={}, replicas=0)
    assert environment_of(bench.deployment())["SIZE"] == "small"

    changed = bench.change(bench.read(), worker_env=[{"name": "COLOUR", "value": "blue"}])
    applied = await bench.cluster.apply(changed, created, secrets={})

    environment = environment_of(bench.deployment())
    assert environment["COLOUR"] == "blue"
    assert "SIZE" not in environment
    assert applied.fingerprint == bench.cluster.fingerprint(changed, {}) != created.fingerprint


async def test_what_leaves_the_spec_leaves_a_deployment_whose_creation_was_cut_short(bench: Bench) -> None:
    resource = bench.add()
    whole = await bench.cluster.create(resource, secrets={}, replicas=0)
    body = bench.deployment()
    bench.api.delete(deployment_path(bench.namespace))
    kept = {key: body["metadata"][key] for key in ("name", "labels", "annotations", "ownerReferences")}
    bench.api.create(
        deployment_path(bench.namespace).rpartition("/")[0] + "?fieldManager=queueworker-scale",
        {"metadata": kept, "spec": body["spec"]},
    )

    observed = await bench.cluster.observe(resource)
    assert observed.ownership is Ownership.OURS
    assert observed.uid != whole.uid
    assert observed.fingerprint is None, "a template that nobody applied must be applied"

    changed = bench.change(resource, worker_env=[])
    await bench.cluster.apply(changed, observed, secrets={})

    assert set(environment_of(bench.deployment())) & {"COLOUR", "SIZE"} == set()


async def test_the_contract_stays_first_when_it_grows(bench: Bench) -> None:
    created = await bench.cluster.create(bench.add(), secrets={}, replicas=0)

    grown = bench.change(
        bench.read(), worker_healthPort=8080, worker_env=[{"name": "ME", "value": "$(QUEUEWORKER_NAME)"}]
    )
    await bench.cluster.apply(grown, created, secrets={})

    names = list(environment_of(bench.deployment()))
    assert names.index("QUEUEWORKER_HEALTH_PORT") < names.index("ME")
    assert names[-1] == "ME"


async def test_another_renderer_finds_the_same_fingerprint(bench: Bench) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=2)
    newer = await bench.other(renderer_revision=99)

    observed = await newer.observe(resource)

    assert observed.fingerprint == newer.fingerprint(resource, {})
    assert not observed.drifted
    assert bench.deployment()["metadata"]["annotations"]["queueworker.dev/renderer-revision"] != "99"


async def test_a_foreign_deployment_is_left_alone(bench: Bench) -> None:
    foreign = bench.api.create(
        deployment_path(bench.namespace).rpartition("/")[0], plain_deployment(labels={"app": "x"})
    )
    resource = bench.add()

    observed = await bench.cluster.observe(resource)
    assert observed.ownership is Ownership.FOREIGN
    with pytest.raises(ClusterError) as refused:
        await bench.cluster.apply(resource, observed, secrets={})

    assert refused.value.reason is ConditionReason.NAME_CONFLICT
    with pytest.raises(ConflictError):
        await bench.cluster.create(resource, secrets={}, replicas=1)
    assert bench.deployment()["metadata"]["generation"] == foreign["metadata"]["generation"]


async def test_an_orphan_with_our_label_is_adopted(bench: Bench) -> None:
    bench.api.create(deployment_path(bench.namespace).rpartition("/")[0], plain_deployment(labels=ours(), replicas=3))
    resource = bench.add()

    observed = await bench.cluster.observe(resource)
    assert observed.ownership is Ownership.ADOPTABLE
    adopted = await bench.cluster.apply(resource, observed, secrets={})

    assert (adopted.ownership, adopted.replicas) == (Ownership.OURS, 3)
    [reference] = bench.deployment()["metadata"]["ownerReferences"]
    assert (reference["uid"], reference["controller"], reference["blockOwnerDeletion"]) == (resource.uid, True, False)


async def test_a_deployment_of_an_earlier_queueworker_is_waited_for(bench: Bench) -> None:
    earlier = bench.add()
    await bench.cluster.create(earlier, secrets={}, replicas=0)

    later = dataclasses.replace(earlier, uid="00000000-0000-4000-8000-000000000000")

    assert (await bench.cluster.observe(later)).ownership is Ownership.TERMINATING


async def test_nothing_is_made_again_for_a_queueworker_that_is_gone(bench: Bench) -> None:
    resource = bench.add()
    await bench.cluster.create(resource, secrets={}, replicas=0)
    bench.api.delete(f"{bench.queueworkers}/killmail")
    with contextlib.suppress(ApiError):
        # The garbage collector may have been faster.
        bench.api.delete(deployment_path(bench.namespace))

    with pytest.raises(GoneError):
        await bench.cluster.create(resource, secrets={}, replicas=1)
    with pytest.raises(ApiError, match="404"):
        bench.deployment()


async def test_a_queueworker_that_is_not_new_is_looked_for_before_anything_is_made(bench: Bench) -> None:
    resource = dataclasses.replace(bench.add(), created_at=0.0)

    with pytest.raises(GoneError):
        await bench.cluster.create(dataclasses.replace(resource, uid="another"), secrets={}, replicas=1)
    with pytest.raises(ApiError, match="404"):
        bench.deployment()
    await bench.cluster.create(resource, secrets={}, replicas=1)
    assert bench.deployment()["spec"]["replicas"] == 1


async def test_what_is_made_for_a_queueworker_that_is_just_gone_is_collected(
    bench: Bench, eventually: Eventually
) -> None:
    resource = bench.add()
    bench.api.delete(f"{bench.queueworkers}/killmail")

    with contextlib.suppress(ConflictError):
        # It may be collected between the two requests of a creation.
        await bench.cluster.create(resource, secrets={}, replicas=0)

    collection = deployment_path(bench.namespace).rpartition("/")[0]
    eventually(lambda: not bench.api.get(collection)["items"], what="the Deployment is collected")
    with pytest.raises(GoneError):
        await bench.cluster.create(resource, secrets={}, replicas=0)


async def test_apply_does_not_make_a_deployment_that_is_gone(bench: Bench) -> None:
    resource = bench.add()
    created = await bench.cluster.create(resource, secrets={}, replicas=0)
    bench.api.delete(deployment_path(bench.namespace))

    with pytest.raises(ConflictError):
        await bench.cluster.apply(resource, created, secrets={})
    with pytest.raises(ApiError, match="404"):
        bench.deployment()


async def test_scale_refuses_a_deployment_that_changed_since(bench: Bench) -> None:
    resource = bench.add()
    created = await bench.cluster.create(resource, secrets={}, replicas=2)
    bench.scale_by_hand(5)

    with pytest.raises(ConflictError):
        await bench.cluster.scale(resource, created, replicas=1)

    assert bench.deployment()["spec"]["replicas"] == 5


@pytest.mark.parametrize(
    ("pod_spec", "said"),
    [
        ({"tolerations": "all"}, "tolerations"),
        ({"hostnames": ["a"]}, 'unknown field "spec.template.spec.hostnames"'),
        ({"nodeSelector": {"-": "x"}}, "spec.template.spec.nodeSelector: Invalid value"),
        ({"containers": [{"name": "sidecar"}]}, "spec.template.spec.containers[1].image: Required value"),
        ({"containers": "none"}, "spec.containers must be a list"),
    ],
)
async def test_a_bad_pod_template_is_refused_in_the_servers_words(
    bench: Bench, pod_spec: dict[str, Any], said: str
) -> None:
    with pytest.raises(ClusterError) as refused:
        await bench.cluster.create(bench.add(worker_podTemplate={"spec": pod_spec}), secrets={}, replicas=1)

    assert refused.value.reason is ConditionReason.SPEC_INVALID
    assert said in str(refused.value)
    assert (await bench.cluster.observe(bench.read())).ownership is Ownership.ABSENT


@pytest.mark.parametrize(
    ("pod_spec", "said"),
    [
        ({"tolerations": "all"}, "tolerations"),
        ({"hostnames": ["a"]}, "hostnames"),
        ({"nodeSelector": {"-": "x"}}, "spec.template.spec.nodeSelector: Invalid value"),
    ],
)
async def test_a_pod_template_that_turns_bad_is_refused_too(bench: Bench, pod_spec: dict[str, Any], said: str) -> None:
    created = await bench.cluster.create(bench.add(), secrets={}, replicas=1)
    changed = bench.change(bench.read(), worker_podTemplate={"spec": pod_spec})

    with pytest.raises(ClusterError) as refused:
        await bench.cluster.apply(changed, created, secrets={})

    assert not isinstance(refused.value, ClusterUnavailableError)
    assert refused.value.reason is ConditionReason.SPEC_INVALID
    assert said in str(refused.value)


async def test_drift_is_a_foreign_change_of_what_was_applied(bench: Bench, control_plane: ControlPlane) -> None:
    resource = bench.add()
    created = await bench.cluster.create(resource, secrets={}, replicas=1)
    resource = remembering(resource, created)

    await scale(bench, resource, 2)
    bench.scale_by_hand(3)
    path = deployment_path(bench.namespace)
    bench.api.patch(path, {"metadata": {"annotations": {"example.com/note": "seen"}}})
    control_plane.kubectl("rollout", "restart", "-n", bench.namespace, "deployment/killmail")
    assert not (await bench.cluster.observe(resource)).drifted

    control_plane.kubectl(
        "set", "image", "-n", bench.namespace, "deployment/killmail", "worker=registry.invalid/evil:2"
    )
    observed = await bench.cluster.observe(resource)
    assert observed.drifted

    corrected = await bench.cluster.apply(resource, observed, secrets={})
    assert not corrected.drifted
    assert not (await bench.cluster.observe(remembering(resource, corrected))).drifted
    template = bench.deployment()["spec"]["template"]
    container = template["spec"]["containers"][0]
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert (container["image"], corrected.replicas) == ("registry.invalid/worker:1", 3)


async def test_the_garbage_collector_takes_the_workers_of_a_deleted_queueworker(
    bench: Bench, eventually: Eventually
) -> None:
    await bench.cluster.create(bench.add(), secrets={}, replicas=1)

    bench.api.delete(f"{bench.queueworkers}/killmail")

    collection = deployment_path(bench.namespace).rpartition("/")[0]
    # The collector looks for kinds that it does not know yet every 30 s, and the CRD may be that new.
    eventually(lambda: not bench.api.get(collection)["items"], what="the Deployment is collected")


async def test_a_changed_password_changes_fingerprint_and_pods(bench: Bench) -> None:
    resource = bench.add(
        redis={"host": "redis", "auth": {"passwordSecretRef": {"name": "redis", "key": "password"}}},
    )
    bench.secret({"password": "old-secret", "other": "1"}, labels={"queueworker.dev/redis-credentials": "true"})
    before = {"redis": await bench.cluster.secret(bench.namespace, "redis")}
    created = await bench.cluster.create(resource, secrets=before, replicas=0)
    annotations = bench.deployment()["spec"]["template"]["metadata"]["annotations"]

    secret_path = f"/api/v1/namespaces/{bench.namespace}/secrets/redis"
    bench.api.patch(secret_path, {"stringData": {"other": "2"}})
    same = {"redis": await bench.cluster.secret(bench.namespace, "redis")}
    assert bench.cluster.fingerprint(resource, same) == created.fingerprint

    bench.api.patch(secret_path, {"stringData": {"password": "new-secret"}})
    after = {"redis": await bench.cluster.secret(bench.namespace, "redis")}
    applied = await bench.cluster.apply(resource, created, secrets=after)

    deployment = bench.deployment()
    assert applied.fingerprint != created.fingerprint
    assert deployment["spec"]["template"]["metadata"]["annotations"] != annotations
    assert "secret" not in str(deployment["spec"]["template"]["metadata"]["annotations"].values())


def test_a_secret_is_not_shown_in_its_representation() -> None:
    assert "hunter2" not in repr(Secret(name="redis", uid="u", data={"password": b"hunter2"}))


async def scale(bench: Bench, resource: Resource, replicas: int) -> None:
    """Scale as the reconciler does: look again when the controller wrote the status in between."""
    for _ in range(20):
        try:
            await bench.cluster.scale(resource, await bench.cluster.observe(resource), replicas=replicas)
        except ConflictError:
            continue
        return
    pytest.fail("20 conflicts in a row")


def remembering(resource: Resource, observed: WorkersObservation) -> Resource:
    memory = Memory(applied_fields=observed.applied_fields)
    scaling = Scaling(desired=1, reason=ScalingReason.FIXED_REPLICAS, message="", memory=memory)
    return dataclasses.replace(resource, status=QueueWorkerStatus(scaling=scaling))


def ours() -> dict[str, str]:
    return {"queueworker.dev/queueworker": "killmail"}


def plain_deployment(*, labels: dict[str, str], replicas: int = 1) -> dict[str, Any]:
    return {
        "metadata": {"name": "killmail", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": NOWHERE,
                    "containers": [{"name": "worker", "image": "registry.invalid/old:1"}],
                },
            },
        },
    }
