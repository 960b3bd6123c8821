"""When the reconciler writes a status, and what it writes at once; in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from reconciler_cluster import KEY, clock
from reconciler_load import BUSY
from reconciler_world import World, document, live

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import (
    ClusterError,
    Key,
)

pytestmark = pytest.mark.usefixtures("no_logs")


def test_a_status_that_is_refused_is_not_tried_with_every_reading() -> None:
    async def story(world: World) -> None:
        world.cluster.fail["status"] = lambda: ClusterError("forbidden", reason=ConditionReason.CLUSTER_DENIED)
        world.put(document())
        for waiting in range(120):
            world.redis.queues["mail"] = {"waiting": waiting + 1, "oldest_ready_ms": 1}
            await asyncio.sleep(1)
        assert world.cluster.deployments[KEY].replicas == 10, "what is decided does not wait for the report"
        assert 3 <= world.cluster.count()["status"] <= 6
        del world.cluster.fail["status"]
        await asyncio.sleep(35)
        assert world.status().scaling.desired == 10

    live(story)


def test_status_writes_stay_within_the_budget_and_numbers_alone_within_ten_seconds() -> None:
    async def story(world: World) -> None:
        names = [f"mail-{number}" for number in range(80)]
        for name in names:
            world.put(document(name))
        await asyncio.sleep(30)
        assert len(world.cluster.statuses) == 80
        at = sorted(at for at, what, _ in world.cluster.calls if what == "status")
        most = max(sum(start <= one < start + 1 for one in at) for start in at)
        assert 20 <= most <= 41, "20 a second, and 20 saved up"
        started = clock()
        for second in range(30):
            world.redis.queues["mail-0"] = {"active": 1, "completed": second}
            world.redis.queues["mail-1"] = {"active": 1, "failed": second}
            await asyncio.sleep(1)
        keys = Counter(str(key) for at, what, key in world.cluster.calls if what == "status" and at >= started)
        assert keys["default/mail-1"] <= 5, keys
        assert keys["default/mail-5"] == 0

    live(story)


def test_the_first_status_waits_a_moment_for_the_rollout_of_no_workers() -> None:
    async def story(world: World) -> None:
        world.cluster.rolled_out_at_once = False
        world.put(document())
        await asyncio.sleep(1)
        assert "status" not in world.cluster.count()
        world.cluster.touch(rolled_out=True)
        await asyncio.sleep(30)
        assert world.condition("Ready") == ("True", "RolledOut")
        assert world.cluster.count()["status"] == 1

    live(story)


@pytest.mark.parametrize(("queue", "seconds"), [({}, 3), (dict(BUSY), 1)])
def test_the_first_status_waits_no_longer_and_not_for_pods(queue: dict[str, object], seconds: float) -> None:
    async def story(world: World) -> None:
        world.cluster.rolled_out_at_once = False
        world.redis.queues["mail"] = queue
        world.put(document())
        await asyncio.sleep(seconds)
        assert world.condition("Ready") == ("False", "RollingOut")

    live(story)


def test_the_first_status_of_what_is_wrong_does_not_wait() -> None:
    async def story(world: World) -> None:
        world.put(document(redis={"host": "localhost"}))
        await asyncio.sleep(0.5)
        assert world.condition("Ready") == ("False", "SpecInvalid")

    live(story)


def test_of_a_crowd_all_are_made_before_anything_is_told() -> None:
    crowd = [f"mail-{number}" for number in range(100)]

    async def story(world: World) -> None:
        for name in crowd:
            world.put(document(name))
        await asyncio.sleep(60)
        calls = [what for _, what, _ in world.cluster.calls]
        first = {what: calls.index(what) for what in ("status", "apply")}
        assert calls.count("create") == len(crowd)
        assert calls[: min(first.values())].count("create") == len(crowd)
        for name in crowd:
            key = Key("default", name)
            assert world.cluster.deployments[key].applied is not None, "each creation is finished"
            assert key in world.cluster.statuses, "each is told of"
        assert world.cluster.calls[0][0] != "observe", "the watch told that there is none"

    live(story)
