"""One worker process of this host: started, watched, started again when it dies, and ended gently."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from queueworker_operator.cluster.local_launch import Launch, answers, spawn

HURRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds between restarts and probes."""

    first_restart: float = 1.0
    longest_restart: float = 60.0
    steady_after: float = 60.0
    """A worker that ran so long starts again without delay."""
    probe_starting: float = 0.1
    probe_ready: float = 2.0
    failures: int = 3
    """Failed probes in a row after which a ready worker is not ready any more."""


class LocalWorker:
    """A worker of one revision. `launch` is asked anew before each start, so that every start has a fresh port."""

    def __init__(
        self,
        *,
        name: str,
        revision: int,
        launch: Callable[[], Launch],
        grace_seconds: float,
        changed: Callable[[], None],
        log: Callable[[str, str], None],
        patience: Patience,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`changed` is called when `ready` or `problem` changes and at the end; `log` gets name and line.

        `now` is Unix seconds.
        """
        self.name = name
        self.revision = revision
        self._launch = launch
        self._grace_seconds = grace_seconds
        self._changed = changed
        self._log = log
        self._patience = patience
        self._now = now
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._pause = patience.first_restart
        self.ready = False
        self.ready_at: float | None = None
        self.created_at = now()
        """Unix seconds, both."""
        self.deletion_cost: int | None = None
        """The lowest goes first in a scale-in."""
        self.problem: str | None = None
        self.restarts = 0
        self._over = False
        self._task = asyncio.create_task(self._run(), name=f"worker {name}")

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    @property
    def ended(self) -> bool:
        """Whether it is over: no process, and none to come."""
        return self._over

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    def stop(self) -> None:
        """Let it finish its jobs and end; it is killed when its grace period is over."""
        self._stop.set()
        self._set(ready=False, problem=None)

    def hurry(self) -> None:
        """Let it give back its jobs now: an interrupt while it drains says so to our workers, 10 s are left to it."""
        self._signal(signal.SIGINT)
        self._hurry.set()

    async def gone(self) -> None:
        """Wait until it has ended."""
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while not self.stopping:
                await self._run_once()
                if not self.stopping:
                    await self._wait_to_restart()
        finally:
            self._signal(signal.SIGKILL)
            self.ready, self.ready_at = False, None
            self._stop.set()
            self._over = True
            self._changed()

    async def _run_once(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            launch = self._launch()
            self._process = await spawn(launch)
        except (OSError, ValueError) as error:
            self._set(ready=False, problem=f"worker {self.name} cannot be started: {error}")
            return
        code = await self._attend(self._process, launch)
        self._process = None
        if loop.time() - began >= self._patience.steady_after:
            self._pause = self._patience.first_restart
        if not self.stopping:
            self._set(ready=False, problem=f"worker {self.name} ended by itself with {_status(code)}")

    async def _attend(self, process: asyncio.subprocess.Process, launch: Launch) -> int:
        helpers: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._copy_output(process)),
            asyncio.create_task(self._probe(launch)),
        ]
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([ended, stop], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                self._signal(signal.SIGTERM)
                hurry = asyncio.create_task(self._hurry.wait())
                helpers.append(hurry)
                await asyncio.wait([ended, hurry], timeout=self._grace_seconds, return_when=asyncio.FIRST_COMPLETED)
                if hurry.done():
                    await asyncio.wait([ended], timeout=min(HURRY_SECONDS, self._grace_seconds))
                self._signal(signal.SIGKILL)
            code = await ended
            # What it said last explains why it ended.
            await asyncio.wait(helpers[:1], timeout=1)
            return code
        finally:
            for task in (*helpers, stop, ended):
                task.cancel()
            await asyncio.gather(*helpers, stop, ended, return_exceptions=True)

    async def _wait_to_restart(self) -> None:
        self.restarts += 1
        self.problem = f"{self.problem}; it is started again in {self._pause:g} s"
        self._changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause):
                await self._stop.wait()
        self._pause = min(self._pause * 2, self._patience.longest_restart)

    async def _copy_output(self, process: asyncio.subprocess.Process) -> None:
        rest = b""
        while process.stdout is not None and (chunk := await process.stdout.read(65536)):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log(self.name, line.decode(errors="replace").rstrip("\r"))
        if rest:
            self._log(self.name, rest.decode(errors="replace"))

    async def _probe(self, launch: Launch) -> None:
        if launch.health_port is None:
            self._set(ready=True, problem=None)
            return
        failures = 0
        while True:
            good = await answers(launch.health_port, "/readyz")
            failures = 0 if good else failures + 1
            if good and not self.stopping:
                self._set(ready=True, problem=None)
            elif failures >= self._patience.failures and self.ready:
                self._set(ready=False, problem=f"worker {self.name} says on /readyz that it is not ready")
            await asyncio.sleep(self._patience.probe_ready if self.ready else self._patience.probe_starting)

    def _set(self, *, ready: bool, problem: str | None) -> None:
        if (self.ready, self.problem) != (ready, problem):
            if ready != self.ready:
                self.ready_at = self._now() if ready else None
            self.ready, self.problem = ready, problem
            self._changed()

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            # Kubernetes signals the first process only, but kills them all.
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
