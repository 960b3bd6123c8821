"""Scale-in on the real controllers: who is idle goes, who has a job stays, unless the user says otherwise."""

import asyncio
import tempfile
import time
from pathlib import Path

import pytest
from acceptance import QUEUEWORKER, ReplicaWatch, Story, eventually, running_operator
from autoscaling import KEYS, add, holds, pythonpath, replicas
from gatedprocessor import RELEASED, SHARED

pytestmark = pytest.mark.long

NOW = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}, "cooldownSeconds": 1}
COST = "controller.kubernetes.io/pod-deletion-cost"


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "scalein", redis_settings)
    yield told
    told.close()


@pytest.fixture
def gates():
    """Where the gates of the workers are opened; not below /tmp, of which every pod has its own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="queueworker-gates-") as directory:
        yield Path(directory)


def running(story):
    return [pod["metadata"]["name"] for pod in story.pods() if "deletionTimestamp" not in pod["metadata"]]


def costs(story):
    """The pods that bear a deletion cost."""
    return {
        pod["metadata"]["name"]: pod["metadata"]["annotations"][COST]
        for pod in story.pods()
        if COST in (pod["metadata"].get("annotations") or {})
    }


def gated(gates, *, drain, work):
    environment = [{"name": "PYTHONPATH", "value": pythonpath()}, {"name": "STORY_GATES", "value": str(gates)}]
    return {"command": work, "env": environment, "drainTimeoutSeconds": drain, "healthPort": None}


async def give_one_job(story, gates, pod):
    """Open the gate of one pod and let it take one job, which lasts until all are released."""
    ids = await add(story, 1, name="hold")
    (gates / pod).touch()
    deadline = time.monotonic() + 90
    while pod not in owners(story):
        assert time.monotonic() < deadline, f"{pod} took no job: {story.scaling()}"
        await asyncio.sleep(0.05)
    return ids[0]


def owners(story):
    """Which pods hold jobs, by the locks in Redis."""
    ids = story.redis.lrange(f"{KEYS}:active", 0, -1)
    return {str(story.redis.get(f"{KEYS}:{job}:lock")).rpartition(":")[0] for job in ids}


@pytest.mark.timeout(240)
async def test_a_hundred_idle_and_three_busy_pods_scaled_to_three_keep_the_busy_ones(
    story, control_plane, namespace, gates
):
    # Most pods are a shell that waits; those whose gate is opened become workers.
    wait = f'while [ ! -e "$0/$QUEUEWORKER_NAME" ]; do sleep 2; done; exec {QUEUEWORKER} work --module gatedprocessor'
    worker = gated(gates, drain=2, work=["/bin/sh", "-c", wait, str(gates)])
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(
            worker=worker,
            queues=[{"name": "story", "concurrency": 1}],
            autoscaling={**NOW, "minReplicas": 103, "maxReplicas": 103},
        )
        eventually(lambda: story.ready_replicas() == 103, what="103 ready", state=story.status)
        # The youngest are those that a ReplicaSet would take first.
        pods = sorted(story.pods(), key=lambda pod: pod["metadata"]["creationTimestamp"])
        busy = [pod["metadata"]["name"] for pod in pods[-3:]]
        ids = [await give_one_job(story, gates, pod) for pod in busy]
        assert owners(story) == set(busy)
        story.apply(
            worker=worker,
            queues=[{"name": "story", "concurrency": 1}],
            autoscaling={**NOW, "minReplicas": 0, "maxReplicas": 3},
        )
        eventually(lambda: replicas(story) == 3, what="three", state=story.status)
        eventually(lambda: len(running(story)) == 3, what="three pods", state=lambda: running(story))
        assert set(running(story)) == set(busy)
        assert costs(story).keys().isdisjoint(busy)
        story.redis.set(RELEASED, 1)
        eventually(lambda: story.all_done_once(ids), what="the jobs", state=story.runs)
        assert watch.values[:2] == [103, 3], watch.values


@pytest.mark.timeout(300)
async def test_jobs_longer_than_the_drain_time_are_interrupted_by_no_scale_in(story, control_plane, namespace, gates):
    pods, ids = await a_job_on_each(story, control_plane, namespace, gates, count=20)
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        adjust(story, gates, minReplicas=0, maxReplicas=20)
        eventually(lambda: story.scaling()["reason"] == "BusyFloor", what="BusyFloor", state=story.scaling)
        # Longer than the drain time and than every window.
        await holds(lambda: replicas(story) == 20, seconds=8, state=story.scaling)
        assert owners(story) == set(pods)
        story.redis.set(RELEASED, 1)
        eventually(lambda: story.all_done_once(ids), what="all jobs once", state=story.runs)
        eventually(lambda: watch.values[-1] == 0, what="zero", state=story.scaling)
        assert watch.values == sorted(watch.values, reverse=True)


@pytest.mark.timeout(200)
async def test_a_lowered_maximum_interrupts_as_many_as_the_user_asked_for(story, control_plane, namespace, gates):
    pods, ids = await a_job_on_each(story, control_plane, namespace, gates, count=6)
    idle = [name for name in running(story) if name not in pods]
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.redis.set(SHARED, 1)
        adjust(story, gates, minReplicas=0, maxReplicas=4)
        eventually(lambda: watch.values[-1] == 4, what="four", state=story.scaling)
        eventually(lambda: len(running(story)) == 4, what="four pods", state=lambda: running(story))
        assert set(running(story)).isdisjoint(idle), "who is idle goes first"
        # What is interrupted is given back after the drain time and taken by the others.
        eventually(
            lambda: sorted(story.runs()[0].values()) == [1, 1, 1, 1, 2, 2],
            what="two jobs begun again",
            state=story.runs,
        )
        assert owners(story) <= set(running(story))
        story.redis.set(RELEASED, 1)
        eventually(lambda: set(story.runs()[1]) == set(ids), what="every job ends", state=story.runs)
        started, ended = story.runs()
        assert sorted(started.values()) == [1, 1, 1, 1, 2, 2], started
        assert set(ended.values()) == {1}, ended


async def a_job_on_each(story, control_plane, namespace, gates, *, count):
    """Start `count` busy pods and one idle one, and give each of the first one job; the operator ends then."""
    with running_operator(control_plane, namespace):
        total = count if count > 10 else count + 1
        adjust(story, gates, minReplicas=total, maxReplicas=total)
        eventually(lambda: len(running(story)) == total, what=f"{total} pods", state=story.status)
        eventually(lambda: story.ready_replicas() == total, what="all ready", state=story.status)
        names = sorted(running(story))[:count]
        # The interpreters of the workers start meanwhile, all at once.
        ids = [await give_one_job(story, gates, pod) for pod in names]
    assert owners(story) == set(names)
    return names, ids


def adjust(story, gates, **autoscaling):
    work = [QUEUEWORKER, "work", "--module", "gatedprocessor"]
    story.apply(
        worker=gated(gates, drain=5, work=work),
        queues=[{"name": "story", "concurrency": 10}],
        autoscaling={**NOW, **autoscaling},
    )
