"""What the reconciler looks at and writes around a scale-in: pods, details, victims, their costs; in virtual time."""

from __future__ import annotations

import asyncio

import pytest
from reconciler_cluster import KEY, clock
from reconciler_load import five, held_by, kinds, one_is_busy, waiting
from reconciler_world import World, live

from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError

pytestmark = pytest.mark.usefixtures("no_logs")


def test_a_scale_in_names_its_victims_before_the_number_and_lets_the_busy_live() -> None:
    async def story(world: World) -> None:
        await five(world)
        busy = ["pod-4", "pod-5"]
        world.redis.details["mail"] = held_by(*busy)
        started = clock()
        world.redis.queues["mail"] = {"active": 2, "completed_count": 0, "failed_count": 0}
        await asyncio.sleep(90)
        order = kinds(world, started, "pods", "costs", "scale")
        at = order.index("costs")
        assert order[at - 1 : at + 2] == ["pods", "costs", "scale"], order
        costs = next(detail for what, detail in world.cluster.writes(since=started) if what == "costs")
        assert isinstance(costs, dict)
        assert set(costs.values()) == {-100}
        assert not costs.keys() & set(busy)
        left = world.cluster.deployments[KEY].staying()
        assert {pod.name for pod in left} == set(busy)
        assert {pod.cost for pod in left} == {None}

    live(story)


def test_a_scale_in_reads_the_queue_again_where_the_last_reading_is_old() -> None:
    async def story(world: World) -> None:
        await five(world, minReplicas=0, cooldownSeconds=40)
        world.redis.queues["mail"] = {}
        await asyncio.sleep(15)
        await asyncio.sleep(120)
        assert world.cluster.deployments[KEY].replicas == 0
        written = max(at for at, what, number in world.cluster.calls if what == "scale" and number == 0)
        assert written - max(at for at in world.redis.reads if at < written) < 1.5

    live(story)


def test_without_details_a_scale_in_keeps_a_slot_for_each_active_job_and_waits_for_no_more() -> None:
    async def story(world: World) -> None:
        await five(world)
        world.redis.details_error = RedisReadError("NOPERM no permissions to run hmget", reason="RedisDenied")
        world.redis.details["mail"] = held_by("pod-4", "pod-5", "pod-5")
        world.redis.queues["mail"] = {"active": 3, "completed_count": 0, "failed_count": 0}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 3, "three jobs run, and on which pods cannot be read"
        assert world.condition("QueueReachable") == ("True", "QueueRead"), "the counts are read"
        world.redis.queues["mail"] = {}
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 1
        rest = clock()
        await asyncio.sleep(600)
        assert kinds(world, rest, "status", "scale") == []

    live(story)


def test_a_scale_in_whose_queue_cannot_be_read_again_is_held_and_said_so() -> None:
    async def story(world: World) -> None:
        await five(world, minReplicas=0, cooldownSeconds=40)
        started = clock()
        # Redis answers no more: what was read before, also that no job is left, must lower nothing.
        world.redis.queues["mail"] = {}
        await asyncio.sleep(5)
        world.redis.error = RedisReadError("connection refused")
        await asyncio.sleep(120)
        assert 0 not in world.cluster.numbers(since=started)
        assert world.status().scaling.desired > 0
        world.redis.error = None
        await asyncio.sleep(120)
        assert world.cluster.deployments[KEY].replicas == 0

    live(story)


def test_costs_that_are_refused_stop_no_scale_in_and_are_told_once() -> None:
    async def story(world: World) -> None:
        await five(world)
        world.cluster.fail["costs"] = lambda: ClusterError("pods is forbidden", reason=ConditionReason.CLUSTER_DENIED)
        one_is_busy(world, waiting_=30)
        await asyncio.sleep(40)
        one_is_busy(world)
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == 1
        told = [event for event in world.cluster.events if "victims" in event[2]]
        assert len(told) == 1, world.cluster.events
        assert told[0][:2] == ("Warning", "ClusterDenied")
        assert world.condition("Ready") == ("True", "RolledOut")

    live(story)


def test_a_cancelled_scale_in_takes_the_costs_back() -> None:
    async def story(world: World) -> None:
        await five(world)
        world.cluster.fail["scale"] = lambda: ClusterUnavailableError("no answer")
        one_is_busy(world)
        await asyncio.sleep(5)
        assert {pod.cost for pod in world.cluster.deployments[KEY].pods} == {None, -100}
        world.cluster.fail.clear()
        world.redis.queues["mail"] = waiting(50)
        await asyncio.sleep(20)
        assert world.cluster.deployments[KEY].replicas == 5
        assert {pod.cost for pod in world.cluster.deployments[KEY].pods} == {None}

    live(story)


def test_a_decision_that_could_not_be_written_for_two_intervals_is_dropped() -> None:
    async def story(world: World) -> None:
        started = await five(world)
        latency = world.cluster.latency

        def slow() -> Exception:
            # Setting the costs takes longer than two intervals, and meanwhile the jobs come back.
            world.redis.queues["mail"] = waiting(50)
            world.cluster.fail.clear()
            return ClusterError("slow, and refused", reason=ConditionReason.CLUSTER_DENIED)

        world.cluster.fail["costs"] = slow
        world.cluster.latency = 3.0
        one_is_busy(world)
        await asyncio.sleep(30)
        world.cluster.latency = latency
        await asyncio.sleep(20)
        assert kinds(world, started, "scale") == [], world.cluster.writes(since=started)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)


def test_a_conflict_of_a_scale_in_decides_anew() -> None:
    async def story(world: World) -> None:
        await five(world)
        errors = iter([ConflictError("changed meanwhile")])

        def once() -> Exception:
            world.cluster.fail.pop("scale")
            return next(errors)

        world.cluster.fail["scale"] = once
        started = clock()
        one_is_busy(world)
        await asyncio.sleep(10)
        assert kinds(world, started, "scale") == ["scale", "scale"]
        assert kinds(world, started, "costs") == ["costs"], "who bears the cost already gets it no second time"
        assert world.cluster.deployments[KEY].replicas == 2

    live(story)
