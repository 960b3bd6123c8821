"""Snapshot reads per second: the one script a queue beside the plain commands, and how long a batch takes.

Every queue holds waiting, prioritized and delayed jobs. One client, one connection, one Valkey on loopback.
"""

from __future__ import annotations

import asyncio
import time

from report import emit, summary
from valkeyserver import start_valkey

from queueworker import Job, Queue
from queueworker.connection import connect
from queueworker.keys import QueueKeys
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot

QUEUES = 1_000
SECONDS = 3.0
READER_USER = ("without-scripts", "on", ">bench", "~*", "+@read", "+@connection", "+info", "+role", "+time")


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
        await reader.read(keys[:1], horizon_ms=32_000, deadline_seconds=30)
        start = time.perf_counter()
        while (elapsed := time.perf_counter() - start) < SECONDS:
            offset = (len(taken) * batch) % QUEUES
            before = time.perf_counter()
            outcome = await reader.read(keys[offset : offset + batch], horizon_ms=32_000, deadline_seconds=30)
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


async def main() -> None:
    server = start_valkey()
    try:
        settings = ConnectionSettings(host=server.host, port=server.port)
        client = connect(settings)
        await client.execute_command("ACL", "SETUSER", *READER_USER)
        await client.aclose()
        keys = await fill(settings)
        plain = replace_user(settings)
        rows = {}
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
