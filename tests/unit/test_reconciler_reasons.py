"""Every reason of a number, from the queue and the cluster through decision and record into the status."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from reconciler_cluster import KEY, Deployment, now
from reconciler_load import AT_ONCE, waiting
from reconciler_world import World, document, live

from queueworker.details import ActiveJob
from queueworker.errors import RedisReadError
from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.cluster.port import ClusterError
from queueworker_operator.scaling.observation import Problem

Story = Callable[[World], Awaitable[None]]
STORIES: dict[ScalingReason, Story] = {}


pytestmark = pytest.mark.usefixtures("no_logs")


def tells(reason: ScalingReason) -> Callable[[Story], Story]:
    """Keep the story that leads to a reason."""

    def keep(story: Story) -> Story:
        STORIES[reason] = story
        return story

    return keep


@pytest.mark.parametrize("reason", list(ScalingReason))
def test_the_status_tells(reason: ScalingReason) -> None:
    async def story(world: World) -> None:
        await STORIES[reason](world)
        for _ in range(120):
            if (known := world.cluster.statuses.get(KEY)) and known.scaling and known.scaling.reason is reason:
                break
            await asyncio.sleep(0.5)
        scaling = world.status().scaling
        assert scaling is not None
        assert scaling.reason is reason, scaling.message
        assert scaling.message.endswith(".")
        assert not world.errors

    live(story)


def test_there_is_a_story_for_every_reason() -> None:
    assert STORIES.keys() == set(ScalingReason)


async def start(world: World, *, settle: float = 8, queue: dict[str, Any] | None = None, **autoscaling: Any) -> None:
    """Let a QueueWorker be there with one worker at the least, whose jobs are said to take a tenth of a second."""
    world.redis.queues["mail"] = dict(queue or {})
    target = {"backlogPerReplica": 10, "expectedJobMilliseconds": 100}
    scaling = {"minReplicas": 1, "maxReplicas": 100, "behavior": AT_ONCE, "target": target, **autoscaling}
    world.put(document(autoscaling=scaling))
    await asyncio.sleep(settle)


def _denied() -> Exception:
    return ClusterError("forbidden", reason=ConditionReason.CLUSTER_DENIED)


@tells(ScalingReason.BACKLOG_ABOVE_TARGET)
async def _(world: World) -> None:
    await start(world)
    world.redis.queues["mail"] = waiting(45)


@tells(ScalingReason.AGE_ABOVE_TARGET)
async def _(world: World) -> None:
    await start(world, target={"maxWaitSeconds": 10, "expectedJobMilliseconds": 1000})
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.KEEP_UP)
async def _(world: World) -> None:
    await start(world, target={"expectedJobMilliseconds": 500})
    for second in range(90):
        world.redis.queues["mail"] = {"active": 5, "completed_count": 10 * second, "failed_count": 0}
        await asyncio.sleep(1)


@tells(ScalingReason.LOOK_AHEAD)
async def _(world: World) -> None:
    await start(world)
    soon = {"delayed_due_soon": 50, "delayed_due_half": 50, "delayed_due_quarter": 50}
    world.redis.queues["mail"] = {"delayed": 50, "next_delayed_ms": int(now() * 1000) + 6000, **soon}


@tells(ScalingReason.FEEDBACK)
async def _(world: World) -> None:
    await start(world, target={"maxWaitSeconds": 30})
    for _ in range(50):
        world.redis.queues["mail"] = waiting(2, active=1)
        await asyncio.sleep(1)


@tells(ScalingReason.SCHEDULED)
async def _(world: World) -> None:
    schedule = {"cron": "* * * * *", "durationSeconds": 3600, "minReplicas": 3}
    await start(world, schedules=[schedule])


@tells(ScalingReason.WITHIN_TOLERANCE)
async def _(world: World) -> None:
    await start(world, queue=waiting(200))
    assert world.cluster.deployments[KEY].replicas == 20
    world.redis.queues["mail"] = waiting(190)


@tells(ScalingReason.SCALE_UP_RATE_LIMITED)
async def _(world: World) -> None:
    await start(world, behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 600}]}})
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.SCALE_DOWN_RATE_LIMITED)
async def _(world: World) -> None:
    one = {"type": "Pods", "value": 1, "periodSeconds": 600}
    # There already: what was added within the period may go at once, as with an HPA.
    world.cluster.deployments[KEY] = Deployment(10, "mail:1")
    await start(world, behavior={"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [one]}})


@tells(ScalingReason.NEXT_JOB_DUE)
async def _(world: World) -> None:
    await start(world, minReplicas=0, queue=waiting(5))
    due = int(now() * 1000) + 120_000
    world.redis.queues["mail"] = {"delayed": 1, "next_delayed_ms": due}
    await asyncio.sleep(35)


@tells(ScalingReason.LIMITED_BY_GLOBAL_CONCURRENCY)
async def _(world: World) -> None:
    await start(world)
    world.redis.queues["mail"] = waiting(100, global_concurrency=2)


@tells(ScalingReason.LIMITED_BY_RATE_LIMIT)
async def _(world: World) -> None:
    await start(world, target={"expectedJobMilliseconds": 2000})
    world.redis.queues["mail"] = waiting(500, rate_limit_max=1, rate_limit_duration_ms=1000)


@tells(ScalingReason.THROUGHPUT_LIMITED)
async def _(world: World) -> None:
    await start(world, target={"expectedJobMilliseconds": 2000}, throughputLimit={"jobs": 60, "periodSeconds": 60})
    world.redis.queues["mail"] = waiting(500)


@tells(ScalingReason.QUEUE_SHARED)
async def _(world: World) -> None:
    halves = [{"name": "mail", "sharePercent": 50}]
    scaling = {"minReplicas": 1, "maxReplicas": 100}
    world.redis.queues["mail"] = {}
    world.put(document(queues=halves, autoscaling=scaling))
    other = document("other", queues=halves, autoscaling=scaling)
    world.put(other)
    await asyncio.sleep(8)
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.WORKERS_NOT_READY)
async def _(world: World) -> None:
    world.cluster.start_seconds = 1e6
    await start(world)
    crash = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod mail-1: container worker: CrashLoopBackOff")
    world.cluster.touch(pod_problem=crash)
    await asyncio.sleep(20)
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.QUOTA_EXCEEDED)
async def _(world: World) -> None:
    await start(world)
    quota = Problem(reason=ConditionReason.QUOTA_EXCEEDED, message="exceeded quota: few, limited: pods=1")
    world.cluster.touch(rollout_problem=quota)
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.RETRY_STORM)
async def _(world: World) -> None:
    await start(world, target={"backlogPerReplica": 10})
    for second in range(150):
        counts = {"completed_count": second, "failed_count": 20 * second}
        world.redis.queues["mail"] = waiting(20 + 2 * second, active=2, **counts)
        await asyncio.sleep(1)


@tells(ScalingReason.ROLLOUT_IN_PROGRESS)
async def _(world: World) -> None:
    await start(world, queue=waiting(100))
    world.cluster.touch(rolled_out=False)
    world.redis.queues["mail"] = {}


@tells(ScalingReason.ROLE_NOT_MASTER)
async def _(world: World) -> None:
    await start(world)
    world.redis.error = RedisReadError("a replica", reason="RoleNotMaster")


@tells(ScalingReason.REDIS_MEMORY_FULL)
async def _(world: World) -> None:
    await start(world)
    world.redis.error = RedisReadError("used memory is above maxmemory", reason="RedisMemoryFull")


@tells(ScalingReason.METRICS_LOSS_FALLBACK)
async def _(world: World) -> None:
    await start(world, onMetricsLoss={"afterSeconds": 10, "replicas": 3})
    world.cluster.fail["scale"] = _denied
    world.redis.error = RedisReadError("NOPERM", reason="RedisDenied")
    await asyncio.sleep(15)


@tells(ScalingReason.CONFLICTING_AUTOSCALER)
async def _(world: World) -> None:
    await start(world)
    world.cluster.touch(conflict="HorizontalPodAutoscaler theirs")
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.PINNED)
async def _(world: World) -> None:
    await start(world)
    world.put(document(), annotations={"queueworker.dev/pinned-replicas": "7"})


@tells(ScalingReason.DRY_RUN)
async def _(world: World) -> None:
    await start(world)
    body = document(autoscaling={"dryRun": True})
    body["metadata"]["generation"] = 2
    world.put(body)


@tells(ScalingReason.AT_MINIMUM)
async def _(world: World) -> None:
    await start(world, minReplicas=2)


@tells(ScalingReason.AT_MAXIMUM)
async def _(world: World) -> None:
    await start(world, maxReplicas=3)
    world.redis.queues["mail"] = waiting(100)


@tells(ScalingReason.SCALED_TO_ZERO)
async def _(world: World) -> None:
    await start(world, minReplicas=0, queue=waiting(5))
    world.redis.queues["mail"] = {}


@tells(ScalingReason.ACTIVATED_FROM_ZERO)
async def _(world: World) -> None:
    await start(world, minReplicas=0)
    # With a write that is refused it stays at zero, so that this reason stays the one to be told.
    world.cluster.fail["scale"] = _denied
    world.redis.queues["mail"] = waiting(5)


@tells(ScalingReason.STABILIZING_SCALE_DOWN)
async def _(world: World) -> None:
    await start(world, queue=waiting(100), behavior={"scaleDown": {"stabilizationWindowSeconds": 120}})
    world.redis.queues["mail"] = waiting(10)


@tells(ScalingReason.COOLING_DOWN)
async def _(world: World) -> None:
    await start(world, minReplicas=0, queue=waiting(5), cooldownSeconds=300)
    world.redis.queues["mail"] = {}


@tells(ScalingReason.ORPHAN_RESCUE)
async def _(world: World) -> None:
    await start(world, minReplicas=0)
    world.cluster.fail["scale"] = _denied
    lost = ActiveJob(name="n", owner="gone", locked=False, started_ms=None, stalled_count=0)
    world.redis.details["mail"] = {"active": (lost,), "active_total": 1}
    world.redis.queues["mail"] = {"active": 1}


@tells(ScalingReason.BUSY_FLOOR)
async def _(world: World) -> None:
    counters = {"completed_count": 100, "failed_count": 0}
    await start(world, queue=waiting(50, **counters))
    world.redis.queues["mail"] = {"active": 5, **counters, "completed_count": 145}
    await asyncio.sleep(70)


@tells(ScalingReason.LIMITED_BY_SLOTS)
async def _(world: World) -> None:
    world.redis.queues["mail"] = {}
    scaling = {"minReplicas": 1, "maxReplicas": 100, "target": {"backlogPerReplica": 1}}
    world.put(document(queues=[{"name": "mail", "concurrency": 10}], autoscaling=scaling))
    await asyncio.sleep(8)
    world.redis.queues["mail"] = waiting(20)


@tells(ScalingReason.QUEUE_PAUSED)
async def _(world: World) -> None:
    await start(world, minReplicas=0)
    world.redis.queues["mail"] = waiting(5, paused=True)


@tells(ScalingReason.QUEUE_UNUSED)
async def _(world: World) -> None:
    world.put(document())


@tells(ScalingReason.QUEUE_MISSING)
async def _(world: World) -> None:
    await start(world, minReplicas=0, queue=waiting(50))
    world.redis.queues.remove("mail")


@tells(ScalingReason.HOLDING_METRICS_UNKNOWN)
async def _(world: World) -> None:
    await start(world)
    world.redis.error = RedisReadError("refused")


@tells(ScalingReason.CONFIRMING_SCALE_DOWN)
async def _(world: World) -> None:
    world.cluster.deployments[KEY] = Deployment(8, "mail:1")
    world.redis.queues["mail"] = {"active": 2}
    world.put(document(autoscaling={"behavior": AT_ONCE}))
    for _ in range(1000):
        await asyncio.sleep(0.001)
        if KEY in world.cluster.statuses:
            return


@tells(ScalingReason.PAUSED_BY_USER)
async def _(world: World) -> None:
    await start(world)
    world.put(document(), annotations={"queueworker.dev/paused": "true"})


@tells(ScalingReason.FIXED_REPLICAS)
async def _(world: World) -> None:
    world.put(document(replicas=2))


@tells(ScalingReason.SPEC_INVALID)
async def _(world: World) -> None:
    world.put(document(redis={"host": "localhost"}))
