"""The job as a processor sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class JobChannel(Protocol):
    """What a job can tell its queue while it runs."""

    async def update_progress(self, job_id: str, progress: str) -> None:
        """Store the progress (JSON) and publish it as an event."""

    async def log(self, job_id: str, line: str, keep: int | None) -> int:
        """Append a line to the job's log, return how many lines it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a queue, as it was when it was taken; times are Unix milliseconds, durations milliseconds.

    `attempts_made` counts the attempts that ended before this one: 0 when a job runs for the first time.
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

    async def update_progress(self, progress: Any) -> None:
        """Publish how far the job is: a number, a string or any other JSON value."""
        await self.channel.update_progress(self.id, json.dumps(progress, separators=(",", ":"), allow_nan=False))

    async def log(self, line: str) -> int:
        """Append a line to the job's log and return how many lines it has; `keepLogs` of the job bounds them."""
        keep = self.opts.get("kl", self.opts.get("keepLogs"))
        return await self.channel.log(self.id, line, keep if isinstance(keep, int) and keep > 0 else None)
