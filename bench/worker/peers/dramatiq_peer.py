"""dramatiq: its RedisBroker with the default middleware, and its Worker with as many threads as asked."""

from __future__ import annotations

import threading
import time
from typing import Any

import dramatiq
from bench.worker.marks import Marks
from bench.worker.peers.harness import Connection, SyncPeer, main
from dramatiq.brokers.redis import RedisBroker


class Dramatiq(SyncPeer):
    def connect(self, connection: Connection) -> None:
        self.broker = RedisBroker(host=connection.host, port=connection.port)
        marks = Marks.from_environment()

        def task(at: int) -> None:
            marks.hit(at)
            if marks.task_seconds:
                time.sleep(marks.task_seconds)

        dramatiq.set_broker(self.broker)
        self.actor = dramatiq.actor(task, queue_name="bench")

    def send(self, at: int, delay_ms: int) -> None:
        if delay_ms:
            self.actor.send_with_options(args=(at,), delay=delay_ms)
        else:
            self.actor.send(at)

    def work(self, connection: Connection, concurrency: int, limits: dict[str, Any]) -> None:
        self.connect(connection)
        dramatiq.Worker(self.broker, worker_threads=concurrency).start()
        threading.Event().wait()


if __name__ == "__main__":
    main(Dramatiq())
