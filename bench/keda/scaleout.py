"""From zero to 100 replicas: 1 000 entries are pushed to an empty list at once, at a random moment.

Each run has a Deployment, a ScaledObject and a list of its own, so that none waits for the scale-down of the one
before. The pods are kwok's and do not pop the list. Every moment is one at which a watch on the API server tells of it.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

from bench.keda.course import Run, phases, rows
from bench.keda.objects import ENTRIES, REPLICAS, deployment, is_ready, scaled_object
from bench.keda.world import HPA_SYNC_SECONDS, SCALED_OBJECTS, KedaWorld
from bench.scaling.course import Course
from bench.scaling.world import DEPLOYMENTS, PODS, until

Figures = dict[str, float | int]


async def measure(world: KedaWorld, *, polling_seconds: int, runs: int) -> dict[str, Figures]:
    """Return the figures of so many runs, in seconds from the push; each run's numbers are in a row of their own."""
    interval = max(float(polling_seconds), HPA_SYNC_SECONDS)
    moments = phases(runs=runs, interval=interval, chance=random.Random())
    done = [
        await _run(world, f"burst-{polling_seconds}-{number}", polling_seconds=polling_seconds, wait=wait)
        for number, wait in enumerate(moments)
    ]
    return rows(f"poll {polling_seconds}", done)


async def _run(world: KedaWorld, name: str, *, polling_seconds: int, wait: float) -> Run:
    settings = world.world.settings
    await world.api.create(DEPLOYMENTS, deployment(name))
    await world.api.create(SCALED_OBJECTS, scaled_object(name, settings, polling_seconds=polling_seconds))
    await until(lambda: _ready(world, name), within=120, what=f"the ScaledObject {name} to be ready")
    course = Course()
    watching = asyncio.create_task(world.api.watch(DEPLOYMENTS, name, course.see))
    try:
        await until(lambda: _is(world, course, 0), within=30, what="the watch", every=0.01)
        await asyncio.sleep(wait)
        pushed = time.monotonic()
        world.world.redis.rpush(name, *range(ENTRIES))
        await until(lambda: _is(world, course, REPLICAS), within=600, what=f"{REPLICAS} pods", every=0.05)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    await _remove(world, name)
    return Run(written=course.written_after(pushed), all_ready=course.ready_after(pushed, pods=REPLICAS))


async def _ready(world: KedaWorld, name: str) -> bool:
    world.check()
    return is_ready(await world.api.get(f"{SCALED_OBJECTS}/{name}"))


async def _is(world: KedaWorld, course: Course, ready: int) -> bool:
    world.check()
    return bool(course.ready) and course.ready[-1][1] == ready


async def _remove(world: KedaWorld, name: str) -> None:
    api = world.world.plane.api
    api.delete(f"{SCALED_OBJECTS}/{name}")
    api.delete(f"{DEPLOYMENTS}/{name}")
    world.world.redis.delete(name)
    await until(lambda: _is_gone(world), within=300, what=f"{name} to be gone", every=0.5)


async def _is_gone(world: KedaWorld) -> bool:
    return not any([await world.api.count(path) for path in (SCALED_OBJECTS, DEPLOYMENTS, PODS)])
