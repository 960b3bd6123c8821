"""Snapshot reads per second: the one script a queue beside the plain commands, and how long a batch takes.

And what one reading costs the server (`INFO commandstats`) and this process: of a queue that is idle, of one that is
busy, and of the details of one with 2 000 active jobs. One client, one connection, one Valkey on loopback.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from report import emit, summary
from valkeyserver import start_valkey

from queueworker import Job, Queue, detailsample, sample
from queueworker.connection import Client, connect
from queueworker.keys import QueueKeys, priority_score
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot

QUEUES = 1_000
SECONDS = 3.0
HORIZON_MS = 32_000
BATCHES = 10
READER_USER = ("without-scripts", "on", ">bench", "~*", "+@read", "+@connection", "+info", "+role", "+time")

Fill = Callable[[Client, QueueKeys], Awaitable[None]]


async def fill(settings: ConnectionSettings) -> list[QueueKeys]:
    keys = [QueueKeys("bull", f"q{number}") for number in range(QUEUES)]
    for one in keys:
        async with Queue(one.queue, settings) as queue:
            jobs = [Job.create("job", {"n": n}, delay=60_000 if n == 2 else 0, priority=n + 1) for n in range(3)]
            await queue.enqueue_many(jobs)
    return keys


async def measure(settings: ConnectionSettings, keys: list[QueueKeys], *, batch: int) -> dict[str, float]:
    taken: list[float] = []
    async with QueueReader.open(settings) as reader:
        await reader.read(keys[:1], horizon_ms=HORIZON_MS, deadline_seconds=30)
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            offset = (len(taken) * batch) % QUEUES
            before = time.perf_counter()
            outcome = await reader.read(keys[offset : offset + batch], horizon_ms=HORIZON_MS, deadline_seconds=30)
            taken.append((time.perf_counter() - before) * 1000)
            failed = [error for error in outcome.values() if not isinstance(error, QueueSnapshot)]
            if failed:
                raise failed[0]
    figures = summary(taken)
    return {
        "reads_per_second": len(taken) * batch / elapsed,
        "batch_ms_p50": figures["p50"],
        "batch_ms_p99": figures["p99"],
    }


async def cost(settings: ConnectionSettings, fill_queue: Fill, *, details: bool = False) -> dict[str, float]:
    """Return the least mean time of a call of the script, and of decoding its reply, over batches of calls."""
    keys = QueueKeys("bull", fill_queue.__name__)
    chosen: Any = detailsample if details else sample
    arguments = detailsample.script_arguments(keys) if details else sample.script_arguments(keys, horizon_ms=HORIZON_MS)
    client, server, here = connect(settings), math.inf, math.inf
    await fill_queue(client, keys)
    sha1 = await client.execute_command("SCRIPT LOAD", chosen.script().source)
    calls = 20 if details else 500
    for _ in range(BATCHES):
        await client.execute_command("CONFIG RESETSTAT")
        for _ in range(calls):
            values = await client.execute_command("EVALSHA_RO", sha1, *arguments)
        statistics = await client.execute_command("INFO", "commandstats")
        server = min(server, statistics["cmdstat_evalsha_ro"]["usec_per_call"])
        before = time.perf_counter()
        for _ in range(calls):
            if details:
                detailsample.details_of(keys, values)
            else:
                sample.snapshot_of(keys, values, horizon_ms=HORIZON_MS)
        here = min(here, (time.perf_counter() - before) / calls * 1e6)
    await client.aclose()
    return {"server_us": float(server), "decoding_us": here}


async def idle(client: Client, keys: QueueKeys) -> None:
    """A queue that has worked, and holds nothing now."""
    await client.hset(keys.of("meta"), "opts.maxLenEvents", 10_000)
    await client.set(keys.of("id"), 5_000)
    await client.hset(keys.of("metrics:completed"), "count", 5_000)
    for number in range(200):
        await client.xadd(keys.of("events"), {"event": "completed", "jobId": str(number), "returnvalue": "null"})


async def busy(client: Client, keys: QueueKeys) -> None:
    """A queue with jobs in every state, of one priority and of none."""
    await idle(client, keys)
    now = int(time.time() * 1000)
    options = json.dumps({"attempts": 3, "backoff": {"type": "exponential", "delay": 1000}})
    for number in range(60):
        fields = {"name": "job", "data": "{}", "opts": options, "timestamp": now + number}
        await client.hset(keys.job(str(number)), mapping=fields)
        if number < 20:
            await client.lpush(keys.of("wait"), number)
        elif number < 40:
            await client.zadd(keys.of("prioritized"), {str(number): priority_score(5, number)})
        elif number < 50:
            await client.zadd(keys.of("delayed"), {str(number): (now + number * 100) * 4096})
        else:
            await client.lpush(keys.of("active"), number)


async def crowded(client: Client, keys: QueueKeys) -> None:
    """A queue with more active jobs than are looked at."""
    await busy(client, keys)
    for number in range(2_500):
        fields = {"name": f"job-{number % 20}", "pb": f"pod-{number % 100}", "processedOn": number, "data": "x" * 500}
        await client.hset(keys.job(f"a{number}"), mapping=fields)
        await client.set(keys.lock(f"a{number}"), f"pod-{number % 100}:0a1b2c3d:{number}")
        await client.lpush(keys.of("active"), f"a{number}")


async def main() -> None:
    server = start_valkey()
    try:
        settings = ConnectionSettings(host=server.host, port=server.port)
        client = connect(settings)
        await client.execute_command("ACL", "SETUSER", *READER_USER)
        await client.aclose()
        rows = {
            "one idle queue": await cost(settings, idle),
            "one busy queue": await cost(settings, busy),
            "details of one with 2 500 active jobs": await cost(settings, crowded, details=True),
        }
        keys = await fill(settings)
        plain = replace_user(settings)
        for batch in (1, 50, 1_000):
            rows[f"script, {batch} queues a call"] = await measure(settings, keys, batch=batch)
            rows[f"plain commands, {batch} queues a call"] = await measure(plain, keys, batch=batch)
        emit("queue-reads", rows)
    finally:
        server.stop()


def replace_user(settings: ConnectionSettings) -> ConnectionSettings:
    """The same server for a user who may not run scripts."""
    return settings.model_validate(
        {**settings.model_dump(exclude_none=True), "username": "without-scripts", "password": "bench"}
    )


if __name__ == "__main__":
    asyncio.run(main())
