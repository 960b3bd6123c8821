"""The operator's rights and what it does, compared by the audit log of the API server: none too few, none too many."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from acceptance import ROOT, OperatorProcess, Story, eventually, queueworker, rbac_rules, running_operator

import controlplane
from controlplane import ControlPlane
from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings
from queueworker_operator.cluster.kubernetes import KubernetesCluster, Requests
from queueworker_operator.cluster.resource import resource_of

pytestmark = pytest.mark.long

NAMESPACE = "audited"
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": [f"system:serviceaccounts:{NAMESPACE}"]}, {"level": "None"}],
}
Right = tuple[str, str, str]


@pytest.fixture
def audit_log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


@pytest.fixture
def audited_plane(tmp_path: Path, audit_log: Path) -> Iterator[ControlPlane]:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(POLICY))
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={audit_log}")
    with ControlPlane.start(controlplane.build(), apiserver_flags=flags) as plane:
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds/queueworkers.yaml"))
        plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/queueworkers.queueworker.dev")
        plane.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield plane


def granted() -> set[Right]:
    return {
        (group, resource, verb)
        for rule in rbac_rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def requests(log: Path) -> list[tuple[Right, int]]:
    """Every request for a resource that the operator made, and how it was answered."""
    found = []
    for event in map(json.loads, log.read_text().splitlines()):
        reference = event.get("objectRef", {})
        if "resource" in reference:
            resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
            found.append(((reference.get("apiGroup", ""), resource, event["verb"]), event["responseStatus"]["code"]))
    return found


ROLLOUTS = "rollouts.argoproj.io"
SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}
TARGETS = {
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "Rollout": ("argoproj.io/v1alpha1", "rollouts"),
}


def add_rollouts(plane: ControlPlane) -> None:
    """As much of Argo's CRD as a scale subresource needs."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    served = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    version = {**served, "subresources": {"status": {}, "scale": SCALE}}
    names = {"kind": "Rollout", "plural": "rollouts", "singular": "rollout"}
    spec = {"group": "argoproj.io", "names": names, "scope": "Namespaced", "versions": [version]}
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    plane.api.create(path, {"metadata": {"name": ROLLOUTS}, "spec": spec})
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{ROLLOUTS}")


def add_targets(story: Story) -> None:
    """One object of each kind that a targetRef may name, with no replicas, and a QueueWorker that asks for two."""
    for kind, (version, _) in TARGETS.items():
        name = kind.lower()
        labels = {"app": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "localhost/x:1"}]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        target = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}
        document = queueworker(name, story.settings, replicas=2, queues=[{"name": name}])
        document["spec"] |= {"targetRef": {"apiVersion": version, "kind": kind, "name": name}}
        del document["spec"]["worker"]
        for body in (target, document):
            story.kubectl("apply", "-f", "-", stdin=json.dumps(body))


def target_replicas(story: Story) -> dict[str, int]:
    return {
        kind: json.loads(story.kubectl("get", plural, kind.lower(), "-o", "json"))["spec"]["replicas"]
        for kind, (_, plural) in TARGETS.items()
    }


async def choose_victim(operator: OperatorProcess, story: Story) -> None:
    """By the adapter itself: on a cluster without a node no pod is known to be idle."""
    cluster = KubernetesCluster(await Requests.connect(kubeconfig=str(operator.kubeconfig)))
    try:
        resource = resource_of(story.get())
        observed = await cluster.observe(resource, pods=True)
        victim = (observed.pods or ())[0].name
        await cluster.set_deletion_costs(resource, {victim: -100})
        assert [pod.deletion_cost for pod in (await cluster.observe(resource, pods=True)).pods or ()].count(-100) == 1
    finally:
        await cluster.close()


async def test_what_is_granted_is_used_and_what_is_used_is_granted(audited_plane, audit_log, own_valkey):
    server = own_valkey()
    with redis.Redis(host=server.host, port=server.port) as client:
        client.config_set("requirepass", "canary-1")
    settings = ConnectionSettings(host=server.host, port=server.port, password="canary-1")
    story = Story(audited_plane, NAMESPACE, "rights", settings)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis"},
        "stringData": {"password": "canary-1"},
    }
    secret["metadata"]["labels"] = {"queueworker.dev/redis-credentials": "true"}
    audited_plane.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=json.dumps(secret))
    connection = {
        "host": server.host,
        "port": server.port,
        "auth": {"passwordSecretRef": {"name": "redis", "key": "password"}},
    }

    with running_operator(audited_plane, NAMESPACE) as operator:
        story.apply(redis=connection)
        eventually(lambda: story.condition("Ready").get("status") == "True", what="Ready", state=story.status)
        async with Queue("story", settings) as queue:
            await queue.enqueue_many([Job.create("sleep", {"milliseconds": 1}) for _ in range(300)])
        # No node takes the pods, which is worth a look at them.
        eventually(
            lambda: "Unschedulable" in story.condition("WorkersAvailable").get("message", ""),
            what="pods that no node takes",
            state=story.status,
        )
        await choose_victim(operator, story)
        add_rollouts(audited_plane)
        add_targets(story)
        eventually(
            lambda: set(target_replicas(story).values()) == {2},
            what="two replicas of each target",
            state=lambda: (target_replicas(story), story.kubectl("get", "qw")),
        )
        story.apply(redis=connection, worker={"drainTimeoutSeconds": 7})
        eventually(
            lambda: story.deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 22,
            what="the new template",
            state=story.status,
        )
        story.kubectl("delete", "deployment", story.name)
        eventually(lambda: story.deployment()["spec"]["replicas"] == 3, what="3 again", state=story.status)
        story.kubectl("delete", "qw", story.name, "--timeout=60s")
        audited_plane.kubectl("delete", "crd", "queueworkers.queueworker.dev")
        assert operator.ends() == 5
        said = operator.log.read_text()
        assert "error: the watches broke: " in said
    story.close()

    made = requests(audit_log)
    assert [request for request in made if request[1] in (401, 403)] == []
    used = {right for right, _ in made}
    assert sorted(granted() - used) == [], "granted and never used"
    assert sorted(used - granted()) == [], "used and not granted"
    assert "canary-1" not in said + audit_log.read_text()
