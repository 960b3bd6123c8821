"""A delayed job falls due while there is no worker: one is started before, by as much as it needs."""

import time

import pytest
from acceptance import QUEUEWORKER, ReplicaWatch, Story, eventually, running_operator
from autoscaling import KEYS, add, holds, settled

pytestmark = pytest.mark.long

LATEST_MILLISECONDS = 300


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "delayed", redis_settings)
    yield told
    told.close()


async def finds_a_ready_worker(story, plane, *, due_seconds, start_seconds):
    """Return how many milliseconds after it was due the job was started."""
    work = f"sleep {start_seconds}; exec {QUEUEWORKER} work --module ledgerprocessor"
    with running_operator(plane, story.namespace), ReplicaWatch(story) as watch:
        story.apply(worker={"command": ["/bin/sh", "-c", work]})
        settled(story)
        added, due = time.monotonic(), time.time() + due_seconds
        [job] = await add(story, 1, delay=due_seconds * 1000)
        # Nobody has measured a start yet, so 30 s are assumed, and two more on top.
        early = added + due_seconds - 34 - time.monotonic()
        if early > 0:
            await holds(lambda: watch.values == [0], seconds=early, state=story.scaling)
        eventually(lambda: story.ready_replicas() == 1, what="a worker", state=story.scaling)
        assert time.time() < due, "the worker is ready before"
        eventually(lambda: story.all_done_once([job]), within=due_seconds + 60, what="the job", state=story.scaling)
        woken = story.scaling()["history"][-1]
        assert (woken["from"], woken["to"]) == (0, 1), story.scaling()
    kept = story.redis.hgetall(f"{KEYS}:{job}")
    return int(kept["processedOn"]) - int(kept["timestamp"]) - due_seconds * 1000


@pytest.mark.timeout(240)
async def test_a_job_due_at_zero_replicas_finds_a_ready_worker(story, control_plane):
    assert await finds_a_ready_worker(story, control_plane, due_seconds=38, start_seconds=6) >= 0


@pytest.mark.timing
async def test_a_job_due_at_zero_replicas_is_begun_on_time(story, control_plane):
    """So it is where the worker is ready before, whoever long before: a job that is due sooner says the same."""
    late = await finds_a_ready_worker(story, control_plane, due_seconds=12, start_seconds=1)
    assert 0 <= late <= LATEST_MILLISECONDS


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_a_job_due_in_a_minute_finds_a_worker_that_needs_twenty_seconds(story, control_plane):
    late = await finds_a_ready_worker(story, control_plane, due_seconds=60, start_seconds=18)
    assert 0 <= late <= LATEST_MILLISECONDS
