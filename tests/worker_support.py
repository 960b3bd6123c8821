"""Workers for tests: inside the test's own loop, or as processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.pooled import link_to
from queueworker_worker.engine.worker import Worker
from queueworker_worker.job import Job

TESTS = Path(__file__).parent
SHORT: dict[str, Any] = {
    "name": "worker-a",
    "lock_duration_ms": 5_000,
    "stalled_interval_ms": 300,
    "heartbeat_seconds": 0.1,
    "drain_delay_seconds": 1.0,
}
SHORT_LOCK = {"QUEUEWORKER_LOCK_DURATION_MS": "1000"}
"""For a worker process that is to lose its jobs soon after it was killed."""


class Recorder:
    """A processor that remembers the data of the jobs that it ran."""

    def __init__(self, seconds: float = 0) -> None:
        self.ran: list[Any] = []
        self.seconds = seconds

    async def __call__(self, job: Job) -> dict[str, Any]:
        self.ran.append(job.data)
        await asyncio.sleep(self.seconds)
        return {"of": job.data}


async def eventually(
    check: Callable[[], Awaitable[Any]] | Callable[[], Any], *, seconds: float = 30.0, what: str = ""
) -> Any:
    """Return the first true value of `check`; fail with its last value when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or check} (last: {value!r})"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def working(
    handler: Callable[[Job], Awaitable[Any]], settings: ConnectionSettings, *, queue: str = "q", **options: Any
) -> AsyncIterator[Worker]:
    """Run a worker in this loop with short times; drain it at the end."""
    link, blocking = link_to(settings, client_name="test"), link_to(settings)
    limit = options.pop("job_limit", None)
    chosen = EngineOptions(**{"queue": queue, **SHORT, **options})
    worker = Worker(handler, chosen, link=link, blocking=blocking, job_limit=limit)
    run = asyncio.create_task(worker.run())
    try:
        yield worker
        worker.drain()
        await asyncio.wait_for(asyncio.shield(run), 15)
    finally:
        if not run.done():
            await worker.give_back(grace=0.1)
            await asyncio.wait({run}, timeout=10)
        assert run.done(), f"the worker did not end: {[str(task) for task in asyncio.all_tasks()]}"
        await asyncio.gather(run, return_exceptions=True)
        await link.aclose()
        await blocking.aclose()


class WorkerProcess:
    """A `queueworker work` process; its log is in `log()`."""

    def __init__(self, process: subprocess.Popen[bytes], log_file: Path) -> None:
        self.process, self._log_file = process, log_file

    def log(self) -> str:
        return self._log_file.read_text(errors="replace")

    async def said(self, text: str, *, seconds: float = 40.0) -> None:
        await eventually(
            lambda: text in self.log() or self._ended(), seconds=seconds, what=f"{text!r} in\n{self.log()}"
        )
        assert text in self.log(), f"ended with {self.process.returncode} without {text!r}:\n{self.log()}"

    async def ended(self, *, seconds: float = 40.0) -> int:
        await eventually(self._ended, seconds=seconds, what=f"the end of the worker\n{self.log()}")
        return int(self.process.returncode)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def _ended(self) -> bool:
        return self.process.poll() is not None


@contextmanager
def worker_process(
    settings: ConnectionSettings, log_file: Path, *arguments: str, name: str = "worker-a", **environment: str
) -> Iterator[WorkerProcess]:
    """Start a worker process on the processors of `worker_ledger`, with short times; kill it at the end.

    Its lock outlasts what a busy machine may keep the process from.
    """
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "error",
        "QUEUEWORKER_NAME": name,
        "QUEUEWORKER_LOCK_DURATION_MS": "5000",
        "QUEUEWORKER_STALLED_INTERVAL_MS": "300",
        "QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "10",
        "QUEUEWORKER_PROCESSORS": "worker_ledger",
        **settings.to_environment(),
        **environment,
    }
    command = [sys.executable, "-m", "queueworker_worker", "work", *arguments]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT, cwd=log_file.parent)
    try:
        yield WorkerProcess(process, log_file)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
