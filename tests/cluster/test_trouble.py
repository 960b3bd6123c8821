"""What keeps workers from running, as a user sees it: a quota, a bad image, a crash loop, a Secret."""

import json
import re
import shlex
import time
import urllib.parse

import pytest
import redis
from acceptance import ReplicaWatch, Story, eventually, running_operator

pytestmark = pytest.mark.long


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "trouble", redis_settings)
    yield told
    told.close()


def test_a_quota_is_told_in_the_servers_words_and_not_fought(story, control_plane, namespace):
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    story.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(replicas=5)
        ready = eventually(
            lambda: (found := story.condition("Ready")).get("reason") == "QuotaExceeded" and found,
            what="QuotaExceeded",
            state=story.status,
        )
        assert ready["status"] == "False"
        assert "exceeded quota: few" in ready["message"]
        assert story.condition("Stalled")["status"] == "True"
        # What is written while the two workers start is news.
        eventually(lambda: story.status().get("readyReplicas") == 2, what="two workers", state=story.status)
        versions = set()
        until = time.monotonic() + 4
        while time.monotonic() < until:
            versions.add(story.get()["metadata"]["resourceVersion"])
            time.sleep(0.2)
        assert len(versions) <= 2, "the status is written over and over"
        assert story.ready_replicas() <= 2
        assert watch.values == [5]


def test_workers_that_do_not_start_say_why(story, control_plane, namespace):
    image = Story(control_plane, namespace, "image", story.settings)
    sayings = {
        story: r"pod trouble-\S+: container worker.* ended with exit code 1",
        image: r"pod image-\S+: container worker: ImagePullBackOff",
    }
    with running_operator(control_plane, namespace):
        story.apply(replicas=1, worker={"command": ["/bin/false"]})
        # Without a command the node needs an entrypoint of the image, and finds none.
        image.apply(replicas=1, worker={"command": None})
        for told, said in sayings.items():
            eventually(
                lambda told=told, said=said: re.search(said, told.condition("WorkersAvailable").get("message", "")),
                what=said,
                state=told.status,
            )
            assert told.condition("WorkersAvailable")["status"] == "False"
            assert told.condition("WorkersAvailable")["reason"] == "WorkersNotReady"
            assert re.search(said, told.condition("Ready")["message"])
    image.close()


def test_a_password_from_the_label_to_its_rotation(story, control_plane, namespace, own_valkey):
    server = own_valkey()
    admin = redis.Redis(host=server.host, port=server.port)
    admin.config_set("requirepass", "canary-1")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "redis"},
        "stringData": {"password": "canary-1"},
    }
    story.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    auth = {"passwordSecretRef": {"name": "redis", "key": "password"}}
    with running_operator(control_plane, namespace) as operator:
        story.apply(replicas=1, redis={"host": server.host, "port": server.port, "auth": auth})
        ready = eventually(
            lambda: (found := story.condition("Ready")).get("reason") == "SecretNotAllowed" and found,
            what="SecretNotAllowed",
            state=story.status,
        )
        command = shlex.split(ready["message"].partition("kubectl ")[2])
        assert command[:3] == ["label", "secret", "-n"]
        control_plane.kubectl(*command)
        eventually(lambda: story.status().get("readyReplicas") == 1, what="a worker", state=story.status)
        eventually(lambda: story.condition("QueueReachable")["status"] == "True", what="reached", state=story.status)
        first = story.pods()[0]["metadata"]["uid"]

        admin.config_set("requirepass", "canary-2")
        changed = {**secret, "stringData": {"password": "canary-2"}}
        story.kubectl("patch", "secret", "redis", "-p", json.dumps({"stringData": changed["stringData"]}))
        # Who is logged in stays so: what follows is a restart of Redis as its users see it.
        admin.client_kill_filter(_type="normal")
        eventually(
            lambda: (
                story.ready_replicas() == 1 and [pod["metadata"]["uid"] for pod in story.pods()] not in ([first], [])
            ),
            what="a worker with the new password",
            state=story.status,
        )
        eventually(
            lambda: (
                story.condition("QueueReachable")["status"] == "True" and story.condition("Ready")["status"] == "True"
            ),
            what="all well again",
            state=story.status,
        )
        said = operator.log.read_text() + story.kubectl("get", "qw,deployments,events", "-o", "yaml")
        assert "canary" not in urllib.parse.unquote(said)
    admin.close()
