"""A program's handle on the workers that it runs by `serve`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from queueworker_worker.errors import ProcessorError

if TYPE_CHECKING:
    from queueworker_worker.engine.worker import Worker


class Control:
    """Given to `serve`, it leads to the worker of each queue, once they run; to be used in their event loop.

    A worker can `cancel_job(job_id, reason)`, `cancel_all_jobs(reason)`, `pause()`, `resume()`, call listeners
    `on(event, listener)`, change its `concurrency`, and say its `jobs_running`, `jobs_done`, `ready` and `idle`.
    """

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}

    @property
    def running(self) -> bool:
        """Whether `serve` has workers now."""
        return bool(self._workers)

    def worker(self, queue: str) -> Worker:
        """Return the worker of a queue; raises ProcessorError where none runs."""
        try:
            return self._workers[queue]
        except KeyError:
            known = ", ".join(sorted(self._workers)) or "none"
            raise ProcessorError(f"no worker runs for queue {queue!r}: those that run are {known}") from None

    def attach(self, workers: Sequence[Worker]) -> None:
        """Lead to these workers from now on; `serve` calls it, with none at the end."""
        self._workers = {worker.queue: worker for worker in workers}
