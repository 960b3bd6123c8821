"""Which number the reconciler writes, and what it writes and tells beside it; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from reconciler_cluster import KEY, Deployment, clock, now
from reconciler_load import SOON, five, kinds, waiting
from reconciler_world import World, document, live

from queueworker.details import ActiveJob
from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.scaling.observation import Ownership

pytestmark = pytest.mark.usefixtures("no_logs")


def test_from_zero_the_number_is_written_without_any_look() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        started = clock()
        world.redis.queues["mail"] = waiting(45)
        await asyncio.sleep(0.05)
        calls = [(what, at - started) for at, what, _ in world.cluster.calls if at >= started]
        assert calls[0][0] == "scale", calls
        assert calls[0][1] < 0.01, "the read of the queue takes 2 ms, all else is our own"
        assert kinds(world, started, "observe", "pods", "costs") == []

    live(story)


def test_a_write_from_zero_that_meets_another_looks_and_writes_again_at_once() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        # Somebody else wrote, and the watch has not told yet.
        world.cluster.deployments[KEY].version += 1
        started = clock()
        world.redis.queues["mail"] = waiting(45)
        await asyncio.sleep(0.2)
        assert kinds(world, started, "scale", "observe") == ["scale", "observe", "scale"]
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)


def test_a_target_is_scaled_and_nothing_else() -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(2, None, ownership=Ownership.TARGET, grace_seconds=30)
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"}
        body = document(targetRef=target, autoscaling=SOON)
        del body["spec"]["worker"]
        world.redis.queues["mail"] = waiting(50)
        world.put(body)
        await asyncio.sleep(20)
        assert world.cluster.deployments[KEY].replicas == 5
        assert {what for what, _ in world.cluster.writes()} <= {"scale", "status", "event"}
        assert world.condition("Ready")[0] == "True"
        world.delete(KEY)
        started = clock()
        await asyncio.sleep(60)
        assert world.cluster.writes(since=started) == []

    live(story)


@pytest.mark.parametrize(
    ("changes", "annotations", "reason"),
    [
        ({"autoscaling": SOON | {"dryRun": True}}, {}, ScalingReason.DRY_RUN),
        ({"autoscaling": SOON | {"paused": True}}, {}, ScalingReason.PAUSED_BY_USER),
        ({}, {"queueworker.dev/paused": "true"}, ScalingReason.PAUSED_BY_USER),
    ],
)
def test_who_is_not_to_write_reports_alone(
    changes: dict[str, Any], annotations: dict[str, str], reason: ScalingReason
) -> None:
    async def story(world: World) -> None:
        world.cluster.deployments[KEY] = Deployment(1, "mail:1")
        world.redis.queues["mail"] = waiting(50)
        world.put(document(**({"autoscaling": SOON} | changes)), annotations=annotations)
        await asyncio.sleep(30)
        assert {what for what, _ in world.cluster.writes()} <= {"status", "event"}
        assert world.status().scaling.reason is reason
        assert "5" in world.status().scaling.message

    live(story)


def test_a_pin_beats_the_queues_and_ends_when_it_said() -> None:
    async def story(world: World) -> None:
        await five(world)
        pin = {"queueworker.dev/pinned-replicas": "9", "queueworker.dev/pinned-until": "2027-01-15T08:20:00Z"}
        world.put(document(autoscaling=SOON), annotations=pin)
        await asyncio.sleep(10)
        assert world.cluster.deployments[KEY].replicas == 9
        assert world.status().scaling.reason is ScalingReason.PINNED
        ends = 1_800_001_200 - now()
        assert ends > 0
        await asyncio.sleep(ends + 60)
        assert world.cluster.deployments[KEY].replicas == 5

    live(story)


def test_no_status_delays_a_number() -> None:
    async def story(world: World) -> None:
        world.put(document())
        await asyncio.sleep(10)
        write = world.cluster.write_status

        async def slow(*args: Any) -> None:
            await asyncio.sleep(20)
            await write(*args)

        world.cluster.write_status = slow  # type: ignore[method-assign]
        world.redis.queues["mail"] = waiting(15)
        await asyncio.sleep(0.5)
        assert world.cluster.deployments[KEY].replicas == 2
        started = clock()
        world.redis.queues["mail"] = waiting(95)
        await asyncio.sleep(2)
        assert world.cluster.deployments[KEY].replicas == 10
        assert clock() - started < 3
        await asyncio.sleep(60)
        assert world.status().scaling.desired == 10

    live(story)


def test_at_the_start_of_many_a_burst_waits_for_none_of_them() -> None:
    async def story(world: World) -> None:
        names = [f"mail-{number}" for number in range(200)]
        for name in names:
            world.put(document(name))
        await asyncio.sleep(20)
        assert len(world.cluster.deployments) == 200
        # Every key wants a look that takes its time, and one queue speaks.
        world.cluster.latency = 1.0
        for key in list(world.cluster.deployments):
            world.cluster.touch(key, applied="theirs")
        await asyncio.sleep(0.5)
        started = clock()
        world.redis.queues["mail-177"] = waiting(45)
        await asyncio.sleep(0.2)
        scaled = [at for at, what, _ in world.cluster.calls if what == "scale" and at >= started]
        assert scaled, "it stood in the line"
        assert scaled[0] - started < 0.1

    live(story)


def test_a_flushed_queue_holds_the_number_for_an_hour() -> None:
    async def story(world: World) -> None:
        await five(world, minReplicas=2)
        world.redis.queues.remove("mail")
        gone = clock()
        await asyncio.sleep(120)
        assert world.status().scaling.reason is ScalingReason.QUEUE_MISSING
        await asyncio.sleep(3400)
        assert world.cluster.numbers(since=gone) == [], "for an hour nothing is written"
        await asyncio.sleep(300)
        assert world.cluster.deployments[KEY].replicas == 2
        written = [at for at, what, _ in world.cluster.calls if what == "scale" and at > gone]
        assert min(written) - gone >= 3600

    live(story)


def running(*, locked: bool) -> dict[str, Any]:
    job = ActiveJob(name="n", owner="elsewhere", locked=locked, started_ms=int(now() * 1000), stalled_count=0)
    return {"active": (job,), "active_total": 1}


def test_a_job_that_somebody_else_runs_starts_no_worker() -> None:
    async def story(world: World) -> None:
        world.put(document(autoscaling={"target": {"backlogPerReplica": 10}}))
        await asyncio.sleep(40)
        started = clock()
        for _ in range(5):
            # The counts are read at the first event, the details seconds later.
            world.redis.details["mail"] = running(locked=True)
            world.redis.queues["mail"] = {"active": 1}
            await asyncio.sleep(33)
            world.redis.details["mail"] = {"active": (), "active_total": 0}
            world.redis.queues["mail"] = {}
            await asyncio.sleep(71)
        assert kinds(world, started, "scale") == []

    live(story)


@pytest.mark.parametrize("known", [True, False])
def test_an_orphan_starts_a_worker_also_where_only_the_counts_can_be_read(*, known: bool) -> None:
    async def story(world: World) -> None:
        world.put(document(autoscaling={"target": {"backlogPerReplica": 10}}))
        await asyncio.sleep(40)
        world.redis.details["mail"] = running(locked=False)
        if not known:
            world.redis.details_error = RedisReadError("NOPERM no permissions to run hmget", reason="RedisDenied")
        world.redis.queues["mail"] = {"active": 1}
        await asyncio.sleep(5)
        assert world.cluster.deployments[KEY].replicas == 1
        assert "OrphanRescue" in {change.reason for change in world.status().scaling.history}

    live(story)


@pytest.mark.parametrize(("jobs", "reason"), [(45, "AtMaximum"), (25, "AtMaximum"), (15, "BacklogAboveTarget")])
def test_a_lowered_maximum_is_what_the_change_is_told_with(jobs: int, reason: str) -> None:
    async def story(world: World) -> None:
        await five(world, behavior={"scaleDown": {"stabilizationWindowSeconds": 300}})
        world.redis.queues["mail"] = waiting(jobs)
        lowered = document(autoscaling=SOON | {"maxReplicas": 2})
        lowered["metadata"]["generation"] = 2
        world.put(lowered)
        for pause in (0.5, 3.0):
            await asyncio.sleep(pause)
            changes = [(change.from_, change.to, change.reason) for change in world.status().scaling.history]
            assert changes[0] == (5, 2, ScalingReason.AT_MAXIMUM)
            assert world.status().scaling.reason == reason, world.status().scaling.message

    live(story)


def test_the_fallback_of_a_loss_is_told_for_as_long_as_it_lasts() -> None:
    async def story(world: World) -> None:
        await five(world, onMetricsLoss={"afterSeconds": 10, "replicas": 8})
        world.redis.error = RedisReadError("NOPERM", reason="RedisDenied")
        for _ in range(3):
            await asyncio.sleep(30)
            assert world.cluster.deployments[KEY].replicas == 8
            assert world.status().scaling.reason is ScalingReason.METRICS_LOSS_FALLBACK
        told = [event for event in world.cluster.events if "onMetricsLoss" in event[2] and event[0] == "Warning"]
        assert len(told) == 1, world.cluster.events
        world.redis.error = None
        await asyncio.sleep(10)
        assert world.status().scaling.reason is not ScalingReason.METRICS_LOSS_FALLBACK

    live(story)
