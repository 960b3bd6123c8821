"""What a change to many jobs is: which jobs it concerns, and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BATCH = 500
"""Jobs that are changed between two looks at whether to go on; a batch takes some 20 ms of the server."""

Finished = Literal["failed", "completed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What became of the jobs that a change concerned; a dry run has `done` 0 and all of them `left`.

    `matched` were counted before anything was changed. Of these, `done` were changed, `moved` were not because somebody
    else moved, took or removed them meanwhile, and `left` were not tried, because the change was interrupted.
    """

    matched: int
    done: int = 0
    moved: int = 0
    interrupted: bool = False

    @property
    def left(self) -> int:
        """Jobs that were not tried."""
        return self.matched - self.done - self.moved


Progress = Callable[[Change], None]
"""Called after each batch with what became of the jobs so far; what it raises ends the change after that batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs of a state are meant: all conditions that are set must hold.

    `name` is the job's whole name, `reason` a text within its `failedReason` (case matters). Ages are milliseconds by
    the server's clock: of finished jobs since they finished, of others since they were added or last taken by a worker.
    """

    name: str | None = None
    reason: str | None = None
    older_than_ms: int | None = None
    younger_than_ms: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every job is meant."""
        return self == JobFilter()

    def admits(self, *, name: str | None, reason: str | None, age_ms: int | None) -> bool:
        """Tell whether a job is meant; one whose age is unknown is meant only where ages do not matter."""
        if self.name is not None and name != self.name:
            return False
        if self.reason is not None and self.reason not in (reason or ""):
            return False
        if self.older_than_ms is not None and (age_ms is None or age_ms < self.older_than_ms):
            return False
        return self.younger_than_ms is None or (age_ms is not None and age_ms < self.younger_than_ms)
