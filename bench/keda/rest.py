"""Many ScaledObjects with nothing to do: each with its own Deployment at zero and its own empty list."""

from __future__ import annotations

import asyncio
import time

import psutil
from bench.keda.course import counted
from bench.keda.objects import deployment, is_ready, scaled_object
from bench.keda.world import SCALED_OBJECTS, KedaWorld
from bench.scaling.world import DEPLOYMENTS, cpu_seconds, until

POLLING_SECONDS = 5
REST_SECONDS = 60.0
_QUIET_SECONDS = 15.0

Figures = dict[str, float | int]


async def measure(world: KedaWorld, *, count: int) -> dict[str, Figures]:
    """Return how long so many objects took to be ready, and what they cost over a minute after."""
    names = [f"keda-{number}" for number in range(count)]
    settings = world.world.settings
    await world.api.create_all(DEPLOYMENTS, map(deployment, names))
    started = time.monotonic()
    bodies = [scaled_object(name, settings, polling_seconds=POLLING_SECONDS) for name in names]
    await world.api.create_all(SCALED_OBJECTS, bodies)
    within = 120.0 + count
    await until(lambda: _all_ready(world, count), within=within, what=f"{count} ready ScaledObjects", every=1.0)
    ready = time.monotonic() - started
    await _quiet(world)
    return {f"{count} ScaledObjects": {"all_ready_s": ready, **await _rest(world)}}


async def _all_ready(world: KedaWorld, count: int) -> bool:
    world.check()
    return sum(map(is_ready, (await world.api.get(SCALED_OBJECTS))["items"])) == count


async def _quiet(world: KedaWorld) -> None:
    """Wait until the operator writes nothing but its lease, which it renews by PUT."""

    def writes() -> float:
        page = world.operator_metrics()
        return sum(counted(page, "rest_client_requests_total", method=method) for method in ("PATCH", "POST"))

    last = writes()

    async def still() -> bool:
        nonlocal last
        world.check()
        before, last = last, writes()
        return before == last

    await asyncio.sleep(_QUIET_SECONDS)
    await until(still, within=900, what="the operator's last write", every=_QUIET_SECONDS)


async def _rest(world: KedaWorld) -> Figures:
    operator, adapter = psutil.Process(world.keda.operator.pid), psutil.Process(world.keda.adapter.pid)
    with world.world.redis as redis:
        before, started = _counters(world, operator, adapter), time.monotonic()
        commands = int(redis.info("stats")["total_commands_processed"])
        await asyncio.sleep(REST_SECONDS)
        took = time.monotonic() - started
        commands = int(redis.info("stats")["total_commands_processed"]) - commands
        after = _counters(world, operator, adapter)
        connections = len(redis.client_list()) - len(redis.client_list(client_id=[redis.client_id()]))
    rates = {key: (after[key] - before[key]) / took for key in after}
    return {
        "operator_cpu_s_per_min": rates["operator"] * 60,
        "operator_rss_mib": operator.memory_info().rss / 2**20,
        "adapter_cpu_s_per_min": rates["adapter"] * 60,
        "adapter_rss_mib": adapter.memory_info().rss / 2**20,
        "redis_connections": connections,
        "redis_commands_per_s": commands / took,
        "operator_api_requests_per_s": rates["requests"],
        "scale_reads_per_s": rates["scales"],
    }


def _counters(world: KedaWorld, operator: psutil.Process, adapter: psutil.Process) -> dict[str, float]:
    served = world.world.plane.api.text("/metrics")
    scales = {"resource": "deployments", "subresource": "scale", "verb": "GET"}
    return {
        "operator": cpu_seconds(operator),
        "adapter": cpu_seconds(adapter),
        "requests": counted(world.operator_metrics(), "rest_client_requests_total"),
        "scales": counted(served, "apiserver_request_total", **scales),
    }
