"""BullMQ's own Python worker for tests that show a defect of it beside what ours does."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import bullmq
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from queueworker.settings import ConnectionSettings

Processor = Callable[..., Awaitable[Any]]


class StockWorker:
    """A running `bullmq.Worker` with what it told its listeners."""

    def __init__(self, worker: bullmq.Worker) -> None:
        self.worker = worker
        self.errors: list[BaseException] = []
        self.failed: list[str] = []
        self.completed: list[str] = []
        worker.on("error", lambda error, *_: self.errors.append(error))
        worker.on("failed", lambda job, *_: self.failed.append(job.id))
        worker.on("completed", lambda job, *_: self.completed.append(job.id))
        self.run = asyncio.create_task(worker.run())

    async def die(self) -> None:
        """End as by SIGKILL: what runs stays active, with its lock."""
        self.run.cancel()
        await asyncio.gather(self.run, return_exceptions=True)


@asynccontextmanager
async def stock_working(
    processor: Processor,
    settings: ConnectionSettings,
    *,
    queue: str = "q",
    connection: Any = None,
    on: dict[str, Callable[..., Any]] | None = None,
    **options: Any,
) -> AsyncIterator[StockWorker]:
    """Run a stock worker in this loop; at the end everything that it began is cancelled.

    `connection` is what it gets as such: by default the pooled client that suits it best, with a timeout above its
    longest wait and no tries of its own. `on` are listeners beside those of `StockWorker`, called first.
    """
    own = connection is None
    client = pooled(settings) if own else connection
    before = asyncio.all_tasks()
    worker = bullmq.Worker(queue, processor, {"connection": client, "autorun": False, **options})
    for event, listener in (on or {}).items():
        worker.on(event, listener)
    stock = StockWorker(worker)
    try:
        yield stock
    finally:
        await _forget(asyncio.all_tasks() - before)
        for one in (worker.client, worker.bclient):
            with suppress(redis.exceptions.RedisError, OSError):
                await one.aclose()
        await _break_connections()


def pooled(settings: ConnectionSettings, **options: Any) -> redis.asyncio.Redis:
    """Return the connection with which a stock worker works best."""
    return redis.asyncio.Redis(
        host=settings.host or "",
        port=settings.port,
        decode_responses=True,
        **{"socket_timeout": 30, "retry": Retry(NoBackoff(), 0), **options},
    )


async def _forget(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for all; a close is only waited for, cancelled it would turn round for ever."""
    tasks = {task for task in tasks if task is not asyncio.current_task()}
    for _ in range(20):
        for task in tasks:
            if "Worker.close" not in task.get_coro().__qualname__:  # type: ignore[union-attr]
                task.cancel()
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=0.1)
    assert not tasks, f"the stock worker does not end: {tasks}"


async def _break_connections() -> None:
    # Cancelled in the middle of a command it leaves sockets to the garbage collector, which complains of each.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
        await asyncio.sleep(0)
