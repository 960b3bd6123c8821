"""The command that puts jobs on a queue: add."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from queueworker.cli import output, parameters
from queueworker.cli.output import Format
from queueworker.cli.session import Place, on_queue
from queueworker.cli.values import milliseconds

if TYPE_CHECKING:
    from queueworker.outcome import Enqueued
    from queueworker.queue import Queue

_HELP = (
    "JSON: queue, prefix, dry_run and jobs, a list of objects with id (of the job that stands for it), outcome (added, "
    "duplicated, deduplicated, kept; null in a dry run) and added.\n\n"
    "Exit code 0 for duplicates too, 2 for data or options that BullMQ does not accept: nothing is added then."
)
_PRIORITIES = {"high": 1, "normal": 5, "low": 10}


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("add", epilog=_HELP)(add)


def add(
    queue: parameters.QueueName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the job.", show_default=False)],
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="The data as JSON, - for stdin. Default: {}.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Read the data from this file, - for stdin.")
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Each line of the data is JSON and makes a job.")] = False,
    job_id: Annotated[str | None, typer.Option(help="Id of the job; one that is there already is not added.")] = None,
    priority: Annotated[
        str | None, typer.Option(help="high (1), normal (5, the default), low (10), or 1 (first) to 2097151.")
    ] = None,
    lifo: Annotated[bool, typer.Option("--lifo", help="Before all others; excludes a priority.")] = False,
    delay: Annotated[str | None, typer.Option(metavar="DURATION", help="Run it so much later: 30s, 5m, 2h.")] = None,
    attempts: Annotated[int | None, typer.Option(min=1, help="Attempts in all. Default 3.")] = None,
    backoff: Annotated[
        str | None, typer.Option(metavar="TYPE:DURATION", help="exponential:1s (the default), fixed:30s or none.")
    ] = None,
    deduplication_id: Annotated[
        str | None, typer.Option(help="Add nothing while a job of this deduplication id is under way.")
    ] = None,
    deduplication_ttl: Annotated[
        str | None, typer.Option(metavar="DURATION", help="The deduplication holds for so long instead.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=JSON",
            help="Any other option of BullMQ, for example removeOnComplete=true; may be given more than once.",
        ),
    ] = None,
    dry_run: parameters.DryRun = False,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Put a job on a queue, or one job for each line of a file.

    The data comes from the argument, from --file, or from stdin where one of them is `-`.
    """
    options: dict[str, Any] = {
        "job_id": job_id,
        "priority": _priority(priority),
        "lifo": lifo or None,
        "delay": milliseconds(delay, option="--delay"),
        "attempts": attempts,
        "deduplication": _deduplication(deduplication_id, deduplication_ttl),
    }
    options = {name: value for name, value in options.items() if value is not None}
    options |= _backoff(backoff) | _further(option or [])
    payloads = _payloads(_text(data, file), lines=lines)
    if job_id is not None and len(payloads) != 1:
        raise typer.BadParameter("--job-id names one job, the data makes several")
    place = Place(queue, prefix, redis_host, redis_port)
    done = on_queue(place, lambda one: _add(one, name, payloads, options, dry_run=dry_run))
    _print(place, done, dry_run=dry_run, output_format=output_format)


async def _add(
    queue: Queue, name: str, payloads: list[Any], options: dict[str, Any], *, dry_run: bool
) -> list[tuple[str, Enqueued | None]]:
    from queueworker.jobs import Job

    # All are checked before the first is sent.
    jobs = [Job.create(name, payload, **options) for payload in payloads]
    if dry_run:
        return [(job.id, None) for job in jobs]
    return [(done.id, done) for done in await queue.enqueue_many(jobs)]


def _print(place: Place, done: list[tuple[str, Enqueued | None]], *, dry_run: bool, output_format: Format) -> None:
    if output_format is Format.JSON:
        jobs = [
            {"id": job_id, "outcome": None if one is None else str(one.outcome), "added": one is not None and one.added}
            for job_id, one in done
        ]
        output.print_json({"queue": place.queue, "prefix": place.prefix, "dry_run": dry_run, "jobs": jobs})
        return
    if not done:
        output.message("the data has no lines: there is nothing to add")
    for job_id, one in done:
        if one is None:
            output.line(f"would add job {job_id} to queue {place.queue}")
        elif one.added:
            output.line(f"added job {job_id} to queue {place.queue}")
        else:
            output.line(f"not added: job {job_id} of queue {place.queue} stands for it ({one.outcome})")


def _text(data: str | None, file: Path | None) -> str:
    if data is not None and file is not None:
        raise typer.BadParameter("give the data either as an argument or with --file")
    if data == "-" or str(file) == "-":
        try:
            return sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise typer.BadParameter(f"stdin is not UTF-8: {error}") from None
    if file is None:
        return "{}" if data is None else data
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise typer.BadParameter(f"--file {file}: cannot be read: {error}") from None


def _payloads(text: str, *, lines: bool) -> list[Any]:
    if not lines:
        return [_json(text, "DATA")]
    return [_json(one, f"line {number}") for number, one in enumerate(_lines(text), start=1) if one.strip()]


def _lines(text: str) -> list[str]:
    # Not splitlines, which parts at characters that may stand within a JSON text, U+2028 for example.
    return text.replace("\r\n", "\n").split("\n")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{where} is no JSON: {error}") from None


def _priority(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return _PRIORITIES.get(text.lower()) or int(text)
    except ValueError:
        raise typer.BadParameter(f"--priority {text}: write high, normal, low or a number") from None


def _backoff(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if text == "none":
        return {"backoff": None}
    kind, _, duration = text.partition(":")
    return {"backoff": {"type": kind, "delay": milliseconds(duration or "0s", option="--backoff")}}


def _deduplication(identity: str | None, ttl: str | None) -> dict[str, Any] | None:
    if identity is None:
        if ttl is not None:
            raise typer.BadParameter("--deduplication-ttl needs --deduplication-id")
        return None
    ttl_ms = milliseconds(ttl, option="--deduplication-ttl")
    return {"id": identity} if ttl_ms is None else {"id": identity, "ttl": ttl_ms}


def _further(given: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"--option {one}: write NAME=JSON, for example removeOnComplete=true")
        found[name] = _json(value, f"--option {name}")
    return found
