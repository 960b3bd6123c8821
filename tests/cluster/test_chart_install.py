"""`helm install` on an empty control plane: the operator runs from its own Deployment, and the story passes."""

import json
from collections.abc import Iterator

import helm_python
import pytest
from acceptance import QUEUEWORKER, ROOT, ReplicaWatch, Story, eventually, learn_kinds
from helmchart import CHART
from processnode import ProcessNode

import controlplane
from controlplane import ControlPlane

pytestmark = pytest.mark.long

SYSTEM = "queueworker-system"
USERS = "killboard"
IMAGE = "localhost/queueworker-operator:0.1.0"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture
def empty_plane() -> Iterator[ControlPlane]:
    with ControlPlane.start(controlplane.build()) as plane:
        for name in (SYSTEM, USERS):
            plane.api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": RESTRICTED}})
        yield plane


@pytest.fixture
def node(empty_plane) -> Iterator[ProcessNode]:
    with ProcessNode.start(empty_plane) as started:
        # The image's entrypoint is `queueworker`; the chart gives the argument.
        started.set_entrypoint(IMAGE, [QUEUEWORKER])
        yield started


def operator_state(plane: ControlPlane, node: ProcessNode) -> str:
    pods = plane.kubectl("-n", SYSTEM, "get", "pods", "-o", "yaml", check=False).stdout
    return f"{pods[-1500:]}\n{node.logs(SYSTEM)[-3000:]}\n{node.agent_log()}"


async def test_install_the_story_upgrade_and_uninstall(empty_plane, node, redis_settings):
    config = helm_python.Config(kubeconfig_path=str(empty_plane.kubeconfig), namespace=SYSTEM)
    story = Story(empty_plane, USERS, "installed", redis_settings)
    try:
        values = {"operator": {"allowLoopbackRedis": True}}
        config.install(str(CHART), "queueworker", values, namespace=SYSTEM, timeout=60)
        learn_kinds(empty_plane)
        eventually(
            lambda: (
                empty_plane.kubectl(
                    *("-n", SYSTEM, "get", "deployment", "queueworker", "-o", "jsonpath={.status.readyReplicas}")
                ).stdout
                == "1"
            ),
            what="the operator's Deployment",
            state=lambda: operator_state(empty_plane, node),
        )

        # How long a job takes is said: on a machine that is slow they would ask for more than the backlog does.
        story.apply(autoscaling={"target": {"backlogPerReplica": 100, "expectedJobMilliseconds": 20}})
        eventually(lambda: story.condition("Ready").get("status") == "True", what="Ready", state=story.status)
        with ReplicaWatch(story) as watch:
            ids = await story.enqueue_at_once(300, milliseconds=20)
            eventually(lambda: story.all_done_once(ids), what="all jobs done", state=story.runs)
            eventually(lambda: watch.values[-1] == 0, what="back to 0", state=story.scaling)
            assert max(watch.values) == 3, watch.values

        # The operator has exactly the rights it uses: nothing that it asked for was denied.
        assert "forbidden" not in node.logs(SYSTEM).lower()

        story.apply(replicas=1)
        eventually(lambda: story.ready_replicas() == 1, what="1 ready", state=story.status)
        config.upgrade(
            str(CHART), "queueworker", {**values, "podAnnotations": {"a": "b"}}, namespace=SYSTEM, timeout=60
        )
        config.uninstall("queueworker", timeout=60)
        left = json.loads(empty_plane.kubectl("get", "qw", "-A", "-o", "json").stdout)["items"]
        assert [found["metadata"]["name"] for found in left] == ["installed"], "the CRD and what is in it stay"
        assert story.ready_replicas() == 1, "workers outlive the operator"
        story.kubectl("delete", "qw", "installed", "--timeout=60s")
        # The garbage collector looks for new kinds, as ours is here, every 30 s, and needs some more to follow them.
        eventually(
            lambda: not story.kubectl("get", "deployments,pods", "-o", "name"),
            what="nothing left",
            state=story.pods,
        )
    except BaseException:
        print(operator_state(empty_plane, node))
        raise
    finally:
        story.close()
        config.close()


def test_the_sample_of_the_notes_is_accepted(control_plane, crd, namespace):
    notes = (ROOT / "charts/queueworker/templates/NOTES.txt").read_text()
    sample = notes.split("<<'YAML'\n")[1].split("\n  YAML")[0]
    manifest = "\n".join(line.removeprefix("  ") for line in sample.splitlines())
    control_plane.kubectl("-n", namespace, "apply", "--dry-run=server", "-f", "-", stdin=manifest)
