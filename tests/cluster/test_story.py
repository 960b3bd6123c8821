"""The README's story by kubectl only, on a real control plane: 0 -> N -> 0, each job once, nothing left behind."""

import re

import pytest
from acceptance import ReplicaWatch, Story, eventually, running_operator

pytestmark = pytest.mark.long


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "story", redis_settings)
    yield told
    told.close()


def columns(story):
    """The printed row by column; a value may be missing, so the header's positions count."""
    head, row = story.kubectl("get", "qw", story.name).splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    bounds = zip(starts, [*starts[1:], None], strict=True)
    return {head[start:end].strip(): row[start:end].strip() for start, end in bounds}


def told(story):
    """The reasons of all events."""
    return set(story.kubectl("get", "events", "-o", "jsonpath={range .items[*]}{.reason} {end}").split())


async def test_the_readme_story(story, control_plane, namespace):
    with running_operator(control_plane, namespace) as operator:
        # How long a job takes is said: on a machine that is slow they would ask for more than the backlog does.
        story.apply(autoscaling={"target": {"backlogPerReplica": 100, "expectedJobMilliseconds": 20}})
        eventually(lambda: story.condition("Ready").get("status") == "True", what="Ready", state=story.status)
        assert story.scaling()["reason"] == "QueueUnused", story.scaling()
        assert story.scaling()["message"] == "0 of 0-10 replicas: queue story was never used."
        assert columns(story)["REPLICAS"] == "0"
        assert columns(story)["QUEUE"] == "story"

        with ReplicaWatch(story) as watch:
            ids = await story.enqueue_at_once(500, milliseconds=20)
            eventually(lambda: story.ready_replicas() > 0, what="workers", state=story.status)
            eventually(lambda: story.all_done_once(ids), what="all jobs done", state=story.runs)
            growth = watch.values[: watch.values.index(max(watch.values)) + 1]
            assert growth[0] == 0
            assert growth[-1] == 5, f"500 jobs at 100 per replica need 5: {watch.values}"
            assert growth == sorted(growth), watch.values
            assert len(growth) - 1 <= 2, f"more than two writes: {watch.values}"
            eventually(lambda: watch.values[-1] == 0, what="back to 0", state=story.scaling)
            shrink = watch.values[len(growth) - 1 :]
            assert shrink == sorted(shrink, reverse=True), watch.values

        eventually(lambda: story.scaling()["reason"] == "ScaledToZero", what="ScaledToZero", state=story.scaling)
        eventually(lambda: story.pods() == [], what="no pods", state=story.pods)
        assert columns(story)["BACKLOG"] == "0"
        assert columns(story)["REASON"] == "ScaledToZero"
        assert columns(story)["READY?"] == "True"
        changes = [(change["from"], change["to"]) for change in reversed(story.scaling()["history"])]
        assert changes[0] == (0, growth[1])
        assert changes[-1][1] == 0
        for kind in ("Ready", "QueueReachable", "ScalingActive"):
            assert story.condition(kind)["status"] == "True", story.status()
        eventually(lambda: {"ScaledUp", "ScaledDown"} <= told(story), what="the events", state=lambda: told(story))
        operator.stop()

    story.kubectl("delete", "qw", story.name, "--timeout=60s")
    left = "deployments,replicasets,pods,queueworkers"
    eventually(lambda: not story.kubectl("get", left, "-o", "name"), what="nothing left", state=story.pods)


async def test_the_status_sentence_at_each_step(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(autoscaling={"maxReplicas": 2})
        eventually(lambda: story.scaling(), what="a first decision", state=story.status)
        ids = await story.enqueue(300, milliseconds=100)
        eventually(lambda: story.scaling()["reason"] == "AtMaximum", what="AtMaximum", state=story.scaling)
        assert "2 of 0-2 replicas" in story.scaling()["message"]
        assert story.condition("ScalingLimited")["status"] == "True"
        rules = {vote["rule"]: vote["replicas"] for vote in story.scaling()["votes"]}
        assert 3 in rules.values(), rules
        eventually(lambda: story.all_done_once(ids), what="all jobs done", state=story.runs)
        eventually(
            lambda: story.scaling()["reason"] in {"CoolingDown", "StabilizingScaleDown", "ScaledToZero"},
            what="the way down",
            state=story.scaling,
        )
        eventually(lambda: story.scaling()["desired"] == 0, what="zero", state=story.scaling)
