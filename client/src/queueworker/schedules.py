"""Job schedulers: jobs that BullMQ adds again and again, by a cron pattern or at an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import croniter

from queueworker.errors import InvalidJobError, QueueWorkerError
from queueworker.jobs import encode_data
from queueworker.options import JobOptions

if TYPE_CHECKING:
    from queueworker.connection import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a scheduler fires: `cron` in the time zone `tz`, or `every` so many milliseconds."""

    id: str
    cron: str | None = None
    every: int | None = None
    tz: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not self.id or ":" in self.id:
            raise InvalidJobError(f"scheduler id {self.id!r}: it must not be empty and must not contain ':'")
        if (self.cron is None) == (self.every is None):
            raise InvalidJobError(f"scheduler {self.id}: exactly one of cron and every is needed")
        if self.limit is not None and self.limit < 1:
            raise InvalidJobError(f"scheduler {self.id}: limit must be at least 1")
        if self.cron is None:
            self._check_interval()
        else:
            self._check_cron(self.cron)

    def _check_interval(self) -> None:
        if not isinstance(self.every, int) or isinstance(self.every, bool) or self.every < 1:
            raise InvalidJobError(f"scheduler {self.id}: every must be a whole number of milliseconds, at least 1")

    def _check_cron(self, cron: str) -> None:
        if self.tz is None:
            # Node would take the time zone of the process, Python UTC.
            raise InvalidJobError(f"scheduler {self.id}: name a time zone with tz, 'UTC' for example")
        try:
            ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidJobError(f"scheduler {self.id}: {self.tz!r} is no IANA time zone") from None
        if len(cron.split()) not in {5, 6} or not croniter.is_valid(cron, second_at_beginning=True):
            raise InvalidJobError(f"scheduler {self.id}: {cron!r} is no cron pattern of 5 or 6 fields (seconds first)")

    def repeat(self) -> dict[str, Any]:
        """Return the repeat options as BullMQ names them."""
        values = {"pattern": self.cron, "every": self.every, "tz": self.tz, "limit": self.limit}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What is stored: the scheduler's id and the job of its next run, None where none follows any more."""

    id: str
    next_job_id: str | None


async def upsert(
    client: Client, *, prefix: str, queue: str, schedule: Schedule, name: str, data: Any, options: dict[str, Any]
) -> Scheduled:
    """Create the scheduler or bring it up to date; the same call again changes nothing."""
    from bullmq import Queue as BullQueue

    encode_data(data, job_name=name)
    template = JobOptions.of(**options)
    if template.job_id is not None or template.delay:
        raise InvalidJobError(f"scheduler {schedule.id}: job_id and delay are the scheduler's own")
    opts = {key: value for key, value in template.encode().items() if key != "delay"}
    # bullmq computes cron times and calls its script by our own client; it is not closed, for the client is ours.
    bull = BullQueue(queue, {"connection": client, "prefix": prefix})
    try:
        job = await bull.upsertJobScheduler(schedule.id, schedule.repeat(), name, data, opts)
    except TypeError as error:
        # So bullmq reports what its script refuses: jobs of this scheduler that stand where the next one would.
        raise QueueWorkerError(f"queue {queue}: scheduler {schedule.id} was not stored: {error}") from error
    return Scheduled(schedule.id, None if job is None else str(job.id))


async def remove(client: Client, *, prefix: str, queue: str, scheduler_id: str) -> bool:
    """Remove a scheduler and its next job; tells whether there was one."""
    from bullmq import Queue as BullQueue

    bull = BullQueue(queue, {"connection": client, "prefix": prefix})
    return int(await bull.removeJobScheduler(scheduler_id)) == 0
