"""Commands that keep workers from a queue's jobs, and let them at these again: pause, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from queueworker.cli import codes, output, parameters
from queueworker.cli.output import Format
from queueworker.cli.performing import NotFoundError, require
from queueworker.cli.session import Place, on_queue

if TYPE_CHECKING:
    from queueworker.queue import Queue

_HELP = "JSON: a list with one object a queue: action, queue, prefix, dry_run, paused (how it is now), changed."


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("pause", epilog=_HELP)(pause)
    app.command("resume", epilog=_HELP)(resume)


def pause(
    queues: parameters.QueueNames,
    dry_run: parameters.DryRun = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Have workers take no more jobs of these queues.

    Jobs under way go on; `resume` ends the pause. Exit code 3 if one of the queues was never used: the others are
    paused all the same.
    """
    places = [Place(queue, prefix, redis_host, redis_port) for queue in queues]
    _switch(places, paused=True, dry_run=dry_run, output_format=output_format)


def resume(
    queues: parameters.QueueNames,
    dry_run: parameters.DryRun = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Have workers take jobs of these queues again.

    Exit code 3 if one of the queues was never used: the others are resumed all the same.
    """
    places = [Place(queue, prefix, redis_host, redis_port) for queue in queues]
    _switch(places, paused=False, dry_run=dry_run, output_format=output_format)


def _switch(places: list[Place], *, paused: bool, dry_run: bool, output_format: Format) -> None:
    rows: list[dict[str, Any]] = []
    missing: list[NotFoundError] = []
    for place in places:
        try:
            was_paused = on_queue(place, lambda queue: _set(queue, paused=paused, dry_run=dry_run))
        except NotFoundError as error:
            missing.append(error)
            continue
        row = {"action": "pause" if paused else "resume", "queue": place.queue, "prefix": place.prefix}
        now = was_paused if dry_run else paused
        rows.append({**row, "dry_run": dry_run, "paused": now, "changed": now != was_paused})
        if output_format is Format.TABLE:
            output.line(_said(place.queue, paused=paused, was_paused=was_paused, dry_run=dry_run))
    if output_format is Format.JSON:
        output.print_json(rows)
    for one in missing:
        output.message(f"error: {one}")
    if missing:
        raise typer.Exit(codes.NOT_FOUND)


def _said(queue: str, *, paused: bool, was_paused: bool, dry_run: bool) -> str:
    if paused == was_paused:
        return f"queue {queue} {'is paused already' if paused else 'is not paused'}"
    if dry_run:
        return f"would {'pause' if paused else 'resume'} queue {queue}"
    return f"{'paused' if paused else 'resumed'} queue {queue}"


async def _set(queue: Queue, *, paused: bool, dry_run: bool) -> bool:
    """Switch the queue and return whether it was paused before."""
    await require(queue)
    was_paused = await queue.is_paused()
    # Said again where it is so already: it may have been half done by somebody else, and it brings legacy jobs back.
    if not dry_run:
        await (queue.pause() if paused else queue.resume())
    return was_paused
