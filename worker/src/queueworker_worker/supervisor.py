"""`--processes N`: one supervisor and N worker processes of the same command."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from http import HTTPStatus

from queueworker_worker.health import Answer, HealthServer
from queueworker_worker.settings import PREFIX, ProcessSettings

_log = logging.getLogger(__name__)
USAGE_ERROR = 2
_ENDED_BY_US = frozenset({128 + signal.SIGTERM, 128 + signal.SIGINT})
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_SETTLED_SECONDS = 60.0
_FAREWELL_SECONDS = 14.0
"""What a worker may take after its drain time: give back, sign off, close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One worker process: its command line, and whether it ends by itself when its work is done."""

    command: Sequence[str]
    ends: bool


class Fleet:
    """Starts the worker processes, passes signals on, and starts anew those that die unexpectedly."""

    def __init__(self, shares: Sequence[Share], settings: ProcessSettings) -> None:
        self._settings = settings
        self._told = False
        self._members = [
            Member(f"{settings.name}-{number}", share, settings) for number, share in enumerate(shares, start=1)
        ]

    async def run(self) -> int:
        """Run until all have ended and return the exit code of the worst."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._pass_on, number)
        port, host = self._settings.health_port, self._settings.health_host
        server = HealthServer(self, host, port) if port is not None else None
        # A thread waits for each process: in those of the loop's own, a few per CPU, the end of some would go unheard.
        loop.set_default_executor(ThreadPoolExecutor(len(self._members)))
        probes = f", probes on {host}:{server.port}" if server is not None else ""
        _log.info("worker %s starts %d processes%s", self._settings.name, len(self._members), probes)
        with server or nullcontext():
            codes = await asyncio.gather(*(self._run(member) for member in self._members))
        _log.info("worker %s ends: its processes ended with %s", self._settings.name, ", ".join(map(str, codes)))
        return max(codes)

    async def _run(self, member: Member) -> int:
        code = await member.run()
        if code == USAGE_ERROR:
            # What one of them was told wrong, all were told.
            self._pass_on(signal.SIGTERM)
        return code

    def _pass_on(self, number: int) -> None:
        # The first signal drains whichever it is, and to SIGTERM a worker has an answer from its first moment on.
        passed = number if self._told else signal.SIGTERM
        self._told = True
        for member in self._members:
            member.end(passed)

    def alive(self) -> Answer:
        """Answer /healthz: alive if all are."""
        return _worst([(member.name, member.alive()) for member in self._members], good="alive")

    def ready(self) -> Answer:
        """Answer /readyz: ready if all are."""
        return _worst([(member.name, member.ready()) for member in self._members], good="ready")


class Member:
    """One place in the fleet: a process at a time."""

    def __init__(
        self, name: str, share: Share, settings: ProcessSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self._share, self._settings, self._clock = name, share, settings, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._told = asyncio.Event()
        self._done = False
        self._heard_at = clock()
        self._said: dict[str, Answer] = {}

    async def run(self) -> int:
        """Run a process, and another one where it dies unexpectedly; return the exit code of the last."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            started = self._clock()
            code = await self._run_once()
            if self._told.is_set() or code == USAGE_ERROR or (code == 0 and self._share.ends):
                self._done = True
                # One that had not yet begun has no answer to our signal but to die of it.
                return 0 if self._told.is_set() and code in _ENDED_BY_US else code
            if self._clock() - started > _SETTLED_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            _log.error("process %s ended with %s: it starts again in %g s", self.name, _text(code), pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), pause)
            if self._told.is_set():
                self._done = True
                return code
            pause = min(_LONGEST_PAUSE_SECONDS, 2 * pause)

    def end(self, number: int) -> None:
        """Pass a signal on; the process is not started again."""
        self._told.set()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def alive(self) -> Answer:
        """Return what the process said of its liveness, if that is not too long ago."""
        silent = self._clock() - self._heard_at
        if not self._done and silent > self._settings.health_stale_seconds:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"not heard of since {silent:.0f} s"
        return self._said.get("alive", (HTTPStatus.OK, "starting"))

    def ready(self) -> Answer:
        """Return what the process said of its readiness."""
        return self._said.get("ready", (HTTPStatus.SERVICE_UNAVAILABLE, "not ready: starting"))

    async def _run_once(self) -> int:
        ours, theirs = os.pipe()
        self._said, self._heard_at = {}, self._clock()
        try:
            environment = {**os.environ, PREFIX + "NAME": self.name, PREFIX + "STATUS_FD": str(theirs)}
            environment.pop(PREFIX + "HEALTH_PORT", None)
            # A group of its own: Ctrl-C in a terminal reaches it through us, once.
            self._process = await asyncio.to_thread(
                lambda: subprocess.Popen(  # noqa: S603 - our own command line
                    self._share.command, env=environment, pass_fds=[theirs], process_group=0
                )
            )
        finally:
            os.close(theirs)
        if self._told.is_set():
            self._process.terminate()
        listening = asyncio.create_task(self._listen(ours))
        ending = asyncio.create_task(self._kill_when_late())
        try:
            code = await asyncio.to_thread(self._process.wait)
        finally:
            ending.cancel()
            listening.cancel()
            await asyncio.gather(ending, listening, return_exceptions=True)
        self._said = {}
        return code if code >= 0 else 128 - code

    async def _listen(self, status_fd: int) -> None:
        """Read what the process says of itself, until it ends."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(status_fd, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            while line := await reader.readline():
                self._heard_at = self._clock()
                self._said = {what: (HTTPStatus(answer[0]), answer[1]) for what, answer in json.loads(line).items()}
        finally:
            transport.close()

    async def _kill_when_late(self) -> None:
        await self._told.wait()
        await asyncio.sleep(self._settings.drain_timeout_seconds + _FAREWELL_SECONDS)
        if self._process is not None and self._process.poll() is None:
            _log.error("process %s did not end in its drain time: killed", self.name)
            self._process.kill()


def _worst(answers: Sequence[tuple[str, Answer]], *, good: str) -> Answer:
    bad = [f"{name}: {text}" for name, (status, text) in answers if status != HTTPStatus.OK]
    return (HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(bad)) if bad else (HTTPStatus.OK, good)


def _text(code: int) -> str:
    if code <= 128:
        return f"exit code {code}"
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"exit code {code}"


def shares_of(limit: int | None, processes: int) -> list[int | None]:
    """Return how many jobs each process may take: a limit is divided, and no process is started for none."""
    if limit is None:
        return [None] * processes
    each, more = divmod(limit, processes)
    return [each + (number < more) for number in range(processes) if each + (number < more)]
