"""What a queue holds becomes a number on a real API server, also what a list length does not show."""

import json

import pytest
from acceptance import QUEUEWORKER, ReplicaWatch, Story, eventually, running_operator
from autoscaling import IDLE, KEYS, add, has_reason, holds, replicas, scaled_to, settled

from queueworker.settings import ConnectionSettings

pytestmark = pytest.mark.long

# How long a job takes is said, for these workers do none.
TEN_EACH = {"target": {"backlogPerReplica": 10, "expectedJobMilliseconds": 10}, "maxReplicas": 20}


@pytest.fixture
def story(control_plane, crd, process_node, namespace, redis_settings):
    told = Story(control_plane, namespace, "queues", redis_settings)
    yield told
    told.close()


async def test_a_backlog_of_prioritized_jobs_alone_scales(story, control_plane, namespace):
    with running_operator(control_plane, namespace):
        story.apply(worker=IDLE, autoscaling=TEN_EACH)
        settled(story)
        await add(story, 40, priority=7)
        assert story.redis.llen(f"{KEYS}:wait") == 0
        assert story.redis.zcard(f"{KEYS}:prioritized") == 40
        scaled_to(story, 4)
        record = has_reason(story, "BacklogAboveTarget", backlog=40)
        assert record["inputs"]["prioritized"] == 40


async def test_of_ten_thousand_jobs_for_tomorrow_and_fifty_due_now_fifty_count(story, control_plane, namespace):
    await add(story, 1, delay=86_400_000)
    [(_, score)] = story.redis.zrange(f"{KEYS}:delayed", 0, -1, withscores=True)
    story.redis.zadd(f"{KEYS}:delayed", {f"tomorrow-{number}": score for number in range(9_999)})
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(worker=IDLE, autoscaling=TEN_EACH)
        settled(story)
        assert story.scaling()["inputs"]["delayed"] == 10_000
        assert story.scaling()["inputs"]["backlog"] == 0
        await add(story, 50, delay=1)
        scaled_to(story, 5)
        record = eventually(
            lambda: (seen := story.scaling())["inputs"].get("backlog") == 50 and seen,
            what="a backlog of 50",
            state=story.scaling,
        )
        assert record["inputs"]["delayedDue"] == 50
        assert record["inputs"]["delayed"] == 10_050
        assert max(watch.values) == 5, watch.values


async def test_a_paused_queue_gets_no_workers_in_the_layouts_of_bullmq_6_and_5(story, control_plane, namespace):
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(worker=IDLE, autoscaling=TEN_EACH)
        settled(story)
        # BullMQ 6: the jobs stay where they are and `meta` says that nobody may take them.
        story.redis.hset(f"{KEYS}:meta", "paused", 1)
        await add(story, 30)
        record = has_reason(story, "QueuePaused")
        assert record["inputs"]["pausedQueues"] == ["story"]
        assert story.condition("Paused")["reason"] == "QueuePaused"
        # BullMQ 5: they are moved into a list of their own.
        story.redis.delete(f"{KEYS}:prioritized", f"{KEYS}:marker")
        ids = [f"old-{number}" for number in range(30)]
        story.redis.rpush(f"{KEYS}:paused", *ids)
        story.redis.xadd(f"{KEYS}:events", {"event": "paused"})
        eventually(lambda: story.scaling()["inputs"]["backlog"] == 0, what="the list is read", state=story.scaling)
        assert story.scaling()["reason"] == "QueuePaused", story.scaling()
        assert "30 jobs ready" in story.scaling()["message"], story.scaling()
        assert set(watch.values) == {0}
        # Resumed as BullMQ 5 does: the list gets its other name back.
        story.redis.hdel(f"{KEYS}:meta", "paused")
        story.redis.rename(f"{KEYS}:paused", f"{KEYS}:wait")
        story.redis.xadd(f"{KEYS}:events", {"event": "resumed"})
        scaled_to(story, 3)


async def test_a_job_that_its_worker_left_behind_is_rescued_at_zero(story, control_plane, namespace):
    work = f"QUEUEWORKER_STALLED_INTERVAL_MS=1000 exec {QUEUEWORKER} work --module ledgerprocessor"
    ids = await add(story, 1, milliseconds=10)
    # As a worker leaves it that was killed: in `active`, its lock expired, started once.
    story.redis.zrem(f"{KEYS}:prioritized", *ids)
    story.redis.lrem(f"{KEYS}:wait", 0, ids[0])
    story.redis.delete(f"{KEYS}:marker")
    story.redis.lpush(f"{KEYS}:active", *ids)
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(worker={"command": ["/bin/sh", "-c", work]})
        eventually(lambda: story.all_done_once(ids), what="the job is done", state=story.status)
        assert max(watch.values) == 1, watch.values
        rescued = [change for change in story.scaling()["history"] if change["to"] == 1]
        assert rescued[0]["reason"] == "OrphanRescue", story.scaling()


async def test_a_global_concurrency_of_four_with_two_slots_gives_two(story, control_plane, namespace):
    await add(story, 100)
    story.redis.hset(f"{KEYS}:meta", "concurrency", 4)
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(worker=IDLE, autoscaling=TEN_EACH, queues=[{"name": "story", "concurrency": 2}])
        eventually(lambda: watch.values == [2], what="two", state=lambda: watch.values)
        has_reason(story, "LimitedByGlobalConcurrency")
        await add(story, 200)
        story.redis.hset(f"{KEYS}:meta", "concurrency", 5)
        scaled_to(story, 3)
        assert watch.values == [2, 3]


async def test_a_flushed_redis_holds_the_number(control_plane, crd, process_node, namespace, own_valkey):
    server = own_valkey()
    story = Story(control_plane, namespace, "flushed", ConnectionSettings(host=server.host, port=server.port))
    fast = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}, "cooldownSeconds": 1}
    try:
        with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
            story.apply(worker=IDLE, autoscaling={**TEN_EACH, **fast})
            settled(story)
            await add(story, 40)
            scaled_to(story, 4)
            story.redis.flushall()
            record = has_reason(story, "QueueMissing")
            assert record["desired"] == 4
            assert story.condition("QueueReachable")["reason"] == "QueueMissing"
            # Without the hold it would be at zero two seconds from here.
            await holds(lambda: watch.values == [0, 4], seconds=6, state=story.scaling)
            await add(story, 10)
            eventually(lambda: replicas(story) < 4, what="the queue counts again", state=story.scaling)
    finally:
        story.close()


async def test_a_foreign_autoscaler_stops_our_writes_and_is_named(story, control_plane, namespace):
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "theirs"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": story.name},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                }
            ],
        },
    }
    with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
        story.apply(worker=IDLE, autoscaling=TEN_EACH)
        settled(story)
        story.kubectl("apply", "-f", "-", stdin=json.dumps(hpa))
        await add(story, 90)
        # Where it is found only later, one write of ours may come before; none does once it is named.
        record = has_reason(story, "ConflictingAutoscaler")
        assert "HorizontalPodAutoscaler theirs" in record["message"]
        active = story.condition("ScalingActive")
        assert (active["status"], active["reason"]) == ("False", "ConflictingAutoscaler")
        assert "theirs" in active["message"]
        named = list(watch.values)
        story.kubectl("scale", "deployment", story.name, "--replicas=2")
        await add(story, 50)
        await holds(lambda: watch.values in (named, [*named, 2]), seconds=4, state=story.scaling)
        assert replicas(story) == 2
        story.kubectl("delete", "hpa", "theirs")
        scaled_to(story, 14)
