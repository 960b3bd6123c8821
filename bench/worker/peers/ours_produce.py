"""Our `Queue` as a producer."""

from __future__ import annotations

from bench.worker.peers.harness import AsyncPeer, Connection, main

from queueworker import Job, Queue
from queueworker.settings import ConnectionSettings


class Ours(AsyncPeer):
    async def open(self, connection: Connection) -> None:
        self.queue = Queue("bench", ConnectionSettings(host=connection.host, port=connection.port))

    async def close(self) -> None:
        await self.queue.aclose()

    async def add(self, at: int, *, delay_ms: int = 0) -> None:
        await self.queue.enqueue("job", {"at": at}, delay=delay_ms, remove_on_complete=True, remove_on_fail=True)

    async def add_many(self, number: int) -> None:
        options = {"remove_on_complete": True, "remove_on_fail": True}
        await self.queue.enqueue_many([Job.create("job", {"at": 0}, **options) for _ in range(number)])

    async def work(self, connection: Connection, concurrency: int, limits: dict[str, object]) -> None:
        raise SystemExit("our worker is started by `queueworker work`")


if __name__ == "__main__":
    main(Ours())
