"""targetRef on a Deployment of the user's: its number is written and nothing else, and nothing is restored."""

import json

import pytest
from acceptance import QUEUEWORKER, Story, eventually, running_operator
from autoscaling import add, has_reason, pythonpath, scaled_to

pytestmark = pytest.mark.long


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "theirs", redis_settings)
    yield told
    told.close()


def users_deployment(settings):
    """A Deployment as a user wrote it: no label of ours, with 2 replicas and 45 s of grace."""
    container = {
        "name": "app",
        "image": "localhost/story:1",
        "command": [QUEUEWORKER, "work", "story", "--module", "ledgerprocessor"],
        "env": [
            {"name": "PYTHONPATH", "value": pythonpath()},
            {"name": "REDIS_HOST", "value": settings.host},
            {"name": "REDIS_PORT", "value": str(settings.port)},
            {"name": "QUEUEWORKER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "theirs", "labels": {"team": "mail"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 45},
            },
        },
    }


def body_without_replicas(story):
    found = story.deployment()
    del found["spec"]["replicas"]
    return found["spec"], {name: found["metadata"].get(name) for name in ("labels", "ownerReferences", "finalizers")}


async def test_a_users_deployment_is_scaled_and_nothing_else_of_it_is_touched(story, control_plane, namespace):
    story.kubectl("apply", "-f", "-", stdin=json.dumps(users_deployment(story.settings)))
    eventually(lambda: story.ready_replicas() == 2, what="their pods", state=story.pods)
    theirs = body_without_replicas(story)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    autoscaling = {"target": {"backlogPerReplica": 10}, "maxReplicas": 4}
    with running_operator(control_plane, namespace):
        story.apply(targetRef=target, autoscaling=autoscaling)
        scaled_to(story, 0)
        assert has_reason(story, "ScaledToZero")["desired"] == 0
        assert story.condition("Ready")["status"] == "True", story.status()
        ids = await add(story, 30, milliseconds=500)
        scaled_to(story, 3)
        eventually(lambda: story.all_done_once(ids), what="the jobs", state=story.runs)
        scaled_to(story, 0)
        assert body_without_replicas(story) == theirs
        ids += await add(story, 20, milliseconds=1000)
        scaled_to(story, 2)
        story.kubectl("delete", "qw", story.name, "--timeout=60s")
        eventually(lambda: story.all_done_once(ids), what="the jobs", state=story.runs)
    assert story.deployment()["spec"]["replicas"] == 2, "nothing is restored"
    assert body_without_replicas(story) == theirs


async def test_a_target_that_is_not_there_is_named_and_found_when_it_comes(story, control_plane, namespace):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
    with running_operator(control_plane, namespace):
        story.apply(targetRef=target, autoscaling={"minReplicas": 1, "maxReplicas": 4})
        ready = eventually(
            lambda: (found := story.condition("Ready")).get("reason") == "TargetNotFound" and found,
            what="TargetNotFound",
            state=story.status,
        )
        assert "theirs" in ready["message"]
        story.kubectl("apply", "-f", "-", stdin=json.dumps(users_deployment(story.settings)))
        scaled_to(story, 1)
        eventually(lambda: story.condition("Ready")["status"] == "True", what="Ready", state=story.status)
