"""RQ without results, on its SimpleWorker: in one process, one job at a time; its other worker forks for each job."""

from __future__ import annotations

import time
from typing import Any

import redis
import rq
from bench.worker.marks import Marks
from bench.worker.peers.harness import Connection, SyncPeer, main

marks = Marks.from_environment()


def task(at: int) -> None:
    marks.hit(at)
    if marks.task_seconds:
        time.sleep(marks.task_seconds)


class Rq(SyncPeer):
    def connect(self, connection: Connection) -> None:
        self.queue = rq.Queue("bench", connection=redis.Redis(host=connection.host, port=connection.port))

    def send(self, at: int, delay_ms: int) -> None:
        self.queue.enqueue("bench.worker.peers.rq_peer.task", at, result_ttl=0)

    def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None:
        self.connect(connection)
        rq.SimpleWorker([self.queue], connection=self.queue.connection).work(logging_level="WARNING")


if __name__ == "__main__":
    main(Rq())
