"""What a burst of jobs looks like to whoever listens: how long it takes, and how long it pauses.

The longest pause between two of its events decides whether it can be told from two bursts. One producer that is alone,
one call of `enqueue_many`, one Valkey on loopback; the moments are those of the stream of events.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

from report import emit, summary
from valkeyserver import start_valkey

from queueworker import Job, Queue
from queueworker.connection import connect
from queueworker.settings import ConnectionSettings

BURSTS = 30
JOBS = 1_000


async def burst(settings: ConnectionSettings, number: int) -> tuple[int, int]:
    """Return the length and the longest pause of a burst on a queue of its own, in milliseconds."""
    jobs = [Job.create("killmail", {"killmail_id": n, "hash": "0" * 40}) for n in range(JOBS)]
    async with Queue(f"q{number}", settings) as queue:
        await queue.enqueue_many(jobs)
        client = connect(settings)
        events = await client.xrange(queue.keys.of("events"))
        await client.aclose()
    moments = [int(identity.partition("-")[0]) for identity, _ in events]
    return moments[-1] - moments[0], max(later - earlier for earlier, later in pairwise(moments))


async def measure(settings: ConnectionSettings) -> list[tuple[int, int]]:
    await burst(settings, 0)
    return [await burst(settings, number) for number in range(1, BURSTS + 1)]


def main() -> None:
    server = start_valkey()
    try:
        found = asyncio.run(measure(ConnectionSettings(host=server.host, port=server.port)))
    finally:
        server.stop()
    lengths, pauses = zip(*found, strict=True)
    emit(f"burst of {JOBS} jobs", {"length, ms": summary(lengths), "longest pause, ms": summary(pauses)})


if __name__ == "__main__":
    main()
