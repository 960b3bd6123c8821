"""How a command that changes jobs goes: count, ask, change in batches, report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from queueworker.cli import codes, confirm, reporting
from queueworker.cli.output import Format, message
from queueworker.cli.reporting import Verb
from queueworker.cli.session import Place, on_queue, on_queue_in_batches
from queueworker.cli.values import jobs_of
from queueworker.errors import JobNotFoundError, JobStateError, PartlyDoneError, QueueWorkerError

if TYPE_CHECKING:
    import asyncio

    from queueworker.changes import Change, JobFilter
    from queueworker.queue import Queue


class NotFoundError(QueueWorkerError):
    """There is no such queue, or no such scheduler."""

    exit_code = codes.NOT_FOUND


@dataclass(frozen=True, slots=True)
class Way:
    """What the command line says about how it is done."""

    place: Place
    output_format: Format
    dry_run: bool


Ask = Callable[[int], None]
"""Called with the number of jobs before they are changed; raises RefusedError."""


def perform(way: Way, verb: Verb, run: Callable[..., Awaitable[Change]], *, ask: Ask | None) -> NoReturn:
    """Change jobs by `run`, which takes the queue and the keyword arguments of `MassChanges`, and end the command."""
    if way.dry_run or ask is not None:
        planned = on_queue(way.place, lambda queue: _existing(queue, run, dry_run=True))
        if way.dry_run:
            raise typer.Exit(_report(way, verb, planned))
        if ask is not None:
            ask(planned.matched)

    async def change(queue: Queue, stop: asyncio.Event) -> Change:
        how: dict[str, Any] = {"stop": stop}
        progress = reporting.watcher(verb)
        if progress is not None:
            how["progress"] = progress
        return await _existing(queue, run, **how)

    try:
        done = on_queue_in_batches(way.place, change)
    except PartlyDoneError as error:
        reporting.end_watching()
        message(f"error: {error}")
        raise typer.Exit(_report(way, verb, error.change)) from None
    reporting.end_watching()
    raise typer.Exit(_report(way, verb, done))


def perform_on_one(
    way: Way,
    verb: Verb,
    run: Callable[[Queue], Awaitable[None]],
    *,
    job_id: str,
    states: tuple[str, ...] = (),
    ask: Ask | None = None,
) -> NoReturn:
    """Change one job by `run`, and end the command; a dry run looks whether it is in one of the `states`."""
    from queueworker.changes import Change

    async def look(queue: Queue) -> None:
        job = await queue.job(job_id)
        if job is None:
            raise JobNotFoundError(f"queue {queue.name} has no job {job_id}")
        if states and job.state not in states:
            wanted = " or ".join(states)
            raise JobStateError(f"queue {queue.name}: job {job_id} is {job.state}, which must be {wanted}")

    if way.dry_run or ask is not None:
        on_queue(way.place, look)
    if not way.dry_run:
        if ask is not None:
            ask(1)
        on_queue(way.place, run)
    raise typer.Exit(_report(way, verb, Change(matched=1, done=int(not way.dry_run))))


def asking(verb: Verb, kind: str, *, queue: str, yes: bool) -> Ask | None:
    """Return what asks before a change that loses no more than it says; nobody is asked for no jobs."""
    if yes:
        return None

    def ask(number: int) -> None:
        if number:
            confirm.ask(f"{verb.name.capitalize()} {jobs_of(number, kind)} of queue {queue}?", yes=False)

    return ask


def asking_for_name(what: str, *, queue: str, given: str | None) -> Ask | None:
    """Return what has the queue's name typed before a change that loses all that it holds."""
    if given == queue:
        return None

    def ask(number: int) -> None:
        confirm.ask_for_name(f"{what} {jobs_of(number)} of queue {queue} for good.", queue=queue, confirm=given)

    return ask


def filter_of(
    *, name: str | None, reason: str | None, older_than: str | None, younger_than: str | None, job_id: str | None
) -> JobFilter:
    """Return which jobs the options choose; raises BadParameter for a filter beside --id."""
    from queueworker.changes import JobFilter
    from queueworker.cli.values import milliseconds

    which = JobFilter(
        name=name,
        reason=reason,
        older_than_ms=milliseconds(older_than, option="--older-than"),
        younger_than_ms=milliseconds(younger_than, option="--younger-than"),
    )
    if job_id is not None and not which.is_empty:
        raise typer.BadParameter("--id names one job: leave the filters out")
    return which


async def require(queue: Queue) -> None:
    """Raise NotFoundError for a queue that nobody ever used: the name is likely wrong."""
    if not await queue.exists():
        raise NotFoundError(f"queue {queue.name} with prefix {queue.prefix} was never used: check name and prefix")


async def _existing(queue: Queue, run: Callable[..., Awaitable[Change]], **how: Any) -> Change:
    await require(queue)
    return await run(queue, **how)


def _report(way: Way, verb: Verb, change: Change) -> int:
    return reporting.report(
        verb,
        change,
        queue=way.place.queue,
        prefix=way.place.prefix,
        output_format=way.output_format,
        dry_run=way.dry_run,
    )
