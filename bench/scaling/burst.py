"""A burst of 1 000 jobs on a quiet queue at zero replicas: when the number is written, and when the pods are ready.

Every moment is one at which a watch on the API server tells of it. The first job is added by itself, the others in
chunks right after it, by a process of its own. The pods are kwok's: ready a moment after they are bound.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from bench.report import summary
from bench.scaling.course import Course
from bench.scaling.producer import Producer
from bench.scaling.world import DEPLOYMENTS, PODS, WORKERS, World, open_world, queueworker, until

from queueworker import Queue

NAME = "burst"
JOBS = 1_000
REPLICAS = 100
OTHERS = 1_000

Figures = dict[str, float | int]


async def measure(*, runs: int, others: int) -> dict[str, Figures]:
    """Return the figures of so many bursts beside so many other QueueWorkers, in seconds."""
    async with open_world() as world:
        target = {"backlogPerReplica": JOBS // REPLICAS}
        down = {"stabilizationWindowSeconds": 0, "policies": []}
        quick = {"target": target, "cooldownSeconds": 0, "behavior": {"scaleDown": down}}
        bodies = [queueworker(f"other-{number}", world.settings) for number in range(others)]
        await world.api.create_all(WORKERS, [*bodies, queueworker(NAME, world.settings, **quick)])
        with world.operator():
            await until(lambda: _all_there(world, others + 1), within=300, what="all Deployments")
            await world.quiet()
            return await _bursts(world, runs)


async def _all_there(world: World, count: int) -> bool:
    return await world.api.count(DEPLOYMENTS) == count


async def _bursts(world: World, runs: int) -> dict[str, Figures]:
    async with Producer.start(world.settings, queue=NAME, jobs=JOBS) as producer:
        return await _watched(world, producer, runs)


async def _watched(world: World, producer: Producer, runs: int) -> dict[str, Figures]:
    course, chance = Course(), random.Random(1)
    watching = asyncio.create_task(world.api.watch(DEPLOYMENTS, NAME, course.see))
    firsts: list[float] = []
    finals: list[float] = []
    readies: list[float] = []
    adding: list[float] = []
    writes: list[int] = []
    try:
        for _ in range(runs):
            # Its own queue has been quiet for a while, and the moment is a random one.
            await asyncio.sleep(2 + chance.random())
            course.numbers, course.ready = course.numbers[-1:], course.ready[-1:]
            first, last = await producer.burst()
            await until(lambda: _is(course.ready, REPLICAS, watching), within=120, what="100 ready pods", every=0.01)
            written, took = course.written_after(first), last - first
            firsts.append(written[0][0])
            finals.append(next(after for after, number in written if number == REPLICAS) - took)
            readies.append(course.ready_after(first, pods=REPLICAS) - took)
            writes.append(len(written))
            adding.append(took)
            async with Queue(NAME, world.settings) as queue:
                await queue.drain()
            await until(lambda: _is(course.ready, 0, watching), within=120, what="no ready pod", every=0.01)
            # What is left of the last burst would be work for the two processors beside this one.
            await until(lambda: _is_empty(world), within=120, what="no pod")
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return {
        "first add → a replica": summary(firsts),
        "last add → final number": summary(finals),
        "last add → 100 pods Ready": summary(readies),
        "writes": summary(writes),
        "first add → last add": summary(adding),
    }


async def _is_empty(world: World) -> bool:
    return await world.api.count(PODS) == 0


async def _is(course: list[tuple[float, int]], value: int, watching: asyncio.Task[None]) -> bool:
    if watching.done():
        await watching
        raise SystemExit("the API server ended the watch")
    return bool(course) and course[-1][1] == value
