"""Job schedulers: when they fire, checked before it is sent, and what is stored of them.

BullMQ's scripts count intervals themselves; the times of a cron pattern are worked out here, as BullMQ's clients do.
Sources: `JobScheduler` of BullMQ for Node, `addJobScheduler-11.lua`, `includes/storeJobScheduler.lua`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from queueworker import cron as patterns
from queueworker.decoding import json_or_text, whole_number
from queueworker.errors import InvalidJobError
from queueworker.options import MAX_DUE_MS, JobOptions

Moment = datetime | int
"""A point in time: a datetime that knows its time zone, or Unix milliseconds."""
OVERDUE_MS = 60_000
"""A worker that lives takes a job that is due well within this."""

SchedulerState = Literal["scheduled", "overdue", "ended"]
"""`overdue`: no worker took the job that is due; `ended`: its limit or end is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a scheduler fires: `cron` in the time zone `tz`, or `every` so many milliseconds.

    `limit` is how many jobs are made in all. `start` and `end` bound the time. `offset` milliseconds shift an interval
    against the epoch, so that `every=3_600_000, offset=60_000` fires a minute after each full hour. `immediately` adds
    the first job of a cron pattern at once, and each time that the scheduler is stored again; an interval without
    `start` and `offset` begins at once anyway.
    """

    id: str
    cron: str | None = None
    every: int | None = None
    tz: str | None = None
    limit: int | None = None
    start: Moment | None = None
    end: Moment | None = None
    offset: int | None = None
    immediately: bool = False
    start_ms: int | None = field(init=False, default=None)
    end_ms: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id or ":" in self.id:
            raise InvalidJobError(f"scheduler id {self.id!r}: it must not be empty and must not contain ':'")
        if (self.cron is None) == (self.every is None):
            raise self._error("exactly one of cron and every is needed")
        if self.limit is not None and not _is_count(self.limit):
            raise self._error("limit must be a whole number, at least 1")
        self._check_bounds()
        if self.cron is None:
            self._check_interval()
        else:
            self._check_cron(self.cron)

    def next_ms(self, now_ms: int) -> int:
        """Return when (Unix ms) the first job falls due; of an interval only a guess, for the script counts it.

        Raises InvalidJobError where there is no such time.
        """
        if self.end_ms is not None and self.end_ms < now_ms:
            raise self._error("end is in the past")
        if self.cron is None or self.immediately:
            return now_ms
        try:
            due_ms = patterns.next_ms(
                self.cron, tz=ZoneInfo(self.tz or "UTC"), after_ms=max(now_ms, self.start_ms or 0)
            )
        except ValueError:
            raise self._error(f"{self.cron!r} never fires") from None
        if self.end_ms is not None and due_ms > self.end_ms:
            raise self._error("end comes before the first run")
        if due_ms > MAX_DUE_MS:
            raise self._error("the first run is after 2039, which BullMQ cannot store")
        return due_ms

    def repeat(self) -> dict[str, Any]:
        """Return the repeat options as BullMQ names them, without those that are not set."""
        return _set(
            pattern=self.cron,
            every=self.every,
            tz=self.tz,
            limit=self.limit,
            startDate=self.start_ms,
            endDate=self.end_ms,
            offset=self.offset,
        )

    def _error(self, what: str) -> InvalidJobError:
        return InvalidJobError(f"scheduler {self.id}: {what}")

    def _check_bounds(self) -> None:
        for name in ("start", "end"):
            object.__setattr__(self, f"{name}_ms", self._milliseconds(name, getattr(self, name)))
        if self.start_ms is not None and self.end_ms is not None and self.end_ms < self.start_ms:
            raise self._error("end is before start")
        if self.immediately and self.start_ms is not None:
            raise self._error("immediately and start exclude each other")

    def _milliseconds(self, name: str, moment: Moment | None) -> int | None:
        if moment is None:
            return None
        if isinstance(moment, datetime):
            if moment.utcoffset() is None:
                raise self._error(f"{name} has no time zone: write datetime(…, tzinfo=UTC) for example")
            moment = round(moment.timestamp() * 1000)
        if not isinstance(moment, int) or isinstance(moment, bool) or not 0 <= moment <= MAX_DUE_MS:
            raise self._error(f"{name} must be a datetime or whole Unix milliseconds, before 2039")
        return moment

    def _check_interval(self) -> None:
        if not _is_count(self.every) or (self.every or 0) > MAX_DUE_MS:
            raise self._error("every must be a whole number of milliseconds, at least 1")
        if self.tz is not None:
            raise self._error("tz belongs to cron: an interval knows no time zone")
        if self.offset is not None and not (_is_count(self.offset) and self.offset < (self.every or 0)):
            raise self._error("offset must be a whole number of milliseconds, at least 1 and less than every")

    def _check_cron(self, cron: str) -> None:
        if self.offset is not None:
            raise self._error("offset belongs to every: a pattern says itself when it fires")
        if self.tz is None:
            # Node would take the time zone of the process, Python UTC.
            raise self._error("name a time zone with tz, 'UTC' for example")
        try:
            ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            raise self._error(f"{self.tz!r} is no IANA time zone") from None
        if not isinstance(cron, str) or not patterns.is_pattern(cron):
            raise self._error(f"{cron!r} is no cron pattern of 5 or 6 fields (seconds first)")


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What is stored: the scheduler's id, the job of its next run, and when (Unix ms) that falls due."""

    id: str
    next_job_id: str
    next_run_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A scheduler as it is stored; what is not set is None.

    `next_run_ms` (Unix ms) lies in the past once the scheduler has come to its `limit` or `end_ms`, and where no worker
    has taken the job that is due. `iterations` counts the jobs made so far. `name`, `data` and `options` are those of
    the jobs; data that is no JSON comes as the text that is stored, the options are BullMQ's, with its own short
    names.
    """

    id: str
    next_run_ms: int
    name: str | None = None
    pattern: str | None = None
    every: int | None = None
    tz: str | None = None
    limit: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    offset: int | None = None
    iterations: int | None = None
    data: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def next_run(self) -> datetime:
        """When the next job falls due, in UTC."""
        return datetime.fromtimestamp(self.next_run_ms / 1000, UTC)

    def has_ended(self, now_ms: int) -> bool:
        """Tell whether its limit or its end is reached, after which BullMQ keeps it; its last job may still wait."""
        at_limit = self.limit is not None and (self.iterations or 0) >= self.limit
        return at_limit or (self.end_ms is not None and self.end_ms <= now_ms)

    def state(self, now_ms: int) -> SchedulerState:
        """Tell whether a job of it is still to come."""
        if self.next_run_ms > now_ms:
            return "scheduled"
        if self.has_ended(now_ms):
            return "ended"
        return "overdue" if now_ms - self.next_run_ms > OVERDUE_MS else "scheduled"

    @classmethod
    def of(cls, scheduler_id: str, next_run_ms: int, stored: Mapping[str, str]) -> ScheduleInfo:
        """Read what `storeJobScheduler.lua` wrote; of repeatable jobs of BullMQ before 5 only id and time are known."""
        options = json_or_text(stored.get("opts"))
        return cls(
            id=scheduler_id,
            next_run_ms=next_run_ms,
            name=stored.get("name"),
            pattern=stored.get("pattern"),
            every=whole_number(stored.get("every")),
            tz=stored.get("tz"),
            limit=whole_number(stored.get("limit")),
            start_ms=whole_number(stored.get("startDate")),
            end_ms=whole_number(stored.get("endDate")),
            offset=whole_number(stored.get("offset")),
            iterations=whole_number(stored.get("ic")),
            data=json_or_text(stored.get("data", "{}")),
            options=options if isinstance(options, dict) else {},
        )


def template(schedule_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that every job of a scheduler gets, as BullMQ's scripts take them; raises InvalidJobError."""
    checked = JobOptions.of(**options)
    own = {
        "job_id": checked.job_id,
        "delay": checked.delay or None,
        "deduplication": checked.deduplication,
        "parent": checked.parent,
        **dict.fromkeys(checked.on_failure, True),
    }
    for name, value in own.items():
        if value is not None:
            raise InvalidJobError(f"scheduler {schedule_id}: its jobs cannot have {name}, which is the scheduler's own")
    return {key: value for key, value in checked.encode().items() if key != "delay"}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _set(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
