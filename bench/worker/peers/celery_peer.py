"""Celery on Redis without results: the pool `solo` for one job at a time, `threads` for more; all in one process."""

from __future__ import annotations

import time
from typing import Any

from bench.worker.marks import Marks
from bench.worker.peers.harness import Connection, SyncPeer, main
from celery import Celery


class CeleryPeer(SyncPeer):
    def connect(self, connection: Connection) -> None:
        self.app = Celery("bench", broker=connection.url)
        self.app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
        marks = Marks.from_environment()

        def task(at: int) -> None:
            marks.hit(at)
            if marks.task_seconds:
                time.sleep(marks.task_seconds)

        self.task = self.app.task(task, name="task")

    def send(self, at: int, delay_ms: int) -> None:
        self.task.apply_async((at,), countdown=delay_ms / 1_000 if delay_ms else None)

    def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None:
        self.connect(connection)
        pool = ("--pool=solo",) if concurrency == 1 else ("--pool=threads", f"--concurrency={concurrency}")
        self.app.worker_main(["worker", *pool, "--without-mingle", "--loglevel=WARNING"])


if __name__ == "__main__":
    main(CeleryPeer())
