"""A child process of a worker: runs the jobs of `execution="process"` processors, one at a time.

Its arguments are the number of its socket and the process id of its worker. It ends when the socket does, which a
worker that is killed closes too; on Linux the kernel ends it with its worker even while it holds the interpreter.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import itertools
import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from importlib import import_module
from typing import Any, cast

from queueworker_worker import carried, frames, logs
from queueworker_worker.childprocess import CLOSE_SECONDS
from queueworker_worker.context import Dependencies, closing
from queueworker_worker.execution import arguments_of, as_error, jsonable
from queueworker_worker.job import Job, JobChannel
from queueworker_worker.registry import Processor, Registry

_PR_SET_PDEATHSIG = 1


class Channel:
    """The job's line to its queue: every method of JobChannel is a call to the worker."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*arguments: Any) -> Any:
            number = next(self._numbers)
            self._asked[number] = asyncio.get_running_loop().create_future()
            self._writer.write(frames.encode({"call": number, "method": method, "arguments": arguments}))
            try:
                return await self._asked[number]
            finally:
                del self._asked[number]

        return call

    def answered(self, message: dict[str, Any]) -> None:
        """Give an answer to who asked."""
        asked = self._asked.get(message["reply"])
        if asked is None or asked.done():
            return
        if "error" in message:
            asked.set_exception(carried.decode(message["error"]))
        else:
            asked.set_result(message["value"])


class Runner:
    """Runs attempts and opens what they need, once."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.channel = Channel(writer)
        self.dependencies = Dependencies([])
        self._processors: dict[tuple[str, str], Processor] = {}
        self._processor: Processor | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="processor")

    async def prepare(self, module: str, name: str) -> None:
        """Import a processor, open its dependencies, and say that it may begin, or why it cannot."""
        answer: dict[str, Any] = {"prepared": True}
        try:
            self._processor = self._find(module, name)
            await self._open(self._processor)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the attempt ends by it
            answer["error"] = carried.encode(error)
        self._writer.write(frames.encode(answer))

    async def run(self, values: dict[str, Any]) -> None:
        """Run an attempt and say how it ended."""
        job = Job(**values, channel=cast(JobChannel, self.channel))
        try:
            result = await self._result(job)
            frame = frames.encode({"end": result, "discarded": job.discarded})
        except BaseException as error:  # noqa: BLE001 - whatever ends an attempt is told, and ends nothing else
            frame = frames.encode({"end": None, "error": carried.encode(error), "discarded": job.discarded})
        self._writer.write(frame)

    async def _result(self, job: Job) -> Any:
        processor = cast(Processor, self._processor)
        arguments = arguments_of(processor, self.dependencies)(job)
        if inspect.iscoroutinefunction(processor.function):
            result, error = await _outcome(processor, arguments)
        else:
            loop = asyncio.get_running_loop()
            result, error = await loop.run_in_executor(self._threads, _call, processor, arguments)
        if error is not None:
            raise as_error(error, processor)
        return jsonable(result, processor)

    async def _open(self, processor: Processor) -> None:
        try:
            await self.dependencies.open_also(processor.parameters.dependencies.values())
        except Exception as error:
            raise RuntimeError(
                f"dependency {self.dependencies.opening} cannot be opened: {type(error).__name__}: {error}"
            ) from error

    def _find(self, module: str, name: str) -> Processor:
        if (module, name) not in self._processors:
            function = reduce(getattr, name.split("."), cast(Any, import_module(module)))
            registry = Registry.of([function])
            found = (one for queue in registry.queues for one in registry.of_queue(queue))
            self._processors[module, name] = next(one for one in found if one.execution == "process")
        return self._processors[module, name]


async def _outcome(processor: Processor, arguments: dict[str, Any]) -> tuple[Any, BaseException | None]:
    try:
        return await processor.function(**arguments), None
    except BaseException as error:  # noqa: BLE001 - told to the worker by the caller
        return None, error


def _call(processor: Processor, arguments: dict[str, Any]) -> tuple[Any, BaseException | None]:
    try:
        return processor.function(**arguments), None
    except BaseException as error:  # noqa: BLE001 - told to the worker by the caller
        return None, error


async def serve(line: socket.socket) -> None:
    """Take jobs until the line ends; an attempt under way then is given up with the process."""
    reader, writer = await asyncio.open_unix_connection(sock=line)
    greeting = await frames.read(reader)
    if greeting is None:
        return
    sys.path[:] = greeting["path"]
    logs.configure(greeting["log_level"])
    runner = Runner(writer)
    async with closing(runner.dependencies, seconds=CLOSE_SECONDS):
        writer.write(frames.encode({"ready": True}))
        running: asyncio.Task[None] | None = None
        while (message := await frames.read(reader)) is not None:
            if "reply" in message:
                runner.channel.answered(message)
            elif "prepare" in message:
                await runner.prepare(*message["prepare"])
            else:
                running = asyncio.create_task(runner.run(message["job"]))
        if running is not None and not running.done():
            _end()
    writer.close()


def main() -> None:
    """Be a child process."""
    line, parent = int(sys.argv[1]), int(sys.argv[2])
    # The worker says when it ends: a service manager may signal every process at once. A handler, not SIG_IGN, which
    # what the processor starts would inherit.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _die_with(parent)
    os.set_inheritable(line, False)
    asyncio.run(serve(socket.socket(fileno=line)))
    _end()


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _end() -> None:
    # Threads that a processor left behind would hold the interpreter, and nobody is there to hear of them.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
