"""`make bench-keda`: how soon KEDA and an HPA scale out, and what KEDA costs at rest."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable

from bench.keda import rest, scaleout
from bench.keda.world import KedaWorld, open_keda
from bench.report import emit

from controlplane.binary import KUBERNETES_VERSION

Figures = dict[str, dict[str, float | int]]
PARTS = ("scale-out", "rest")


async def run(part: str, measure: Callable[[KedaWorld], Awaitable[Figures]]) -> None:
    """Measure a part in a world of its own; the load of the machine is among its figures."""
    before = os.getloadavg()[0]
    async with open_keda() as world:
        rows = await measure(world)
        versions = {
            "keda": world.keda.version,
            "kube-apiserver": KUBERNETES_VERSION.removeprefix("v"),
            "valkey": str(world.world.redis.info("server")["valkey_version"]),
        }
    load: dict[str, float | int] = {"before": before, "after": os.getloadavg()[0], "processors": os.cpu_count() or 0}
    emit(f"keda {part}", {**rows, "load average of a minute": load}, versions=versions)


async def scale_out(world: KedaWorld, *, polls: list[int], runs: int) -> Figures:
    """Return the figures of each polling interval."""
    rows: Figures = {}
    for polling_seconds in polls:
        rows |= await scaleout.measure(world, polling_seconds=polling_seconds, runs=runs)
    return rows


def main() -> None:
    """Measure the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="bench.keda", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all where none is named")
    parser.add_argument("--runs", type=int, default=3, help="scale-outs at each polling interval")
    parser.add_argument("--polls", type=int, nargs="+", default=[30, 1], help="polling intervals in seconds")
    parser.add_argument("--objects", type=int, default=200, help="ScaledObjects at rest")
    given = parser.parse_args()
    measures: dict[str, Callable[[KedaWorld], Awaitable[Figures]]] = {
        "scale-out": lambda world: scale_out(world, polls=given.polls, runs=given.runs),
        "rest": lambda world: rest.measure(world, count=given.objects),
    }
    for part in given.parts or PARTS:
        asyncio.run(run(part, measures[part]))


if __name__ == "__main__":
    main()
