"""taskiq on a Redis stream (acknowledged, no results), on uvloop, as its own command runs it where uvloop is there."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from bench.worker.marks import Marks
from bench.worker.peers.harness import AsyncPeer, Connection, main
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker


class Taskiq(AsyncPeer):
    async def open(self, connection: Connection) -> None:
        # From the first message on: those of a snapshot are older than the worker.
        self.broker = RedisStreamBroker(connection.url, queue_name="bench", consumer_id="0")
        marks = Marks.from_environment()

        async def task(at: int) -> None:
            marks.hit(at)
            if marks.task_seconds:
                await asyncio.sleep(marks.task_seconds)

        self.task = self.broker.register_task(task, task_name="task")
        await self.broker.startup()

    async def close(self) -> None:
        await self.broker.shutdown()

    async def add(self, at: int, *, delay_ms: int = 0) -> None:
        await self.task.kiq(at)

    async def add_many(self, number: int) -> None:
        for _ in range(number):
            await self.task.kiq(0)

    async def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None:
        await self.open(connection)
        await run_receiver_task(self.broker, max_async_tasks=concurrency)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    main(Taskiq())
