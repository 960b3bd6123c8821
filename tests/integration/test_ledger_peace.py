"""Without faults every attempt runs exactly once, also while workers come and go."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import redis.asyncio
from ledgerfile import read_runs, runs_in, wrongs
from ledgerfleet import Fleet, Orders, states, wrong_attempts
from worker_support import eventually

from queueworker.settings import ConnectionSettings

SECONDS = 280.0
"""On the busiest machine; alone it is a tenth of that."""


def environment() -> dict[str, str]:
    """Return locks that end only if a worker stands still for seconds, on the busiest machine."""
    return {"QUEUEWORKER_LOCK_DURATION_MS": "8000", "QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "30"}


async def all_completed(client: redis.asyncio.Redis, orders: Orders, *, deadline: float) -> None:
    wanted = {
        queue: {"wait": 0, "active": 0, "prioritized": 0, "delayed": 0, "completed": count, "failed": 0}
        for queue, count in orders.counts().items()
    }
    last: dict[str, dict[str, int]] = {}

    async def done() -> bool:
        nonlocal last
        last = await states(client)
        return last == wanted

    try:
        await eventually(done, seconds=deadline - time.monotonic())
    finally:
        print(f"there are {last}")


async def each_attempt_once(client: redis.asyncio.Redis, fleet: Fleet, orders: Orders) -> None:
    runs = read_runs(fleet.ledger)
    found = wrongs(orders.failures, runs)
    told = fleet.troubles("lock", "stalled", "not recorded", "given back", "ERROR")
    assert not found, "\n".join([f"{len(found)} wrong", *found[:20], *told[-20:]])
    assert len(runs) == orders.runs
    assert await wrong_attempts(client, orders.failures) == []


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_20_000_jobs_run_once_each_while_workers_are_replaced_and_leave(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, tmp_path: Path
) -> None:
    """Each of three workers is replaced, the new one first, then two of three leave; each had jobs to finish."""
    orders = Orders(20_000, seed=11, most_milliseconds=20)
    deadline = time.monotonic() + SECONDS

    async def after(share: float) -> None:
        runs = round(orders.runs * share)
        await eventually(
            lambda: runs_in(fleet.ledger) >= runs, seconds=deadline - time.monotonic(), what=f"{runs} of {orders.runs}"
        )

    with Fleet(tmp_path, concurrency=5, **environment()) as fleet:
        for _ in range(3):
            fleet.start(redis_settings)
        await orders.add_plain(client)
        adding = asyncio.create_task(orders.add_others(redis_settings))
        codes = []
        for number, old in enumerate(tuple(fleet.running), start=1):
            await after(0.05 * number)
            await fleet.running[fleet.start(redis_settings)].said("is ready")
            codes += await fleet.drain(old)
        codes += await fleet.drain(*list(fleet.running)[:2])
        done = runs_in(fleet.ledger)
        print(f"{done} of {orders.runs} runs when two of three had left")
        assert done < 0.95 * orders.runs, "too late: there was no load left"
        await adding
        await all_completed(client, orders, deadline=deadline)
        codes += await fleet.drain(*fleet.running)
    assert codes == [0] * 6
    drained = fleet.troubles(" drains: ")
    assert len(drained) == 6
    # The last one left an empty queue.
    assert sum(" drains: 0 jobs" in line for line in drained) <= 1, drained
    await each_attempt_once(client, fleet, orders)
