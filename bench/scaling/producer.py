"""A producer of bursts in a process of its own: its work is not to hold up the watch that takes the moments."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings


@dataclass(frozen=True, slots=True)
class Producer:
    """Adds bursts to a queue of a Redis on this host."""

    _process: asyncio.subprocess.Process

    @classmethod
    @asynccontextmanager
    async def start(cls, settings: ConnectionSettings, *, queue: str, jobs: int) -> AsyncIterator[Producer]:
        """Run until the block ends."""
        command = [sys.executable, "-m", "bench.scaling.producer", str(settings.port), queue, str(jobs)]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        try:
            yield cls(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def burst(self) -> tuple[float, float]:
        """Add the jobs; return the moments (monotonic, which processes share) before the first and after the last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        first, last = map(float, (await self._process.stdout.readline()).split())
        return first, last


async def _serve(settings: ConnectionSettings, queue_name: str, jobs: int) -> None:
    async with Queue(queue_name, settings) as queue:
        await queue.counts()
        while await asyncio.to_thread(sys.stdin.readline):
            first = time.monotonic()
            await queue.enqueue("job", {"n": 0})
            await queue.enqueue_many([Job.create("job", {"n": n}) for n in range(1, jobs)])
            print(first, time.monotonic(), flush=True)


def main() -> None:
    """Add a burst for each line of stdin, and print its two moments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("queue")
    parser.add_argument("jobs", type=int)
    given = parser.parse_args()
    asyncio.run(_serve(ConnectionSettings(host="127.0.0.1", port=given.port), given.queue, given.jobs))


if __name__ == "__main__":
    main()
