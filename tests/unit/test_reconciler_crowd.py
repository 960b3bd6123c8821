"""How the lists of pods are shared out where many QueueWorkers start at once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from reconciler_cluster import KEY, clock
from reconciler_load import SOON, kinds, waiting
from reconciler_world import World, document, live

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import Key
from queueworker_operator.scaling.observation import Problem

pytestmark = pytest.mark.usefixtures("no_logs")


def test_many_that_start_at_once_share_the_lists_of_their_pods() -> None:
    async def story(world: World) -> None:
        world.cluster.start_seconds = 60.0
        names = [f"mail-{number}" for number in range(40)]
        for name in names:
            world.put(document(name, autoscaling={**SOON, "minReplicas": 0}))
        await asyncio.sleep(20)
        for name in names:
            world.redis.queues[name] = waiting(50)
        await asyncio.sleep(20)
        assert {one.replicas for one in world.cluster.deployments.values()} == {5}
        started = clock()
        await asyncio.sleep(30)
        lists = [at - started for at, what, _ in world.cluster.calls if at >= started and what == "pods"]
        assert 400 <= len(lists) <= 20 * 30 * 1.05
        assert max(Counter(int(at) for at in lists).values()) <= 25, "not all in the same second"
        await asyncio.sleep(40)
        assert world.reconciler.decision(Key("default", names[0])).inputs.start_up.measured == 5
        started = clock()
        world.redis.queues[names[0]] = waiting(100)
        await asyncio.sleep(15)
        assert 4 <= len(kinds(world, started, "pods")) <= 20, "one that starts alone is looked at as ever"

    live(story)


def test_where_many_never_start_one_that_fails_later_is_told_within_seconds() -> None:
    crash = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod pod-1: ended with exit code 1")

    async def story(world: World) -> None:
        world.cluster.start_seconds = 3600.0
        names = [f"mail-{number}" for number in range(40)]
        for name in [*names, "mail"]:
            world.put(document(name, autoscaling={**SOON, "minReplicas": 0}))
        await asyncio.sleep(20)
        for name in names:
            world.redis.queues[name] = waiting(5)
        await asyncio.sleep(10)
        world.redis.queues["mail"] = waiting(5)
        await asyncio.sleep(3)
        assert world.condition("WorkersAvailable") == ("False", "Pending")
        world.cluster.deployments[KEY].pod_problem = crash
        await asyncio.sleep(10)
        assert world.condition("WorkersAvailable") == ("False", "WorkersNotReady")

    live(story)
