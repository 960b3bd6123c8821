"""What a peer's driver has in common with the others: its command line, pacing and timing of what it adds.

    python -m bench.worker.peers.NAME work 50            run a worker with 50 slots in this process, until it is killed
    python -m bench.worker.peers.NAME fill 10000         add so many jobs
    python -m bench.worker.peers.NAME pace 20 25 500 2   add 20 jobs, one every 25 ms, then 500, one every 2 ms
    python -m bench.worker.peers.NAME delay 20 60 2000   add 20 jobs, then 60 that are due within 2 s
    python -m bench.worker.peers.NAME enqueue bulk 0.7   add for 0.7 s (serial, inflight or bulk), print jobs per second

A job's `at` is the clock before it was added, for `delay` when it is due. Where Redis is comes
from BENCH_PORT and BENCH_CA. Standard library only: it runs in the peers' environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from dataclasses import dataclass
from typing import Any, Protocol

IN_FLIGHT = 50
BULK = 500


@dataclass(frozen=True, slots=True)
class Connection:
    """Where Redis is; with `ca_file` by TLS."""

    host: str
    port: int
    ca_file: str | None

    @classmethod
    def from_environment(cls) -> Connection:
        """Read BENCH_PORT and BENCH_CA."""
        return cls("127.0.0.1", int(os.environ["BENCH_PORT"]), os.environ.get("BENCH_CA") or None)

    @property
    def url(self) -> str:
        """The address as a URL."""
        return f"redis://{self.host}:{self.port}/0"


class Adder(Protocol):
    """What a driver does with jobs; an async peer's own, a sync peer's through `Blocking`."""

    async def open(self, connection: Connection) -> None: ...
    async def close(self) -> None: ...
    async def add(self, at: int, *, delay_ms: int = 0) -> None: ...
    async def add_many(self, number: int) -> None: ...


class AsyncPeer(Adder, Protocol):
    """A peer whose worker and producer are asyncio's."""

    async def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None: ...


class SyncPeer:
    """A peer whose producer blocks; it may not be able to add many at once, or with a delay."""

    async def open(self, connection: Connection) -> None:
        self.connect(connection)

    async def close(self) -> None:
        """Nothing to close."""

    async def add(self, at: int, *, delay_ms: int = 0) -> None:
        self.send(at, delay_ms)

    async def add_many(self, number: int) -> None:
        for _ in range(number):
            self.send(0, 0)

    def connect(self, connection: Connection) -> None:
        raise NotImplementedError

    def send(self, at: int, delay_ms: int) -> None:
        raise NotImplementedError

    def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None:
        raise NotImplementedError


async def fill(peer: Adder, number: int) -> None:
    """Add jobs in chunks."""
    while number > 0:
        await peer.add_many(min(BULK, number))
        number -= BULK


async def pace_all(peer: Adder, plan: list[str]) -> None:
    """Add jobs at one pace after the other."""
    for number, every_ms in zip(plan[::2], plan[1::2], strict=True):
        await pace(peer, int(number), float(every_ms))


async def pace(peer: Adder, number: int, every_ms: float) -> None:
    """Add a job at each moment of a schedule with some jitter, whatever the last one took."""
    chance = random.Random(number)
    start = time.monotonic()
    for index in range(number):
        moment = start + (index + chance.random() * 0.5) * every_ms / 1_000
        if (wait := moment - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        await peer.add(time.monotonic_ns())


async def delay(peer: Adder, number: int, within_ms: int) -> None:
    """Add jobs with delays that are not whole seconds."""
    chance = random.Random(number)
    for _ in range(number):
        milliseconds = chance.randrange(50, within_ms)
        await peer.add(time.monotonic_ns() + milliseconds * 1_000_000, delay_ms=milliseconds)


async def enqueue(peer: Adder, mode: str, seconds: float) -> float:
    """Return how many jobs were added per second."""
    start = time.monotonic()
    end, added = start + seconds, 0

    async def one_after_another() -> None:
        nonlocal added
        while time.monotonic() < end:
            if mode == "bulk":
                await peer.add_many(BULK)
                added += BULK
            else:
                await peer.add(0)
                added += 1

    await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT if mode == "inflight" else 1)))
    return added / (time.monotonic() - start)


async def _produce(peer: Adder, action: str, arguments: list[str]) -> None:
    await peer.open(Connection.from_environment())
    try:
        match action:
            case "fill":
                await fill(peer, int(arguments[0]))
            case "pace":
                await pace_all(peer, arguments)
            case "delay":
                await pace(peer, int(arguments[0]), 10)
                await delay(peer, int(arguments[1]), int(arguments[2]))
            case "enqueue":
                await enqueue(peer, arguments[0], float(arguments[1]) / 5)  # to warm up
                print(await enqueue(peer, arguments[0], float(arguments[1])))
            case _:
                raise SystemExit(f"{action!r} is not one of work, fill, pace, delay and enqueue")
    finally:
        await peer.close()


def main(peer: AsyncPeer | SyncPeer) -> None:
    """Do what the command line says."""
    action, *arguments = sys.argv[1:]
    if action != "work":
        return asyncio.run(_produce(peer, action, arguments))
    limits = json.loads(os.environ.get("BENCH_LIMITS", "{}"))
    working = peer.work(Connection.from_environment(), int(arguments[0]), limits)
    if working is not None:
        asyncio.run(working)
