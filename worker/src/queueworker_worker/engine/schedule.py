"""The next job of a scheduler: each job of a scheduler brings the following one when it is taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import msgpack

from queueworker_worker.engine.link import Backoff, LinkError, ReplyError
from queueworker_worker.engine.scripts import QueueScripts, wall_ms
from queueworker_worker.engine.trouble import Contact
from queueworker_worker.job import Job

_log = logging.getLogger(__name__)


class SchedulerKeeper:
    """Adds the next jobs of schedulers for one worker."""

    def __init__(
        self, scripts: QueueScripts, contact: Contact, queue: str, *, now_ms: Callable[[], int] = wall_ms
    ) -> None:
        self._scripts, self._contact, self._queue, self._now_ms = scripts, contact, queue, now_ms
        self.ending = False
        """The worker ends: what cannot be added now is left to whoever takes the job again."""

    async def advance(self, job: Job) -> None:
        """Add the scheduler's next job before this one runs: without it the schedule would end here."""
        backoff = Backoff()
        while not self.ending and job.scheduler_id is not None:
            try:
                following = next_of(job, now_ms=self._now_ms())
                if following is not None:
                    next_ms, opts = following
                    await self._scripts.advance_scheduler(
                        job.scheduler_id, producer=job.id, next_ms=next_ms, data="{}", opts=opts
                    )
                return
            except ReplyError as error:
                return self._give_up(job, error)
            except LinkError as error:
                self._contact.failed(error)
                await asyncio.sleep(backoff.pause())
            except Exception as error:  # noqa: BLE001 - another program wrote the options, and there may be anything
                return self._give_up(job, error)

    def _give_up(self, job: Job, error: Exception) -> None:
        _log.error("queue %s: scheduler %s has no next job: %s", self._queue, job.scheduler_id, error)


def next_of(job: Job, *, now_ms: int) -> tuple[int, bytes] | None:
    """Return when (Unix ms) the next job of a job's scheduler is due and its packed options; None where none follows.

    For an interval the script reckons the time itself and takes ours as a stand-in. A pattern has 5 fields or 6 with
    the seconds first; without `tz` it means UTC. Raises ValueError for a repeat option that cannot be understood.
    """
    repeat = job.opts.get("repeat")
    if not isinstance(repeat, dict) or not (repeat.get("pattern") or repeat.get("every")):
        raise ValueError(f"scheduler {job.scheduler_id!r}: the job has neither a pattern nor an interval to repeat by")
    count = int(repeat.get("count") or 0) + 1
    limit, end_ms = repeat.get("limit"), _milliseconds(repeat.get("endDate"))
    if (limit is not None and count > int(limit)) or (end_ms is not None and now_ms > end_ms):
        return None
    base = max(now_ms, int(job.opts.get("prevMillis") or 0))
    next_ms = _next_of_pattern(repeat, base) if repeat.get("pattern") else base
    if repeat.get("pattern") and end_ms is not None and next_ms > end_ms:
        return None
    return next_ms, _options(job, repeat, count=count, next_ms=next_ms, now_ms=now_ms)


def _options(job: Job, repeat: Mapping[str, Any], *, count: int, next_ms: int, now_ms: int) -> bytes:
    dates = {key: _milliseconds(repeat.get(key)) for key in ("startDate", "endDate")}
    carried = {key: value for key, value in repeat.items() if key not in {"immediately", "startDate", "endDate"}}
    kept = carried | {"count": count} | {key: value for key, value in dates.items() if value is not None}
    options = dict(job.opts) | {
        "jobId": f"repeat:{job.scheduler_id}:{next_ms}",
        "delay": max(0, next_ms + int(repeat.get("offset") or 0) - now_ms),
        "timestamp": now_ms,
        "prevMillis": next_ms,
        "repeatJobKey": job.scheduler_id,
        "repeat": kept,
    }
    return bytes(msgpack.packb(options))


def _next_of_pattern(repeat: Mapping[str, Any], base_ms: int) -> int:
    # Few workers ever need it, and it takes its time to import.
    from queueworker import cron

    zone: tzinfo = ZoneInfo(str(repeat["tz"])) if repeat.get("tz") else UTC
    after_ms = max(base_ms, _milliseconds(repeat.get("startDate")) or 0)
    return cron.next_ms(str(repeat["pattern"]), tz=zone, after_ms=after_ms)


def _milliseconds(value: Any) -> int | None:
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return int(value)
    text = str(value)
    return int(text) if text.isdigit() else int(datetime.fromisoformat(text).timestamp() * 1000)
