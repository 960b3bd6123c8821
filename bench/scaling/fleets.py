"""Many QueueWorkers on one operator: until all are decided, after a restart, at rest, and while all are busy."""

from __future__ import annotations

import asyncio
import contextlib
import time

from acceptance import OperatorProcess
from bench.scaling.load import Load
from bench.scaling.world import (
    DEPLOYMENTS,
    WORKERS,
    World,
    connections,
    cpu_seconds,
    metric,
    open_world,
    process_of,
    queueworker,
    until,
)

REST_SECONDS = 60.0
BUSY_SECONDS = 60.0

Figures = dict[str, float | int]


async def measure(*, count: int) -> dict[str, Figures]:
    """Return the figures of a fleet whose queues are empty: the number decided for each is zero."""
    async with open_world(node=False) as world:
        with world.operator() as operator:
            created = await _created(world, operator, count)
            # What is restarted is a fleet at rest, not one that is still being made.
            await world.quiet()
        with world.operator(ready=False) as operator:
            restarted = await _decided(operator, count)
            await world.quiet()
            rest = await _rest(world, operator)
    return {f"{count} QueueWorkers": {**created, **restarted, **rest}}


async def measure_busy(*, count: int, jobs_per_second: int = 50) -> dict[str, Figures]:
    """Return what the operator costs, and how late it decides, where every queue turns over so many jobs a second."""
    async with open_world() as world:
        with world.operator() as operator:
            await _created(world, operator, count)
            await world.quiet()
            with Load.start(world.settings, queues=[_name(n) for n in range(count)], jobs_per_second=jobs_per_second):
                await _all_scaled(world)
                # The statuses and events of that go out within their budget; what is measured is the time after.
                await asyncio.sleep(count / 10)
                figures = await _busy(world, operator)
    return {f"{count} busy queues": figures}


async def _created(world: World, operator: OperatorProcess, count: int) -> Figures:
    """Return how long it took until all Deployments were there, and how much of it the QueueWorkers themselves."""
    process = process_of(operator)
    started, cpu = time.monotonic(), cpu_seconds(process)
    await world.api.create_all(WORKERS, [queueworker(_name(n), world.settings) for n in range(count)])

    made = time.monotonic() - started

    async def there() -> bool:
        return await world.api.count(DEPLOYMENTS) == count

    await until(there, within=600, what=f"{count} Deployments", every=0.25)
    return {
        "created_decided_s": time.monotonic() - started,
        "created_queueworkers_s": made,
        "created_cpu_s": cpu_seconds(process) - cpu,
    }


async def _decided(operator: OperatorProcess, count: int) -> Figures:
    """Return how long after its start the operator had decided on all, and how long until it was ready."""
    process = process_of(operator)
    born = process.create_time()

    async def decided() -> bool:
        with contextlib.suppress(OSError):
            # Before it listens.
            return len(metric(operator, "queueworker_desired_replicas")) == count
        return False

    # What is asked costs the operator time for each of them.
    await until(decided, within=300, what=f"{count} decisions", every=count / 4000)
    figures = {"restart_decided_s": time.time() - born, "restart_cpu_s": cpu_seconds(process)}

    async def ready() -> bool:
        return operator.ready()

    await until(ready, within=300, what="ready", every=0.25)
    return {**figures, "restart_ready_s": time.time() - born, "restart_ready_cpu_s": cpu_seconds(process)}


async def _all_scaled(world: World) -> None:
    """Wait until every Deployment has a pod that is ready."""

    async def scaled() -> bool:
        deployments = (await world.api.get(f"{DEPLOYMENTS}?resourceVersion=0"))["items"]
        return all(one["status"].get("readyReplicas", 0) > 0 for one in deployments)

    await until(scaled, within=600, what="a pod for each queue", every=5.0)


async def _rest(world: World, operator: OperatorProcess) -> Figures:
    process = process_of(operator)
    writes, cpu = world.writes(), cpu_seconds(process)
    await asyncio.sleep(REST_SECONDS)
    return {
        "rest_cpu_s_per_min": (cpu_seconds(process) - cpu) * 60 / REST_SECONDS,
        "rest_rss_mib": process.memory_info().rss / 2**20,
        "rest_api_writes": world.writes() - writes,
        "redis_connections": connections(world),
    }


async def _busy(world: World, operator: OperatorProcess) -> Figures:
    process = process_of(operator)
    writes, cpu, lag = world.writes(), cpu_seconds(process), metric(operator, "queueworker_decision_lag_seconds_bucket")
    await asyncio.sleep(BUSY_SECONDS)
    after = metric(operator, "queueworker_decision_lag_seconds_bucket")
    return {
        "cpu_cores": (cpu_seconds(process) - cpu) / BUSY_SECONDS,
        "api_writes_per_s": (world.writes() - writes) / BUSY_SECONDS,
        "decision_lag_p99_s": _quantile({key: after[key] - lag.get(key, 0.0) for key in after}, 0.99),
        "rss_mib": process.memory_info().rss / 2**20,
        "redis_connections": connections(world),
    }


def _quantile(samples: dict[str, float], share: float) -> float:
    """Return the upper bound of the bucket of a histogram in which the quantile lies."""
    buckets = sorted(
        (float(key.partition('le="')[2].partition('"')[0]), count) for key, count in samples.items() if 'le="' in key
    )
    whole = buckets[-1][1]
    return next(bound for bound, count in buckets if count >= share * whole)


def _name(number: int) -> str:
    return f"qw-{number}"
