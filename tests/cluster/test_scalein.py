"""Scale-in under load: long jobs run on to their end, on the pod that had them."""

import pytest
from acceptance import QUEUE, Story, eventually, running_operator

from queueworker import Queue

pytestmark = pytest.mark.long

RUNS = 5


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "scalein", redis_settings)
    yield told
    told.close()


@pytest.mark.timeout(300)
async def test_eight_to_two_interrupts_no_job(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(replicas=8)
        eventually(lambda: story.ready_replicas() == 8, within=60, what="8 ready", state=story.status)
        for run in range(RUNS):
            ids = await story.enqueue(50, milliseconds=3000)
            eventually(
                lambda: story.redis.llen("bull:story:active") == 40, within=10, what="40 active", state=story.runs
            )
            story.kubectl("scale", "qw", story.name, "--replicas=2")
            eventually(
                lambda: story.deployment()["spec"]["replicas"] == 2, within=10, what="the write", state=story.status
            )
            eventually(lambda ids=ids: set(ids) <= set(story.runs()[1]), within=60, what="the jobs", state=story.runs)
            started, ended = story.runs()
            wrong = {job: (started[job], ended[job]) for job in started if (started[job], ended[job]) != (1, 1)}
            assert not wrong, f"run {run}: interrupted or run twice (starts, ends): {wrong}"
            assert len(started) == 50 * (run + 1)
            eventually(lambda: len(story.pods()) == 2, within=30, what="2 pods", state=story.pods)
            if run < RUNS - 1:
                story.kubectl("scale", "qw", story.name, "--replicas=8")
                eventually(lambda: story.ready_replicas() == 8, within=60, what="8 again", state=story.status)


async def test_the_autoscaler_keeps_the_pods_that_running_jobs_fill(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(autoscaling={"target": {"backlogPerReplica": 5}, "maxReplicas": 4})
        ids = await story.enqueue(20, milliseconds=14_000)
        eventually(lambda: story.redis.llen("bull:story:active") == 20, within=40, what="20 active", state=story.runs)
        assert story.deployment()["spec"]["replicas"] == 4
        # A paused queue asks for nobody, and the window of 5 s ends before the jobs of 14 s do: only the floor holds.
        async with Queue(QUEUE, story.settings) as queue:
            await queue.pause()
        eventually(lambda: story.scaling()["reason"] == "BusyFloor", within=15, what="BusyFloor", state=story.scaling)
        assert story.deployment()["spec"]["replicas"] == 4
        eventually(lambda: story.all_done_once(ids), within=30, what="the jobs", state=story.runs)
        eventually(lambda: story.scaling()["desired"] == 0, within=30, what="zero", state=story.scaling)
