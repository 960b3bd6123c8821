"""The reconciler with loop and readers in virtual time: what it writes, and that it writes nothing at rest."""

from __future__ import annotations

import asyncio

import pytest
from reconciler_cluster import KEY, clock
from reconciler_load import BUSY
from reconciler_world import World, document, live

from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.observation import HORIZON_SECONDS

pytestmark = pytest.mark.usefixtures("no_logs")


def test_from_zero_to_five_in_one_write_and_back_to_zero() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == 0
        assert world.status().scaling.reason is ScalingReason.QUEUE_UNUSED
        world.redis.queues["mail"] = dict(BUSY)
        started = clock()
        await asyncio.sleep(8)
        assert [one for one in world.cluster.writes(since=started) if one[0] == "scale"] == [("scale", 5)]
        assert world.status().scaling.desired == 5
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        numbers = [detail for what, detail in world.cluster.writes(since=started) if what == "scale"]
        assert numbers == sorted(numbers, reverse=True)
        assert numbers[-1] == 0
        assert world.status().scaling.reason is ScalingReason.SCALED_TO_ZERO

    live(story)


def test_the_number_is_written_before_the_status() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(5)
        assert world.cluster.writes()[0] == ("create", 5)
        assert "status" in world.cluster.count()

    live(story)


@pytest.mark.parametrize("queue", [{}, {"active": 3}, {"waiting": 3, "paused": True}])
def test_when_nothing_changes_nothing_is_written_and_hardly_anything_read(queue: dict[str, object]) -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(queue)
        world.put(document())
        await asyncio.sleep(120)
        started = clock()
        await asyncio.sleep(3600)
        assert world.cluster.writes(since=started) == []
        assert world.cluster.count(since=started)["observe"] <= 13
        assert not world.errors

    live(story)


def test_slots_count_the_jobs_that_fall_due_while_a_pod_starts() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(5)
        assert world.redis.horizons == {round(HORIZON_SECONDS * 1000)}

    live(story)


@pytest.mark.parametrize(("value", "held"), [("true", True), ("Yes", True), ("", True), ("false", False), ("0", False)])
def test_any_value_of_the_annotation_but_a_plain_no_pauses(value: str, held: bool) -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.put(
            {**document(), "metadata": document()["metadata"] | {"annotations": {"queueworker.dev/paused": value}}}
        )
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == (0 if held else 5)

    live(story)


def test_paused_by_annotation_decides_but_writes_no_number() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.put(document(), annotations={"queueworker.dev/paused": "true"})
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(30)
        assert world.cluster.deployments[KEY].replicas == 0
        assert world.condition("Paused") == ("True", "PausedByUser")
        world.put(document())
        await asyncio.sleep(5)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)


def test_a_deleted_queueworker_is_forgotten() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        assert b'queueworker_desired_replicas{name="mail"' in world.metrics.text()
        world.delete(KEY)
        await asyncio.sleep(1)
        reads, calls = len(world.redis.reads), len(world.cluster.calls)
        await asyncio.sleep(600)
        assert (len(world.redis.reads), len(world.cluster.calls)) == (reads, calls)
        assert b'name="mail"' not in world.metrics.text()

    live(story)


def test_metrics_count_what_is_known_and_leave_out_what_is_not() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(10)
        text = world.metrics.text().decode()
        assert 'queueworker_backlog_jobs{name="mail",namespace="default",queue="mail"} 45.0' in text
        assert 'queueworker_desired_replicas{name="mail",namespace="default"} 5.0' in text
        assert 'direction="up"' in text
        assert 'queueworker_condition{name="mail",namespace="default",status="True",type="Ready"} 1.0' in text
        world.redis.error = RedisReadError("refused")
        await asyncio.sleep(5)
        assert "queueworker_backlog_jobs{" not in world.metrics.text().decode()

    live(story)
