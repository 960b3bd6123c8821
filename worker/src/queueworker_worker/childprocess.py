"""One child process, seen from the worker: what is sent to it, what it answers, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import fields
from typing import Any

from queueworker_worker import carried, frames
from queueworker_worker.job import Job, JobChannel
from queueworker_worker.registry import Processor

START_SECONDS = 60.0
"""How long a child may take to start, and to import a processor and open its dependencies."""

CLOSE_SECONDS = 3.0
"""How long the dependencies of a child may take to close."""

_LAST_WORDS_SECONDS = 0.5
_CALLS = frozenset(name for name in vars(JobChannel) if not name.startswith("_"))
_NOT_SENT = frozenset({"channel", "loop"})


class ChildDiedError(Exception):
    """The child process of an attempt ended before the attempt did; the text names the signal or the exit code."""


class Child:
    """A running child process, seen from the worker."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            # A group of its own: Ctrl-C in a terminal is not for it, and a kill reaches what the processor started.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "queueworker_worker.child", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        self._socket = ours
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[int] = loop.create_future()
        self.busy = False
        self.jobs = 0
        self._trouble: dict[str, Any] | None = None
        threading.Thread(target=self._reap, args=(loop,), name=f"reaper of {self.name}", daemon=True).start()

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"child process {self._process.pid}"

    @property
    def dead(self) -> bool:
        """It has ended."""
        return self.exited.done()

    def how_it_ended(self) -> str:
        """Return by what it ended: the signal's name, or the exit code."""
        code = self.exited.result()
        if code >= 0:
            return f"it ended with exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = " (the kernel does that where memory runs out)" if -code == signal.SIGKILL else ""
        return f"it was killed by {name}{hint}"

    async def greet(self) -> None:
        """Wait until it is there, and tell it what it must know to import what we imported."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        self._send({"path": sys.path, "log_level": logging.getLogger().getEffectiveLevel()})
        async with asyncio.timeout(START_SECONDS):
            await self._receive("the start")

    async def prepare(self, processor: Processor) -> None:
        """Let it import a processor and open its dependencies, if it has not yet, and show that it lives."""
        self._send({"prepare": _address_of(processor)})
        async with asyncio.timeout(START_SECONDS):
            answer = await self._receive(processor.path)
        self._trouble = answer.get("error")

    def raise_trouble(self) -> None:
        """Raise what went wrong while it prepared itself."""
        if self._trouble is not None:
            raise carried.decode(self._trouble)

    async def run(self, processor: Processor, job: Job) -> Any:
        """Run an attempt there and return its result; raises what it raised, or ChildDiedError."""
        self.busy = True
        self.jobs += 1
        calls: set[asyncio.Task[None]] = set()
        self._send({"job": _sent(job)})
        try:
            while "end" not in (message := await self._receive(f"{processor.path}")):
                call = asyncio.create_task(self._answer(job, message))
                calls.add(call)
                call.add_done_callback(calls.discard)
        finally:
            for call in calls:
                call.cancel()
        self.busy = False
        job.discarded = job.discarded or bool(message["discarded"])
        if "error" in message:
            raise carried.decode(message["error"])
        return message["end"]

    def dismiss(self) -> None:
        """Let it close its dependencies and end."""
        if self._writer is not None:
            self._writer.close()

    def kill(self) -> None:
        """End it at once, with all that its processor started."""
        if not self.dead:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._writer is not None:
            self._writer.close()
        else:
            self._socket.close()

    def _send(self, message: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(frames.encode(message))

    async def _receive(self, during: str) -> dict[str, Any]:
        reading = asyncio.ensure_future(frames.read(self._reader))
        try:
            waiting: set[asyncio.Future[Any]] = {reading, self.exited}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # What it wrote before its end may still be on the way.
                await asyncio.wait({reading}, timeout=_LAST_WORDS_SECONDS)
            if reading.done() and (message := reading.result()) is not None:
                return message
        finally:
            reading.cancel()
        # The end of the line comes before the end of the process; one that only closed its line is of no use either.
        await asyncio.wait({self.exited}, timeout=_LAST_WORDS_SECONDS)
        how = self.how_it_ended() if self.dead else "it closed its line"
        raise ChildDiedError(f"the {self.name} of {during} died: {how}")

    async def _answer(self, job: Job, message: dict[str, Any]) -> None:
        """Do what the job asks for, with the worker's own connection."""
        answer: dict[str, Any] = {"reply": message["call"]}
        method, arguments = message["method"], message["arguments"]
        try:
            if method not in _CALLS:
                raise ValueError(f"a job has no {method}")
            answer["value"] = await getattr(job.channel, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the child's job gets it
            answer["error"] = carried.encode(error)
        self._send(answer)

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._ended, code)

    def _ended(self, code: int) -> None:
        if not self.exited.done():
            self.exited.set_result(code)


def _address_of(processor: Processor) -> list[str]:
    return [processor.function.__module__, processor.function.__qualname__]


def _sent(job: Job) -> dict[str, Any]:
    values = {one.name: getattr(job, one.name) for one in fields(job) if one.name not in _NOT_SENT}
    return {**values, "opts": dict(job.opts)}
