"""Commands that look at jobs: jobs, failed."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from queueworker.cli import output, parameters, records
from queueworker.cli.output import Format
from queueworker.cli.performing import filter_of, require
from queueworker.cli.session import Place, on_queue
from queueworker.cli.values import grouped
from queueworker.errors import JobNotFoundError, SettingsError

if TYPE_CHECKING:
    from queueworker.changes import JobFilter
    from queueworker.queue import Queue
    from queueworker.records import Children, JobRecord, Logs

_LOG_LINES = 1000
# More than any queue holds, and well within what Redis takes for a position.
_MOST = 10**12
_JOB_FIELDS = (
    "id, queue, state, name, data, opts, timestamp, priority, delay, due_on, processed_on, finished_on, attempts, "
    "attempts_started, attempts_made, stalled_count, progress, return_value, failed_reason, stacktrace, "
    "deferred_failure, scheduler_id, deduplication_id, parent_key, processed_by, lock_owner, lock_ttl_ms, "
    "dependency_counts, unreadable"
)
_JOBS_HELP = (
    f"JSON: queue, prefix, counts (jobs by state) and jobs, a list of objects with {_JOB_FIELDS}. With --id: one such "
    "object, and in it logs (the last 1000 lines), logs_total and children (unprocessed, values, ignored, failed). "
    "Times are Unix milliseconds, null means that Redis does not hold it.\n\n"
    "Exit code 3 for a queue never used or a job not found."
)
_FAILED_HELP = (
    "JSON: queue, prefix, matched and reasons, a list of objects with reason (of the newest job), count, names (jobs "
    "by name), oldest_ms and newest_ms (when they failed, Unix milliseconds), example_id (of the newest job). With "
    "--list jobs in place of reasons, as `jobs` gives them.\n\n"
    "Exit code 3 for a queue never used."
)
# What differs between two jobs that failed for the same reason: ids and numbers.
_VARIABLE = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b|\b0x[0-9a-f]+\b|\b(?=[0-9a-f]*\d)[0-9a-f]{16,}\b|\d+", re.IGNORECASE
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("jobs", epilog=_JOBS_HELP)(jobs)
    app.command("failed", epilog=_FAILED_HELP)(failed)


def jobs(
    queue: parameters.QueueName,
    state: Annotated[
        list[str] | None,
        typer.Option(
            help="waiting, prioritized, delayed, active, waiting-children, completed, failed, paused; "
            "may be given more than once. Default: all."
        ),
    ] = None,
    job_id: Annotated[str | None, typer.Option("--id", metavar="ID", help="This job, with everything.")] = None,
    offset: Annotated[int, typer.Option(min=0, max=_MOST, help="Leave out so many jobs of each state.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show at most so many jobs of each state.")] = 20,
    newest_first: Annotated[bool, typer.Option("--newest-first", help="In the opposite order.")] = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Show the jobs of a queue by state, or one job whole.

    The one that runs or ended first stands at the top.
    """
    place = Place(queue, prefix, redis_host, redis_port)
    if job_id is not None:
        _show_one(place, job_id, output_format)
        return

    async def read(one: Queue) -> tuple[dict[str, int], list[JobRecord]]:
        await require(one)
        try:
            counts = await one.counts(*(state or ()))
            last = offset + limit - 1
            return counts, await one.jobs(*(state or ()), start=offset, end=last, newest_first=newest_first)
        except ValueError as error:
            raise SettingsError(str(error)) from None

    counts, found = on_queue(place, read)
    if output_format is Format.JSON:
        listed = [records.as_json(job) for job in found]
        output.print_json({"queue": queue, "prefix": prefix, "counts": counts, "jobs": listed})
        return
    _print_table(found)
    shown = Counter(job.state for job in found)
    parts = [f"{grouped(shown[name])} of {grouped(count)} {name}" for name, count in counts.items() if count]
    output.message(f"{queue}: {', '.join(parts)}" if parts else f"{queue}: no jobs")


def failed(
    queue: parameters.QueueName,
    listed: Annotated[bool, typer.Option("--list", help="One line a job, the newest first.")] = False,
    name: parameters.Name = None,
    reason: parameters.Reason = None,
    older_than: parameters.OlderThan = None,
    younger_than: parameters.YoungerThan = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most so many reasons or jobs.")] = 20,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Show why jobs failed, the most frequent reason first.

    Reasons that differ in numbers and ids only are one. The filters are those of `retry`.
    """
    place = Place(queue, prefix, redis_host, redis_port)
    which = filter_of(name=name, reason=reason, older_than=older_than, younger_than=younger_than, job_id=None)
    found = on_queue(place, lambda one: _failed(one, which, keep=limit if listed else 0))
    head: dict[str, Any] = {"queue": queue, "prefix": prefix, "matched": found.matched}
    if output_format is Format.JSON and listed:
        output.print_json({**head, "jobs": [records.as_json(job) for job in found.jobs]})
    elif output_format is Format.JSON:
        output.print_json({**head, "reasons": [_group_as_json(group) for group in found.ranked(limit)]})
    elif listed:
        _print_table(found.jobs)
    else:
        output.print_table(("COUNT", "NEWEST", "OLDEST", "NAMES", "EXAMPLE", "REASON"), _group_rows(found, limit))
    if output_format is Format.TABLE:
        reasons = len(found.groups)
        output.message(
            f"{queue}: {grouped(found.matched)} failed, {grouped(reasons)} {'reason' if reasons == 1 else 'reasons'}"
        )


@dataclass(slots=True)
class _Group:
    """Failed jobs of one reason; the first one seen is the newest."""

    reason: str
    example_id: str
    newest_ms: int | None
    oldest_ms: int | None
    names: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Failed:
    groups: dict[str, _Group] = field(default_factory=dict)
    jobs: list[JobRecord] = field(default_factory=list)
    matched: int = 0

    def add(self, job: JobRecord, *, keep: int) -> None:
        self.matched += 1
        if len(self.jobs) < keep:
            self.jobs.append(job)
        reason = output.clean(job.failed_reason or "(none)")
        group = self.groups.setdefault(kind_of(reason), _Group(reason, job.id, job.finished_on, job.finished_on))
        group.oldest_ms = job.finished_on
        group.names[job.name or "(none)"] += 1

    def ranked(self, limit: int) -> list[_Group]:
        return sorted(self.groups.values(), key=lambda group: -group.names.total())[:limit]


def kind_of(reason: str) -> str:
    """Return a reason without its numbers and ids, as the same reason of another job reads too."""
    return _VARIABLE.sub("#", reason)


async def _failed(queue: Queue, which: JobFilter, *, keep: int) -> _Failed:
    await require(queue)
    found, now_ms = _Failed(), _now_ms()
    async for job in queue.all_jobs("failed", newest_first=True, page_size=500):
        age_ms = None if job.finished_on is None else now_ms - job.finished_on
        if which.admits(name=job.name, reason=job.failed_reason, age_ms=age_ms):
            found.add(job, keep=keep)
    return found


def _group_as_json(group: _Group) -> dict[str, Any]:
    return {
        "reason": group.reason,
        "count": group.names.total(),
        "names": dict(group.names.most_common()),
        "oldest_ms": group.oldest_ms,
        "newest_ms": group.newest_ms,
        "example_id": group.example_id,
    }


def _group_rows(found: _Failed, limit: int) -> list[list[object]]:
    now_ms = _now_ms()
    return [
        [
            group.names.total(),
            records.ago(group.newest_ms, now_ms),
            records.ago(group.oldest_ms, now_ms),
            ",".join(name for name, _ in group.names.most_common(3)),
            group.example_id,
            group.reason[:120],
        ]
        for group in found.ranked(limit)
    ]


def _show_one(place: Place, job_id: str, output_format: Format) -> None:
    async def read(queue: Queue) -> tuple[JobRecord, Logs, Children]:
        job = await queue.job(job_id)
        if job is None:
            raise JobNotFoundError(f"queue {queue.name} with prefix {queue.prefix} has no job {job_id}")
        total = (await queue.logs(job_id, 0, 0)).total
        start = max(0, total - _LOG_LINES)
        return job, await queue.logs(job_id, start, start + _LOG_LINES - 1), await queue.children(job_id)

    job, logs, children = on_queue(place, read)
    if output_format is Format.JSON:
        whole = {**records.as_json(job), "logs": logs.lines, "logs_total": logs.total}
        output.print_json({**whole, "children": records.children_as_json(children)})
    else:
        records.print_whole(job, logs, children, now_ms=_now_ms())


def _print_table(found: list[JobRecord]) -> None:
    now_ms = _now_ms()
    output.print_table(records.COLUMNS, [records.row(job, now_ms=now_ms) for job in found])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
