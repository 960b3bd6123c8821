"""`bullmq` for Python as it comes: its own Worker on a connection given as a dict."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.worker.marks import Marks
from bench.worker.peers.harness import AsyncPeer, Connection, main
from bullmq import Queue, Worker


class Stock(AsyncPeer):
    options = {"removeOnComplete": True, "removeOnFail": True}  # noqa: RUF012

    async def open(self, connection: Connection) -> None:
        self.queue = Queue("bench", {"connection": self.address(connection)})

    async def close(self) -> None:
        await self.queue.close()

    async def add(self, at: int, *, delay_ms: int = 0) -> None:
        await self.queue.add("job", {"at": at}, self.options | ({"delay": delay_ms} if delay_ms else {}))

    async def add_many(self, number: int) -> None:
        job = {"name": "job", "data": {"at": 0}, "opts": self.options}
        await self.queue.addBulk([job] * number)

    async def work(self, connection: Connection, concurrency: int, limits: dict[str, dict[str, int]]) -> None:
        marks = Marks.from_environment()

        async def task(job: Any, _token: str) -> None:
            marks.hit(job.data["at"])
            if marks.task_seconds:
                await asyncio.sleep(marks.task_seconds)

        # They begin by themselves.
        self.workers = [
            Worker(queue, task, {"connection": self.address(connection), "concurrency": concurrency, **limiter})
            for queue, limiter in (limits or {"bench": {}}).items()
        ]
        await asyncio.Event().wait()

    def address(self, connection: Connection) -> dict[str, Any]:
        address: dict[str, Any] = {"host": connection.host, "port": connection.port}
        if connection.ca_file:
            address |= {"ssl": True, "ssl_ca_certs": connection.ca_file}
        return address


if __name__ == "__main__":
    main(Stock())
