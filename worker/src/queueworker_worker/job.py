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
    """What a job can ask of its queue and tell it while it runs; all raise LinkError where Redis cannot be reached."""

    async def update_progress(self, job_id: str, progress: str) -> None:
        """Store the progress (JSON) and publish it as an event."""

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        """Append a line to the job's log, return how many lines it has."""

    async def update_data(self, job_id: str, data: str) -> None:
        """Store other data (JSON)."""

    async def children_values(self, job_id: str) -> dict[str, Any]:
        """Return the results of the children that completed, by their keys `prefix:queue:id`."""

    async def failed_children(self, job_id: str) -> dict[str, str]:
        """Return the reasons of the failed children that the parent ignores, by their keys."""

    async def dependency_counts(self, job_id: str) -> dict[str, int]:
        """Return how many children are unprocessed, processed, ignored and failed."""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@dataclass(slots=True, kw_only=True)
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
    attempts_started: int = 0
    stalled_count: int = 0
    processed_on: int | None = None
    scheduler_id: str | None = None
    parent_key: str | None = None
    """`prefix:queue:id` of the parent in a flow."""
    prefix: str = "bull"
    discarded: bool = False
    """The job is not to be tried again; set by `discard`."""
    cancel_reason: str | None = None
    """Why the attempt was cancelled; a `def` processor may look at it from time to time."""
    channel: JobChannel = field(repr=False, compare=False)
    loop: asyncio.AbstractEventLoop | None = field(default_factory=_running_loop, repr=False, compare=False)
    """The worker's own, in which the job was taken."""

    @property
    def parent(self) -> dict[str, str]:
        """What `Queue.enqueue(…, parent=job.parent)` wants in order to add a child of this job."""
        return {"id": self.id, "queue": f"{self.prefix}:{self.queue}"}

    def discard(self) -> None:
        """Let this attempt be the last one, if it fails."""
        self.discarded = True

    def update_progress(self, progress: Any) -> Coroutine[Any, Any, None]:
        """Publish how far the job is: a number, a string or any other JSON value; to be awaited."""
        self._must_be_awaited("update_progress")
        return self.channel.update_progress(self.id, _json(progress))

    def log(self, line: str) -> Coroutine[Any, Any, int]:
        """Append a line to the job's log and return how many lines it has; to be awaited.

        The job's `keepLogs` bounds them.
        """
        self._must_be_awaited("log")
        keep = self.opts.get("kl", self.opts.get("keepLogs"))
        return self.channel.log(self.id, storable(line), keep if isinstance(keep, int) and keep > 0 else None)

    def update_data(self, data: Any) -> Coroutine[Any, Any, None]:
        """Store other data with the job, for its next attempt and for whoever looks; to be awaited."""
        self._must_be_awaited("update_data")
        text = _json(data)
        self.data = data
        return self.channel.update_data(self.id, text)

    def children_values(self) -> Coroutine[Any, Any, dict[str, Any]]:
        """Return what the children of this job returned, by their keys `prefix:queue:id`; to be awaited."""
        self._must_be_awaited("children_values")
        return self.channel.children_values(self.id)

    def failed_children(self) -> Coroutine[Any, Any, dict[str, str]]:
        """Return why children failed whose failure this job ignores, by their keys; to be awaited."""
        self._must_be_awaited("failed_children")
        return self.channel.failed_children(self.id)

    def dependency_counts(self) -> Coroutine[Any, Any, dict[str, int]]:
        """Return how many children are `unprocessed`, `processed`, `ignored` and `failed`; to be awaited."""
        self._must_be_awaited("dependency_counts")
        return self.channel.dependency_counts(self.id)

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


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def storable(text: str) -> str:
    """Return text that Redis can be sent: half a surrogate pair, which no encoding knows, is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
