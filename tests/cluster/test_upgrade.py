"""An operator of another version takes over: no worker restarts for it, and what the user changes is still applied."""

import sys

import pytest
from acceptance import Story, eventually, running_operator

pytestmark = pytest.mark.long

# A build whose renderer differs: another revision, and another environment variable in every pod.
OTHER_BUILD = """
from importlib import import_module

rendering = import_module("queueworker_operator.cluster.rendering")
render = rendering.render_deployment

def other(*args, **kwargs):
    rendered = render(*args, **{**kwargs, "renderer_revision": 99})
    rendered["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "OF_THE_OTHER_BUILD", "value": "yes"})
    return rendered

rendering.render_deployment = other
import_module("queueworker.cli.app").main()
"""


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "upgrade", redis_settings)
    yield told
    told.close()


def identities(story):
    return {
        pod["metadata"]["uid"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in story.pods()
        if "deletionTimestamp" not in pod["metadata"]
    }


def test_an_operator_upgrade_restarts_no_worker(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(replicas=3)
        eventually(lambda: story.ready_replicas() == 3, what="3 ready", state=story.status)
        eventually(lambda: story.condition("Ready").get("status") == "True", what="Ready", state=story.status)
    before, deployment = identities(story), story.deployment()
    assert list(before.values()) == [0, 0, 0]

    with running_operator(control_plane, namespace, command=[sys.executable, "-c", OTHER_BUILD]) as operator:
        # A change that only the new operator can have made shows that it has looked.
        story.kubectl("scale", "qw", story.name, "--replicas=4")
        eventually(lambda: story.ready_replicas() == 4, what="4 ready", state=story.status)
        assert before.items() <= identities(story).items()
        template = story.deployment()["spec"]["template"]
        assert template == deployment["spec"]["template"]
        assert operator.ready()

        # What the user changes is applied, by the new renderer.
        story.apply(replicas=1, worker={"drainTimeoutSeconds": 21})
        eventually(
            lambda: story.deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 36,
            what="the new template",
            state=story.status,
        )
        names = [
            variable["name"] for variable in story.deployment()["spec"]["template"]["spec"]["containers"][0]["env"]
        ]
        assert "OF_THE_OTHER_BUILD" in names
        eventually(lambda: len(story.pods()) == 1, what="1 pod", state=story.pods)
