"""The reconciler through restarts, outages, conflicts and refusals, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from reconciler_cluster import KEY, Deployment, clock
from reconciler_load import AT_ONCE, BUSY
from reconciler_world import World, document, live

from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.cluster.port import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    GoneError,
    Key,
    Resource,
)
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

pytestmark = pytest.mark.usefixtures("no_logs")


@pytest.mark.parametrize("write", ["create", "status"])
def test_a_queueworker_whose_deletion_no_watch_told_is_let_go(write: str) -> None:
    async def story(world: World) -> None:
        world.cluster.fail[write] = lambda: GoneError("gone")
        world.put(document())
        await asyncio.sleep(600)
        assert world.cluster.count()[write] == 1
        assert world.store == {}
        assert len(world.redis.reads) == 1
        assert not world.errors

    live(story)


def test_whom_a_queueworker_stood_in_the_way_of_is_looked_at_when_it_is_let_go() -> None:
    async def story(world: World) -> None:
        younger = Key("default", "younger")
        theirs = Deployment(1, None, ownership=Ownership.TARGET, conflict="QueueWorker mail")
        world.cluster.deployments[younger] = theirs
        body = document(
            "younger",
            queues=[{"name": "mail"}],
            targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"},
        )
        del body["spec"]["worker"]
        world.redis.queues["mail"] = dict(BUSY)
        world.put(body, created_at=2.0)
        await asyncio.sleep(12)
        assert world.cluster.numbers() == []

        def gone() -> Exception:
            theirs.conflict = None
            return GoneError("gone")

        world.cluster.fail["create"] = gone
        world.put(document(), created_at=1.0)
        assert world.rivals.elder(world.store[younger]) is not None
        await asyncio.sleep(1)
        assert set(world.store) == {younger}
        assert world.rivals.elder(world.store[younger]) is None
        assert theirs.replicas == 5, "it is told at once, not when its pods are listed again"

    live(story)


def test_a_restart_writes_nothing() -> None:
    first: list[World] = []

    async def before(world: World) -> None:
        first.append(world)
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(200)

    async def after(world: World) -> None:
        world.put(document())
        await asyncio.sleep(60)
        assert world.cluster.writes() == [], world.status()
        assert len(world.redis.reads) > 50

    live(before)
    first[0].cluster.calls.clear()
    live(after, cluster=first[0].cluster, redis=first[0].redis, start=1300)


def test_after_a_restart_two_readings_must_call_for_fewer() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(8, "mail:1")
        world.redis.queues["mail"] = {"active": 2}
        world.put(document(autoscaling={"behavior": AT_ONCE}))
        await asyncio.sleep(0.5)
        assert world.redis.reads
        assert "scale" not in world.cluster.count()
        await asyncio.sleep(3)
        assert [one for one in world.cluster.writes() if one[0] == "scale"] == [("scale", 3)]
        assert len(world.redis.reads) >= 2

    live(story)


def test_an_outage_of_redis_writes_no_number_and_is_told_once() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document())
        await asyncio.sleep(30)
        started = clock()
        world.redis.error = RedisReadError("Redis redis:6379/0: refused")
        await asyncio.sleep(1.5)
        assert world.condition("QueueReachable")[0] == "True", "one or two failed reads are a hiccup"
        await asyncio.sleep(600)
        assert world.condition("QueueReachable") == ("False", "RedisUnreachable")
        assert world.status().scaling.reason is ScalingReason.HOLDING_METRICS_UNKNOWN
        writes = Counter(what for what, _ in world.cluster.writes(since=started))
        assert not writes.keys() & {"scale", "apply", "create"}
        assert writes["status"] <= 3, world.cluster.writes(since=started)
        assert [event[:2] for event in world.cluster.events if event[1] == "RedisUnreachable"] == [
            ("Warning", "RedisUnreachable")
        ]
        world.redis.error = None
        reads = len(world.redis.reads)
        while world.condition("QueueReachable")[0] != "True":
            await asyncio.sleep(0.05)
            assert len(world.redis.reads) - reads <= 2, "recovery within two reads"

    live(story)


def test_a_short_outage_after_which_fewer_are_needed_shrinks_only_at_the_second_reading() -> None:
    async def story(world: World) -> None:
        world.redis.queues["mail"] = dict(BUSY)
        world.put(document(autoscaling={"behavior": AT_ONCE}))
        await asyncio.sleep(30)
        world.redis.error = RedisReadError("refused")
        await asyncio.sleep(20)
        world.redis.queues["mail"] = {"active": 1}
        world.redis.error = None
        recovered = clock()
        await asyncio.sleep(10)
        scaled = [at for at, what, _ in world.cluster.calls if what == "scale" and at >= recovered]
        good = [at for at in world.redis.reads if at >= recovered]
        assert scaled
        assert scaled[0] > good[1]

    live(story)


def test_a_conflict_is_looked_at_again_at_once() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        failures = iter([ConflictError("no"), ConflictError("no")])

        def fail() -> Exception:
            error = next(failures, None)
            if error is None:
                world.cluster.fail.pop("scale")
                return ConflictError("last")
            return error

        world.cluster.fail["scale"] = fail
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(6)
        assert world.cluster.deployments[KEY].replicas == 5
        assert not world.errors
        tries = [at for at, what, _ in world.cluster.calls if what == "scale"]
        assert tries[-1] - tries[0] < 1

    live(story)


def test_conflicts_without_end_are_no_hot_loop() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.cluster.fail["scale"] = lambda: ConflictError("no")
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(600)
        assert world.errors
        assert world.cluster.count()["scale"] < 40

    live(story)


def test_a_refused_write_is_tried_seldom_told_and_forgotten_when_it_succeeds() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        world.cluster.fail["scale"] = lambda: ClusterError("forbidden", reason=ConditionReason.CLUSTER_DENIED)
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(600)
        assert world.condition("Ready") == ("False", "ClusterDenied")
        assert world.condition("Stalled") == ("True", "ClusterDenied")
        assert world.cluster.count()["scale"] < 12
        assert world.status().scaling.history is None, "what was not written is no change"
        world.cluster.fail.clear()
        await asyncio.sleep(300)
        assert world.cluster.deployments[KEY].replicas == 5
        assert world.condition("Ready") == ("True", "RolledOut")
        assert not world.errors

    live(story)


def test_an_api_server_that_is_down_stops_no_reading_and_is_asked_ever_more_seldom() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        for what in ("observe", "scale", "status", "event"):
            world.cluster.fail[what] = lambda: ClusterUnavailableError("no answer")
        world.redis.queues["mail"] = dict(BUSY)
        started, reads = clock(), len(world.redis.reads)
        await asyncio.sleep(60)
        assert len(world.redis.reads) - reads > 50
        asked = world.cluster.count(since=started)
        assert asked["observe"] + asked["glance"] + asked["scale"] < 8
        assert asked["status"] + asked["event"] < 8, "what is told backs off by itself"
        world.cluster.fail.clear()
        back = clock()
        await asyncio.sleep(61)
        assert [one for one in world.cluster.writes(since=back) if one[0] == "scale"] == [("scale", 5)]

    live(story)


def test_a_broken_queueworker_delays_no_other() -> None:
    async def story(world: World) -> None:
        observe = world.cluster.observe

        async def hang(resource: Resource, *, fresh: bool = True, pods: bool = False) -> WorkersObservation:
            if resource.key.name == "stuck":
                await asyncio.sleep(1e6)
            return await observe(resource, fresh=fresh, pods=pods)

        world.cluster.observe = hang  # type: ignore[method-assign]
        world.put(document("stuck"))
        world.put(document())
        await asyncio.sleep(10)
        world.redis.queues["mail"] = dict(BUSY)
        await asyncio.sleep(7)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)
