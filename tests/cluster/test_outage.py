"""Redis goes away for a minute: no number is written, the status says so, and two reads later all is well again."""

import asyncio
import time

import pytest
from acceptance import ReplicaWatch, Story, eventually, running_operator
from valkeyserver import start_valkey

from queueworker.settings import ConnectionSettings

pytestmark = pytest.mark.long

OUTAGE_SECONDS = 60
TWO_READS_SECONDS = 12
"""The pause after a failed one grows to 5 s, give or take a fifth."""


@pytest.mark.timeout(240)
async def test_redis_stopped_for_a_minute(control_plane, crd, process_node, namespace, tmp_path, stalls):
    server = start_valkey(data_dir=tmp_path, appendonly="yes", appendfsync="always")
    port = server.port
    story = Story(control_plane, namespace, "outage", ConnectionSettings(host="127.0.0.1", port=port))
    try:
        with running_operator(control_plane, namespace), ReplicaWatch(story) as watch:
            # Jobs of two minutes: there is demand for 2 replicas before, during and after.
            story.apply(autoscaling={"target": {"backlogPerReplica": 5}, "maxReplicas": 4})
            await story.enqueue(20, milliseconds=120_000)
            eventually(lambda: story.redis.llen("bull:story:active") == 20, what="20 active", state=story.runs)
            eventually(
                lambda: story.condition("QueueReachable").get("status") == "True",
                what="QueueReachable",
                state=story.status,
            )
            writes = list(watch.values)
            server.stop()
            stopped = time.monotonic()
            condition = eventually(
                lambda: (found := story.condition("QueueReachable")).get("status") == "False" and found,
                what="QueueReachable=False",
                state=story.status,
            )
            assert condition["reason"] == "RedisUnreachable"
            assert "127.0.0.1" in condition["message"]
            assert story.condition("ScalingActive")["status"] == "False"
            assert story.condition("Ready")["status"] == "True", "Redis trouble is no trouble of the rollout"
            while time.monotonic() - stopped < OUTAGE_SECONDS:
                assert watch.values == writes, "the number was written while nothing was known"
                await asyncio.sleep(0.5)
            server = start_valkey(data_dir=tmp_path, appendonly="yes", appendfsync="always", port=port)
            back = time.monotonic()
            eventually(
                lambda: story.condition("QueueReachable")["status"] == "True",
                what="QueueReachable=True",
                state=story.status,
            )
            took = time.monotonic() - back - stalls.since(back)
            assert took < TWO_READS_SECONDS, f"QueueReachable after {took:.1f} s"
            assert watch.values == writes, "jobs still run on all pods: there is no reason to change the number"
    finally:
        story.close()
        if server.is_running():
            server.stop()
