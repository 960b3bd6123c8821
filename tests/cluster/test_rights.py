"""The operator's rights and what it does, compared by the audit log of the API server: none too few, none too many."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from acceptance import ROOT, Story, eventually, rbac_rules, running_operator

import controlplane
from controlplane import ControlPlane
from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings

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
        plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd/queueworkers.queueworker.dev")
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
        eventually(
            lambda: story.condition("Ready").get("status") == "True", within=20, what="Ready", state=story.status
        )
        async with Queue("story", settings) as queue:
            await queue.enqueue_many([Job.create("sleep", {"milliseconds": 1}) for _ in range(300)])
        # No node takes the pods, which is worth a look at them.
        eventually(
            lambda: "Unschedulable" in story.condition("WorkersAvailable").get("message", ""),
            within=30,
            what="pods that no node takes",
            state=story.status,
        )
        story.apply(redis=connection, worker={"drainTimeoutSeconds": 7})
        eventually(
            lambda: story.deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 22,
            within=10,
            what="the new template",
            state=story.status,
        )
        story.kubectl("delete", "deployment", story.name)
        eventually(lambda: story.deployment()["spec"]["replicas"] == 3, within=10, what="3 again", state=story.status)
        story.kubectl("delete", "qw", story.name, "--timeout=10s")
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
