"""Every reason of a condition or an event, from the queue and the cluster into the status and what is published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from reconciler_cluster import KEY, Deployment, now
from reconciler_load import AT_ONCE, waiting, with_password
from reconciler_world import World, document, live

from queueworker.errors import RedisReadError
from queueworker.workers import JobStatistics
from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.api.reasons import ConditionType as Type
from queueworker_operator.cluster.port import ClusterError
from queueworker_operator.scaling.observation import Ownership, Problem

Story = Callable[[World], Awaitable[None]]
Kind = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A story, and how its reason is told: as that of a condition, of an event, or of both."""

    story: Story
    condition: tuple[Type, str] | None
    event: Kind | None

    def by(self, world: World, reason: Reason) -> bool:
        condition = self.condition is None or (
            KEY in world.cluster.statuses and world.condition(self.condition[0]) == (self.condition[1], reason)
        )
        return condition and (self.event is None or self.event in _kinds(world, reason))


STORIES: dict[Reason, Told] = {}
CRASH = Problem(reason=Reason.WORKERS_NOT_READY, message="pod mail-1: container worker: CrashLoopBackOff")


pytestmark = pytest.mark.usefixtures("no_logs")


def tells(
    reason: Reason, condition: Type | None = None, status: str = "True", *, event: Kind | None = None
) -> Callable[[Story], Story]:
    """Keep the story that leads to a reason, with the condition and the event that say it."""
    assert condition is not None or event is not None

    def keep(story: Story) -> Story:
        assert reason not in STORIES
        STORIES[reason] = Told(story=story, condition=condition and (condition, status), event=event)
        return story

    return keep


def test_there_is_a_story_for_every_reason() -> None:
    missing = [reason for reason in Reason if reason not in STORIES]
    assert not missing, f"no test produces {', '.join(missing)}: tell a story, or delete what can no longer happen"


@pytest.mark.parametrize("reason", list(Reason))
def test_the_status_or_an_event_tells(reason: Reason) -> None:
    told = STORIES[reason]

    async def story(world: World) -> None:
        await told.story(world)
        for _ in range(120):
            if told.by(world, reason):
                break
            await asyncio.sleep(0.5)
        conditions = world.status().conditions or []
        assert told.by(world, reason), (conditions, world.cluster.events)
        assert [one.type for one in conditions] == list(Type)
        said = {one.reason for one in conditions} | {one for _, one, _ in world.cluster.events}
        assert said <= set(Reason), "what is told is of the enum"
        assert all(one.message for one in conditions)
        assert all(message for _, _, message in world.cluster.events)
        assert len(_kinds(world, reason)) <= 2, "on transitions alone"
        assert not world.errors

    live(story)


@pytest.mark.parametrize(
    ("loss", "words"),
    [(None, "the number is kept"), ({"afterSeconds": 10, "replicas": 3}, "that of autoscaling.onMetricsLoss")],
)
def test_without_metrics_the_condition_says_what_becomes_of_the_number(loss: dict[str, int] | None, words: str) -> None:
    async def story(world: World) -> None:
        await start(world, autoscaling={} if loss is None else {"onMetricsLoss": loss})
        world.redis.error = RedisReadError("NOPERM", reason=Reason.REDIS_DENIED)
        await asyncio.sleep(60)
        assert world.cluster.deployments[KEY].replicas == (1 if loss is None else 3)
        [said] = [one for one in world.status().conditions or () if one.type == Type.SCALING_ACTIVE]
        assert said.reason == Reason.METRICS_UNKNOWN
        assert words in said.message, said.message

    live(story)


def _kinds(world: World, reason: Reason) -> list[str]:
    return [kind for kind, one, _ in world.cluster.events if one == reason]


async def start(world: World, *, queue: dict[str, Any] | None = None, **spec: Any) -> None:
    """Let a QueueWorker be there and settle, with one worker at the least unless it says otherwise."""
    world.redis.queues["mail"] = dict(queue or {})
    scaling = {"minReplicas": 1, "behavior": AT_ONCE, **spec.pop("autoscaling", {})}
    world.put(document(autoscaling=scaling, **spec))
    await asyncio.sleep(8)


def of_target() -> dict[str, Any]:
    body = document(targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"})
    del body["spec"]["worker"]
    return body


def refuses(reason: Reason, message: str) -> Callable[[], Exception]:
    return lambda: ClusterError(message, reason=reason)


def unreadable(reason: Reason) -> None:
    """Let a reason be told that the reader gives for a failed reading."""

    @tells(reason, Type.QUEUE_REACHABLE, "False", event="Warning")
    async def _(world: World) -> None:
        await start(world)
        world.redis.error = RedisReadError(f"Redis redis:6379/0: {reason}", reason=reason)


for failure in (
    Reason.REDIS_UNREACHABLE,
    Reason.REDIS_AUTH_FAILED,
    Reason.REDIS_DENIED,
    Reason.REDIS_TLS_ERROR,
    Reason.REDIS_MEMORY_FULL,
    Reason.ROLE_NOT_MASTER,
    Reason.INVALID_QUEUE_KEY,
):
    unreadable(failure)


@tells(Reason.ROLLED_OUT, Type.READY)
@tells(Reason.SPEC_ACCEPTED, Type.STALLED, "False")
@tells(Reason.WORKERS_READY, Type.WORKERS_AVAILABLE)
@tells(Reason.WORKERS_CREATED, event="Normal")
@tells(Reason.SCALING, Type.SCALING_ACTIVE)
@tells(Reason.WITHIN_LIMITS, Type.SCALING_LIMITED, "False")
@tells(Reason.NOT_PAUSED, Type.PAUSED, "False")
@tells(Reason.NOT_SHARED, Type.QUEUE_SHARED, "False")
@tells(Reason.CONSUMING, Type.WORKERS_CONSUMING)
async def _(world: World) -> None:
    await start(world, queue=waiting(25, active=1))


@tells(Reason.NOTHING_TO_CONSUME, Type.WORKERS_CONSUMING)
async def _(world: World) -> None:
    await start(world)


@tells(Reason.NO_WORKERS, Type.WORKERS_AVAILABLE)
async def _(world: World) -> None:
    await start(world, autoscaling={"minReplicas": 0})


@tells(Reason.ROLLING_OUT, Type.RECONCILING)
async def _(world: World) -> None:
    await start(world)
    world.cluster.touch(rolled_out=False)


@tells(Reason.PENDING, Type.RECONCILING)
async def _(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(3, "mail:0", ownership=Ownership.TERMINATING)
    await start(world)


@tells(Reason.SPEC_INVALID, Type.STALLED, event="Warning")
@tells(Reason.NOT_YET_READ, Type.QUEUE_REACHABLE, "Unknown")
async def _(world: World) -> None:
    world.put(document(redis={"host": "localhost"}))


@tells(Reason.NAME_CONFLICT, Type.READY, "False", event="Warning")
async def _(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(3, "theirs", ownership=Ownership.FOREIGN)
    await start(world)


@tells(Reason.DRIFT_CORRECTED, event="Warning")
async def _(world: World) -> None:
    await start(world)
    world.cluster.touch(applied="theirs")


@tells(Reason.DRIFT_FIGHT, Type.READY, "False", event="Warning")
async def _(world: World) -> None:
    await start(world)
    for _ in range(80):
        if world.cluster.deployments[KEY].applied != "theirs":
            world.cluster.touch(applied="theirs")
        await asyncio.sleep(1)


@tells(Reason.SECRET_NOT_FOUND, Type.READY, "False", event="Warning")
async def _(world: World) -> None:
    await start(world, **with_password())


@tells(Reason.SECRET_NOT_ALLOWED, Type.READY, "False", event="Warning")
async def _(world: World) -> None:
    world.cluster.fail["secret"] = refuses(Reason.SECRET_NOT_ALLOWED, "the Secret redis lacks its label: add it")
    await start(world, **with_password())


@tells(Reason.CLUSTER_DENIED, Type.STALLED, event="Warning")
async def _(world: World) -> None:
    await start(world)
    world.cluster.fail["scale"] = refuses(Reason.CLUSTER_DENIED, "forbidden: deployments/scale")
    world.redis.queues["mail"] = waiting(50)


@tells(Reason.QUOTA_EXCEEDED, Type.READY, "False", event="Warning")
async def _(world: World) -> None:
    await start(world)
    quota = Problem(reason=Reason.QUOTA_EXCEEDED, message="exceeded quota: few, limited: pods=1")
    world.cluster.touch(rollout_problem=quota)


@tells(Reason.WORKERS_NOT_READY, Type.WORKERS_AVAILABLE, "False")
async def _(world: World) -> None:
    world.cluster.start_seconds = 1e6
    await start(world)
    world.cluster.touch(pod_problem=CRASH)


@tells(Reason.NOT_CONSUMING, Type.WORKERS_CONSUMING, "False", event="Warning")
async def _(world: World) -> None:
    await start(world, queue=waiting(5))
    await asyncio.sleep(60)


@tells(Reason.QUEUE_READ, Type.QUEUE_REACHABLE, event="Normal")
async def _(world: World) -> None:
    await start(world)
    world.redis.error = RedisReadError("refused")
    await asyncio.sleep(60)
    world.redis.error = None


@tells(Reason.QUEUE_MISSING, Type.QUEUE_REACHABLE)
async def _(world: World) -> None:
    await start(world, queue=waiting(5))
    world.redis.queues.remove("mail")


@tells(Reason.METRICS_UNKNOWN, Type.SCALING_ACTIVE, "False", event="Warning")
async def _(world: World) -> None:
    await start(world, autoscaling={"onMetricsLoss": {"afterSeconds": 10, "replicas": 3}})
    world.cluster.fail["scale"] = refuses(Reason.CLUSTER_DENIED, "forbidden: deployments/scale")
    world.redis.error = RedisReadError("NOPERM", reason=Reason.REDIS_DENIED)
    await asyncio.sleep(15)


@tells(Reason.FIXED_REPLICAS, Type.SCALING_ACTIVE, "False")
async def _(world: World) -> None:
    world.put(document(replicas=2))


@tells(Reason.DRY_RUN, Type.SCALING_ACTIVE, "False")
async def _(world: World) -> None:
    await start(world, autoscaling={"dryRun": True})


@tells(Reason.CONFLICTING_AUTOSCALER, Type.SCALING_ACTIVE, "False", event="Warning")
async def _(world: World) -> None:
    await start(world)
    world.cluster.touch(conflict="HorizontalPodAutoscaler theirs")


def test_rivals_that_may_not_be_seen_are_told_at_once_and_until_they_are() -> None:
    async def story(world: World) -> None:
        await start(world)
        world.cluster.touch(conflict_problem=Problem(reason=Reason.CLUSTER_DENIED, message="forbidden"))
        await asyncio.sleep(1)
        assert world.condition(Type.SCALING_ACTIVE) == ("Unknown", Reason.CLUSTER_DENIED)
        world.redis.queues["mail"] = waiting(50)
        await asyncio.sleep(1)
        assert world.cluster.deployments[KEY].replicas > 1, "it scales on"
        world.cluster.touch(conflict_problem=None)
        await asyncio.sleep(1)
        assert world.condition(Type.SCALING_ACTIVE) == ("True", Reason.SCALING)

    live(story)


@tells(Reason.PAUSED_BY_USER, Type.PAUSED)
async def _(world: World) -> None:
    await start(world, autoscaling={"paused": True})


@tells(Reason.QUEUE_PAUSED, Type.PAUSED)
async def _(world: World) -> None:
    await start(world, queue=waiting(5, paused=True))


@tells(Reason.LIMITED, Type.SCALING_LIMITED)
async def _(world: World) -> None:
    await start(world, queue=waiting(500))


@tells(Reason.QUEUE_SHARED, Type.QUEUE_SHARED)
async def _(world: World) -> None:
    halves = {"queues": [{"name": "mail", "sharePercent": 50}]}
    world.put(document("other", **halves))
    await start(world, **halves)


@tells(Reason.TARGET_FOUND, Type.READY)
async def _(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(2, None, ownership=Ownership.TARGET)
    world.put(of_target())


@tells(Reason.TARGET_NOT_FOUND, Type.READY, "False", event="Warning")
async def _(world: World) -> None:
    gone = Problem(reason=Reason.TARGET_NOT_FOUND, message="there is no Deployment theirs: create it")
    world.cluster.deployments[KEY] = Deployment(0, None, ownership=Ownership.TARGET, target_problem=gone)
    world.put(of_target())


@tells(Reason.TARGET_INFEASIBLE, Type.SCALING_LIMITED, event="Warning")
async def _(world: World) -> None:
    world.cluster.start_seconds = 50.0
    # Three starts, so that it is measured; what the queue asks for afterwards is within the limits.
    await start(world, queue=waiting(30), autoscaling={"minReplicas": 0})
    await asyncio.sleep(60)
    world.redis.queues["mail"] = {}


@tells(Reason.DRAIN_TOO_SHORT, Type.WORKERS_AVAILABLE, event="Warning")
async def _(world: World) -> None:
    videos = JobStatistics("video", 1000, 1000 * 30_000, {14: 900, 17: 100})
    world.redis.details["mail"] = {"statistics": (videos,), "next_names": {"video": 1}}
    await start(world, queue=waiting(1))


@tells(Reason.PRIORITY_STARVED, Type.WORKERS_CONSUMING, event="Warning")
async def _(world: World) -> None:
    old = int(now() * 1000) - 600_000
    await start(world, queue=waiting(5, active=1, prioritized=5, oldest_prioritized_ms=old))


@tells(Reason.SCALED_UP, event="Normal")
async def _(world: World) -> None:
    await start(world)
    world.redis.queues["mail"] = waiting(50)


@tells(Reason.SCALED_DOWN, event="Normal")
async def _(world: World) -> None:
    await start(world, queue=waiting(50))
    world.redis.queues["mail"] = {}


@tells(Reason.WORKERS_ADOPTED, event="Normal")
async def _(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(1, None, ownership=Ownership.ADOPTABLE)
    await start(world)


@tells(Reason.TEMPLATE_APPLIED, event="Normal")
async def _(world: World) -> None:
    await start(world)
    body = document(worker={"image": "mail:2"})
    body["metadata"]["generation"] = 2
    world.put(body)
