"""What is found in queues, judged. Pure, but for `look`, which reads one queue."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from queueworker.doctor.findings import Finding, error, ok, warning
from queueworker.errors import RedisAccessError
from queueworker.queue import Queue
from queueworker.schedules import OVERDUE_MS, ScheduleInfo
from queueworker.snapshot import QueueSnapshot

_NEWEST_FAILED = 100
_ACTIVE_LOOKED_AT = 100
# Ids that BullMQ counts up, ids that our client makes, and those of schedulers: nobody adds them a second time.
_OWN_ID = re.compile(r"\d+|[0-9a-f]{32}|repeat:.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one queue held."""

    snapshot: QueueSnapshot
    live_workers: int
    locked: int
    """Of the active jobs looked at, those that some worker holds."""
    newest_failed: Sequence[str]
    """Ids of the jobs that failed last."""
    schedules: Sequence[ScheduleInfo]
    without_next_job: Sequence[str]
    """Ids of schedulers whose next job is not there."""


async def look(queue: Queue) -> Look:
    """Read one queue; raises RedisReadError."""
    snapshot = await queue.stats()
    active = await queue.jobs("active", end=_ACTIVE_LOOKED_AT - 1) if snapshot.active else []
    failed = await queue.jobs("failed", end=_NEWEST_FAILED - 1, newest_first=True) if snapshot.failed else []
    schedules = await queue.schedules()
    return Look(
        snapshot=snapshot,
        live_workers=sum(worker.alive for worker in await queue.workers()),
        locked=sum(job.lock_owner is not None for job in active),
        newest_failed=[job.id for job in failed],
        schedules=schedules,
        without_next_job=[one.id for one in schedules if await _is_stuck(queue, one)],
    )


async def _is_stuck(queue: Queue, one: ScheduleInfo) -> bool:
    """Tell whether the job that would lead to the next one is in no place from which a worker takes it."""
    job = await queue.job(f"repeat:{one.id}:{one.next_run_ms}")
    if job is not None and job.timestamp is not None and job.state not in {"unknown", "failed", "completed"}:
        return False
    # A worker that takes the job stores the next one with it.
    again = await queue.get_schedule(one.id)
    return again is not None and again.next_run_ms == one.next_run_ms


async def check(queue: Queue) -> list[Finding]:
    """Return what is to be said about a queue."""
    try:
        found = await look(queue)
    except RedisAccessError as failure:
        return [error("queue", str(failure), "see what the message names", queue=queue.name)]
    return judge(found)


def judge(found: Look) -> list[Finding]:
    """Return the findings of a queue; the one on its workers always, the others where something is wrong."""
    if not found.snapshot.exists:
        remedy = "check the name and the prefix"
        return [warning("queue", "never used: no job was ever added", remedy, queue=found.snapshot.queue)]
    others = (_legacy(found), _starving(found), _blocked_ids(found), *_schedulers(found))
    return [_workers(found), *(one for one in others if one is not None)]


def _workers(found: Look) -> Finding:
    one, name = found.snapshot, found.snapshot.queue
    jobs = one.backlog + one.active
    if one.paused:
        message = f"paused, with {one.backlog} jobs ready"
        return warning("workers", message, f"when it shall go on: queueworker resume {name}", queue=name)
    if found.live_workers:
        return ok("workers", f"{found.live_workers} live, {one.backlog} jobs ready, {one.active} active", queue=name)
    if not jobs:
        return ok("workers", "no live worker of ours, and no job ready", queue=name)
    if found.locked:
        return ok("workers", f"served by workers without our heartbeat, {one.backlog} jobs ready", queue=name)
    remedy = f"start a worker (queueworker work {name}); nothing, if workers of another make serve it"
    lost = f", {one.active} of them active without a lock: their worker is gone" if one.active else ""
    return warning("workers", f"{jobs} jobs and no live worker{lost}", remedy, queue=name)


def _legacy(found: Look) -> Finding | None:
    one = found.snapshot
    if not one.legacy_paused:
        return None
    message = f"{one.legacy_paused} jobs stand in the list `paused` of BullMQ 5 or older, where no newer worker looks"
    return warning("legacy paused", message, f"queueworker resume {one.queue} brings them back", queue=one.queue)


def _starving(found: Look) -> Finding | None:
    one = found.snapshot
    if not (one.waiting and one.prioritized):
        return None
    message = f"{one.waiting} jobs without a priority go before all {one.prioritized} with one"
    return warning("priorities", message, "have every producer of this queue set a priority", queue=one.queue)


def _blocked_ids(found: Look) -> Finding | None:
    custom = [job_id for job_id in found.newest_failed if not _OWN_ID.fullmatch(job_id)]
    if not custom:
        return None
    name = found.snapshot.queue
    message = (
        f"{len(custom)} of the last {len(found.newest_failed)} failed jobs have ids that producers chose "
        f"({custom[0]}): adding such an id again does nothing while they are kept"
    )
    return warning("failed ids", message, f"queueworker failed {name}, then retry or clear", queue=name)


def _schedulers(found: Look) -> list[Finding]:
    name, now_ms = found.snapshot.queue, found.snapshot.now_ms
    findings = []
    for one in found.schedules:
        late_ms = now_ms - one.next_run_ms
        if one.has_ended(now_ms) or (late_ms < OVERDUE_MS and one.id not in found.without_next_job):
            continue
        if one.id in found.without_next_job:
            remedy = (
                f"store it again where it is declared, or remove it: queueworker schedulers {name} --remove {one.id}"
            )
            findings.append(error("scheduler", f"{one.id} has no next job and never fires", remedy, queue=name))
        else:
            message = f"{one.id} was due {late_ms // 1000} s ago and no worker took its job"
            findings.append(warning("scheduler", message, f"start a worker: queueworker work {name}", queue=name))
    return findings
