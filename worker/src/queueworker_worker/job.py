"""The job as a processor sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class JobChannel(Protocol):
    """What a job can tell its queue while it runs."""

    async def update_progress(self, job_id: str, progress: str) -> None:
        """Store the progress (JSON) and publish it as an event."""

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        """Append a line to the job's log, return how many lines it has."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a queue, as it was when it was taken; times are Unix milliseconds, durations milliseconds.

    `attempts_made` counts the attempts that ended before this one: 0 when a job runs for the first time.

    A `def` processor, which has no event loop, calls the methods by `from_thread`: `job.from_thread(job.log, "half")`.
    """

    id: str
    queue: str
    name: str
    data: Any
    """The payload, decoded from JSON."""
    opts: Mapping[str, Any]
    """The options as they are stored: BullMQ's names, its short keys (`fpof`, `de`, `kl`) included."""
    timestamp: int
    delay: int = 0
    priority: int = 0
    attempts: int = 1
    attempts_made: int = 0
    stalled_count: int = 0
    processed_on: int | None = None
    scheduler_id: str | None = None
    parent_key: str | None = None
    channel: JobChannel = field(repr=False, compare=False)
    loop: asyncio.AbstractEventLoop | None = field(default_factory=_running_loop, repr=False, compare=False)
    """The worker's own, in which the job was taken."""

    def update_progress(self, progress: Any) -> Coroutine[Any, Any, None]:
        """Publish how far the job is: a number, a string or any other JSON value; to be awaited."""
        self._must_be_awaited("update_progress")
        text = json.dumps(progress, separators=(",", ":"), allow_nan=False)
        return self.channel.update_progress(self.id, text)

    def log(self, line: str) -> Coroutine[Any, Any, int]:
        """Append a line to the job's log and return how many lines it has; to be awaited.

        The job's `keepLogs` bounds them.
        """
        self._must_be_awaited("log")
        keep = self.opts.get("kl", self.opts.get("keepLogs"))
        return self.channel.log(self.id, storable(line), keep if isinstance(keep, int) and keep > 0 else None)

    def from_thread(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call an async function in the worker's event loop, wait for it and return what it returns.

        For `def` processors: `job.from_thread(job.update_progress, 50)`, or with a method of an async dependency.
        """
        if self.loop is None or _running_loop() is not None:
            raise RuntimeError("from_thread is for `def` processors in a worker: in an async function use await")

        async def call() -> T:
            return await function(*args, **kwargs)

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result()

    def _must_be_awaited(self, name: str) -> None:
        # Without a loop the coroutine would be thrown away unnoticed.
        if _running_loop() is None:
            raise RuntimeError(f"a `def` processor cannot await job.{name}(…): write job.from_thread(job.{name}, …)")


def storable(text: str) -> str:
    """Return text that Redis can be sent: half a surrogate pair, which no encoding knows, is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
