"""huey: RedisHuey that stores no results, and its consumer with as many threads as asked."""

from __future__ import annotations

import time
from typing import Any

from bench.worker.marks import Marks
from bench.worker.peers.harness import Connection, SyncPeer, main
from huey import RedisHuey


class Huey(SyncPeer):
    def connect(self, connection: Connection) -> None:
        self.huey = RedisHuey("bench", results=False, host=connection.host, port=connection.port)
        marks = Marks.from_environment()

        def task(at: int) -> None:
            marks.hit(at)
            if marks.task_seconds:
                time.sleep(marks.task_seconds)

        self.task = self.huey.task()(task)

    def send(self, at: int, delay_ms: int) -> None:
        if delay_ms:
            self.task.schedule((at,), delay=delay_ms / 1_000)
        else:
            self.task(at)

    def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None:
        self.connect(connection)
        self.huey.create_consumer(workers=concurrency, worker_type="thread", periodic=False).run()


if __name__ == "__main__":
    main(Huey())
