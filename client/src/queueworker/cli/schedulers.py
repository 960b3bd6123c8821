"""The command on job schedulers: schedulers."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from queueworker.cli import confirm, output, parameters
from queueworker.cli.output import Format
from queueworker.cli.performing import NotFoundError, require
from queueworker.cli.session import Place, on_queue

if TYPE_CHECKING:
    from queueworker.queue import Queue
    from queueworker.schedules import ScheduleInfo

_HELP = (
    "JSON: a list with one object a scheduler: id, name (of its jobs), pattern, every (ms), tz, limit, start_ms, "
    "end_ms, offset, iterations (jobs made so far), next_run_ms, state, data, options. With --remove: queue, prefix, "
    "id, dry_run, removed. Times are Unix milliseconds, null means not set.\n\n"
    "state is scheduled, overdue (no worker took the job that is due) or ended (limit or end reached).\n\n"
    "Exit code 3 for a queue never used or a scheduler not found."
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("schedulers", epilog=_HELP)(schedulers)


def schedulers(
    queue: parameters.QueueName,
    remove: Annotated[str | None, typer.Option(metavar="ID", help="Remove this scheduler with its next job.")] = None,
    dry_run: parameters.DryRun = False,
    yes: parameters.Yes = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """List the job schedulers of a queue, or remove one.

    Removing asks first, unless --yes is given.
    """
    place = Place(queue, prefix, redis_host, redis_port)
    if remove is not None:
        _remove(place, remove, yes=yes, dry_run=dry_run, output_format=output_format)
        return
    found = on_queue(place, _read)
    now_ms = time.time_ns() // 1_000_000
    if output_format is Format.JSON:
        output.print_json([{**dataclasses.asdict(one), "state": one.state(now_ms)} for one in found])
        return
    rows = [_row(one, now_ms=now_ms) for one in found]
    output.print_table(("ID", "JOB", "WHEN", "NEXT", "MADE", "LIMIT", "STATE"), rows)


def _row(one: ScheduleInfo, *, now_ms: int) -> list[object]:
    # Of repeatable jobs of BullMQ before 5 neither is known.
    when = None if one.every is None else f"every {output.duration(one.every / 1000)}"
    if one.pattern is not None:
        when = f"{one.pattern} {one.tz or ''}"
    away = (one.next_run_ms - now_ms) / 1000
    next_run = f"in {output.duration(away)}" if away > 0 else f"{output.duration(-away)} ago"
    return [one.id, one.name, when, next_run, one.iterations, one.limit, one.state(now_ms)]


async def _read(queue: Queue) -> list[ScheduleInfo]:
    await require(queue)
    return await queue.schedules()


def _remove(place: Place, identity: str, *, yes: bool, dry_run: bool, output_format: Format) -> None:
    async def look(queue: Queue) -> bool:
        return await queue.get_schedule(identity) is not None

    if not on_queue(place, look):
        raise NotFoundError(f"queue {place.queue} with prefix {place.prefix} has no scheduler {identity}")
    if not dry_run:
        confirm.ask(f"Remove scheduler {identity} of queue {place.queue}?", yes=yes)
        if not on_queue(place, lambda queue: queue.unschedule(identity)):
            raise NotFoundError(f"queue {place.queue}: somebody else removed scheduler {identity} meanwhile")
    if output_format is Format.JSON:
        row: dict[str, Any] = {"queue": place.queue, "prefix": place.prefix, "id": identity, "dry_run": dry_run}
        output.print_json({**row, "removed": not dry_run})
    else:
        output.line(f"{'would remove' if dry_run else 'removed'} scheduler {identity} of queue {place.queue}")
