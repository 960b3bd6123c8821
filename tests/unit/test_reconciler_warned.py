"""A warning of the wish itself is told once, however often a burst hides it, and again after it was gone for long."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reconciler_cluster import KEY
from reconciler_load import AT_ONCE, waiting
from reconciler_world import World, document, live

from queueworker_operator.reconciler.warned import GONE_SECONDS

pytestmark = pytest.mark.usefixtures("no_logs")


def wish(generation: int, *, seconds: int) -> dict[str, Any]:
    """Return a QueueWorker whose jobs may wait for so many seconds; its pods take 50."""
    scaling = {"maxReplicas": 5, "cooldownSeconds": 5, "target": {"backlogPerReplica": 10, "maxWaitSeconds": seconds}}
    body = document(autoscaling=scaling | {"behavior": AT_ONCE})
    body["metadata"]["generation"] = generation
    return body


async def bursts(world: World, count: int) -> set[str]:
    """Let jobs come and go; return the reasons that ScalingLimited had."""
    reasons = set()
    for _ in range(count):
        for queue in (waiting(100), {}):
            world.redis.queues["mail"] = queue
            await asyncio.sleep(90)
            reasons.add(world.condition("ScalingLimited")[1])
    return reasons


def told(world: World) -> int:
    return [reason for _, reason, _ in world.cluster.events].count("TargetInfeasible")


def test_a_warning_that_bursts_hide_is_told_once_and_again_when_it_was_gone_for_long() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 50.0
        world.put(wish(1, seconds=30))
        assert await bursts(world, 6) >= {"Limited", "TargetInfeasible"}
        assert told(world) == 1, world.cluster.events
        for generation, pause, times in ((2, GONE_SECONDS / 2, 1), (4, GONE_SECONDS + 400, 2)):
            world.put(wish(generation, seconds=3600))
            await asyncio.sleep(pause)
            assert world.condition("ScalingLimited")[1] != "TargetInfeasible"
            world.put(wish(generation + 1, seconds=30))
            await asyncio.sleep(60)
            assert world.condition("ScalingLimited")[1] == "TargetInfeasible"
            assert told(world) == times, world.cluster.events

    live(story)


def test_what_was_told_before_a_restart_is_not_told_again() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 50.0
        world.put(wish(1, seconds=30))
        await bursts(world, 3)
        assert told(world) == 1
        world.delete(KEY)
        await asyncio.sleep(1)
        world.put(wish(1, seconds=30))
        assert "Limited" in await bursts(world, 3)
        assert told(world) == 1, world.cluster.events

    live(story)
