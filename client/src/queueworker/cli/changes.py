"""Commands that change many jobs of a queue: retry, clear, promote, drain, obliterate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from queueworker.cli import parameters
from queueworker.cli.output import Format
from queueworker.cli.performing import Way, asking, asking_for_name, filter_of, perform, perform_on_one
from queueworker.cli.reporting import CHANGE_HELP, Verb
from queueworker.cli.session import Place

if TYPE_CHECKING:
    from queueworker.changes import Change
    from queueworker.queue import Queue

_RETRY = Verb("retry", "retried")
_REMOVE = Verb("remove", "removed")
_PROMOTE = Verb("promote", "promoted")

# What `clear --all` removes: everything but what workers are at, and parents that wait for their children.
_ALL_STATES = ("waiting", "paused", "prioritized", "delayed", "failed", "completed")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (retry, clear, promote, drain, obliterate):
        app.command(command.__name__, epilog=CHANGE_HELP)(command)


def retry(
    queue: parameters.QueueName,
    failed: Annotated[bool, typer.Option("--failed", help="Failed jobs, which is the default.")] = False,
    completed: Annotated[bool, typer.Option("--completed", help="Completed jobs instead.")] = False,
    job_id: parameters.JobId = None,
    name: parameters.Name = None,
    reason: parameters.Reason = None,
    older_than: parameters.OlderThan = None,
    younger_than: parameters.YoungerThan = None,
    reset_attempts: Annotated[
        bool, typer.Option("--reset-attempts", help="Give them all their attempts again, not one more.")
    ] = False,
    dry_run: parameters.DryRun = False,
    yes: parameters.Yes = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Have failed jobs run again; each keeps its priority.

    Without --id it asks first, unless --yes is given. Ages count from when the job finished.
    """
    if failed and completed:
        raise typer.BadParameter("--failed and --completed exclude each other")
    way = Way(Place(queue, prefix, redis_host, redis_port), output_format, dry_run)
    which = filter_of(name=name, reason=reason, older_than=older_than, younger_than=younger_than, job_id=job_id)
    state: Literal["completed", "failed"] = "completed" if completed else "failed"

    async def run_one(one: Queue) -> None:
        await one.retry_job(str(job_id), reset_attempts=reset_attempts)

    async def run(one: Queue, **how: Any) -> Change:
        return await one.retry(state=state, which=which, reset_attempts=reset_attempts, **how)

    if job_id is not None:
        perform_on_one(way, _RETRY, run_one, job_id=job_id, states=("failed", "completed"))
    perform(way, _RETRY, run, ask=asking(_RETRY, state, queue=queue, yes=yes))


def clear(
    queue: parameters.QueueName,
    failed: Annotated[bool, typer.Option("--failed", help="Failed jobs.")] = False,
    completed: Annotated[bool, typer.Option("--completed", help="Completed jobs.")] = False,
    waiting: Annotated[bool, typer.Option("--waiting", help="Waiting jobs without a priority.")] = False,
    prioritized: Annotated[bool, typer.Option("--prioritized", help="Waiting jobs with a priority.")] = False,
    delayed: Annotated[bool, typer.Option("--delayed", help="Delayed jobs.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of these; the queue's name is asked for.")] = False,
    job_id: parameters.JobId = None,
    name: parameters.Name = None,
    reason: parameters.Reason = None,
    older_than: parameters.OlderThan = None,
    younger_than: parameters.YoungerThan = None,
    dry_run: parameters.DryRun = False,
    yes: parameters.Yes = False,
    confirm: parameters.Confirm = None,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Remove jobs for good: of one or more states, or one by its id.

    Jobs that a worker holds and the next runs of schedulers stay. It asks first, unless --yes is given; --all needs
    --confirm=QUEUE or the name typed. Ages count from when the job finished, else from when it was added or last taken.
    """
    flags = {"failed": failed, "completed": completed, "waiting": waiting, "prioritized": prioritized}
    chosen = [state for state, wanted in {**flags, "delayed": delayed}.items() if wanted]
    if (len(chosen) > 0) + everything + (job_id is not None) != 1:
        raise typer.BadParameter("say which jobs: --failed, --completed, --waiting, … or --all or --id")
    if confirm is not None and not everything:
        raise typer.BadParameter("--confirm is for --all")
    way = Way(Place(queue, prefix, redis_host, redis_port), output_format, dry_run)
    which = filter_of(name=name, reason=reason, older_than=older_than, younger_than=younger_than, job_id=job_id)

    async def run_one(one: Queue) -> None:
        await one.remove(str(job_id))

    async def run(one: Queue, **how: Any) -> Change:
        return await one.clear(*(_ALL_STATES if everything else chosen), which=which, **how)

    ask = asking(_REMOVE, " and ".join(chosen), queue=queue, yes=yes)
    if job_id is not None:
        perform_on_one(way, _REMOVE, run_one, job_id=job_id, ask=ask)
    if everything:
        ask = asking_for_name("This removes", queue=queue, given=confirm)
    perform(way, _REMOVE, run, ask=ask)


def promote(
    queue: parameters.QueueName,
    job_id: parameters.JobId = None,
    name: parameters.Name = None,
    older_than: parameters.OlderThan = None,
    younger_than: parameters.YoungerThan = None,
    include_scheduled: Annotated[
        bool, typer.Option("--include-scheduled", help="The next runs of schedulers too.")
    ] = False,
    dry_run: parameters.DryRun = False,
    yes: parameters.Yes = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Have delayed jobs run now; each keeps its priority.

    Without --id it asks first, unless --yes is given. Ages count from when the job was added or last taken.
    """
    way = Way(Place(queue, prefix, redis_host, redis_port), output_format, dry_run)
    which = filter_of(name=name, reason=None, older_than=older_than, younger_than=younger_than, job_id=job_id)

    async def run_one(one: Queue) -> None:
        await one.promote_job(str(job_id))

    async def run(one: Queue, **how: Any) -> Change:
        return await one.promote(which=which, include_scheduled=include_scheduled, **how)

    if job_id is not None:
        perform_on_one(way, _PROMOTE, run_one, job_id=job_id, states=("delayed",))
    perform(way, _PROMOTE, run, ask=asking(_PROMOTE, "delayed", queue=queue, yes=yes))


def drain(
    queue: parameters.QueueName,
    delayed: Annotated[bool, typer.Option("--delayed", help="Delayed jobs too.")] = False,
    dry_run: parameters.DryRun = False,
    yes: parameters.Yes = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Remove all jobs that wait for a worker.

    With and without a priority; active and finished jobs and schedulers stay. It asks first, unless --yes is given.
    """
    way = Way(Place(queue, prefix, redis_host, redis_port), output_format, dry_run)

    async def run(one: Queue, **how: Any) -> Change:
        return await one.drain(delayed=delayed, **how)

    kind = "waiting and delayed" if delayed else "waiting"
    perform(way, _REMOVE, run, ask=asking(_REMOVE, kind, queue=queue, yes=yes))


def obliterate(
    queue: parameters.QueueName,
    force: Annotated[
        bool, typer.Option("--force", help="Even while workers are at jobs; these cannot finish.")
    ] = False,
    dry_run: parameters.DryRun = False,
    confirm: parameters.Confirm = None,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Remove a queue whole: every job, its schedulers, its counters.

    It is paused first, and stays so if this is interrupted. It needs --confirm=QUEUE or the name typed.
    """
    way = Way(Place(queue, prefix, redis_host, redis_port), output_format, dry_run)

    async def run(one: Queue, **how: Any) -> Change:
        return await one.obliterate(force=force, **how)

    ask = asking_for_name("This removes the queue with its schedulers and", queue=queue, given=confirm)
    perform(way, _REMOVE, run, ask=ask)
