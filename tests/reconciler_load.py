"""What QueueWorkers and their queues look like in the tests of the reconciler."""

from __future__ import annotations

import asyncio
from typing import Any

from reconciler_cluster import KEY, clock, now
from reconciler_world import World, document

from queueworker.details import ActiveJob

BUSY = {"waiting": 45, "oldest_ready_ms": 1}
AT_ONCE: dict[str, Any] = {"scaleDown": {"stabilizationWindowSeconds": 0}}
SOON: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 20,
    "target": {"backlogPerReplica": 10, "expectedJobMilliseconds": 100, "maxWaitSeconds": 86400},
    "behavior": AT_ONCE,
}


def waiting(count: int, **more: Any) -> dict[str, Any]:
    at = int(now() * 1000)
    return {"waiting": count, "oldest_ready_ms": at, "oldest_waiting_ms": at, **more}


def one_is_busy(world: World, *, waiting_: int = 10) -> None:
    """Let jobs wait, and one pod hold another: where none is busy, it is all the same who goes."""
    world.redis.details["mail"] = held_by("pod-1")
    world.redis.queues["mail"] = waiting(waiting_, active=1)


async def five(world: World, **autoscaling: Any) -> float:
    """Let there be five workers; return when that was."""
    world.redis.queues["mail"] = waiting(45)
    world.put(document(autoscaling=SOON | autoscaling))
    await asyncio.sleep(10)
    assert world.cluster.deployments[KEY].replicas == 5
    return clock()


def held_by(*pods: str) -> dict[str, Any]:
    jobs = [
        ActiveJob(name="n", owner=pod, locked=True, started_ms=int(now() * 1000) - 1000, stalled_count=0)
        for pod in pods
    ]
    return {"active": tuple(jobs), "active_total": len(jobs)}


def kinds(world: World, since: float, *wanted: str) -> list[str]:
    return [what for at, what, _ in world.cluster.calls if at >= since and what in wanted]


def with_password() -> dict[str, Any]:
    """Return the part of a spec by which a password is needed."""
    return {"redis": {"host": "redis", "auth": {"passwordSecretRef": {"name": "redis", "key": "password"}}}}
