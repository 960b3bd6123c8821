"""Scale-in under load: long jobs run on to their end, on the pod that had them."""

import pytest
from acceptance import QUEUE, QUEUEWORKER, Story, eventually, running_operator
from autoscaling import KEYS, add, holds, replicas
from gatedprocessor import RELEASED, SHARED

from queueworker import Queue

pytestmark = pytest.mark.long

RUNS = 5
HOLDING = {"command": [QUEUEWORKER, "work", "--module", "gatedprocessor"], "drainTimeoutSeconds": 60}
"""Its jobs last until the test releases them all."""


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "scalein", redis_settings)
    told.redis.set(SHARED, 1)
    yield told
    told.close()


def active(story):
    return story.redis.llen(f"{KEYS}:active")


def asked_to_end(story):
    return sum("deletionTimestamp" in pod["metadata"] for pod in story.pods())


@pytest.mark.timeout(300)
async def test_eight_to_two_interrupts_no_job(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(replicas=8, worker=HOLDING)
        eventually(lambda: story.ready_replicas() == 8, what="8 ready", state=story.status)
        for run in range(RUNS):
            ids = await add(story, 50, name="hold")
            eventually(lambda: active(story) == 40, what="40 active", state=story.runs)
            story.kubectl("scale", "qw", story.name, "--replicas=2")
            eventually(lambda: replicas(story) == 2, what="the write", state=story.status)
            eventually(lambda: asked_to_end(story) == 6, what="6 pods asked to end", state=story.pods)
            assert active(story) == 40, story.runs()
            story.redis.set(RELEASED, 1)
            eventually(lambda ids=ids: set(ids) <= set(story.runs()[1]), what="the jobs", state=story.runs)
            story.redis.delete(RELEASED)
            started, ended = story.runs()
            wrong = {job: (started[job], ended[job]) for job in started if (started[job], ended[job]) != (1, 1)}
            assert not wrong, f"run {run}: interrupted or run twice (starts, ends): {wrong}"
            assert len(started) == 50 * (run + 1)
            eventually(lambda: len(story.pods()) == 2, what="2 pods", state=story.pods)
            if run < RUNS - 1:
                story.kubectl("scale", "qw", story.name, "--replicas=8")
                eventually(lambda: story.ready_replicas() == 8, what="8 again", state=story.status)


@pytest.mark.timeout(240)
async def test_the_autoscaler_keeps_the_pods_that_running_jobs_fill(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(autoscaling={"target": {"backlogPerReplica": 5}, "maxReplicas": 4}, worker=HOLDING)
        ids = await add(story, 20, name="hold")
        eventually(lambda: active(story) == 20, what="20 active", state=story.runs)
        assert replicas(story) == 4
        # A paused queue asks for nobody, and the window of 5 s ends before the jobs do: only the floor holds.
        async with Queue(QUEUE, story.settings) as queue:
            await queue.pause()
        eventually(lambda: story.scaling()["reason"] == "BusyFloor", what="BusyFloor", state=story.scaling)
        await holds(lambda: replicas(story) == 4, seconds=3, state=story.scaling)
        story.redis.set(RELEASED, 1)
        eventually(lambda: story.all_done_once(ids), what="the jobs", state=story.runs)
        eventually(lambda: story.scaling()["desired"] == 0, what="zero", state=story.scaling)
