"""Commands on queues."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from queueworker.cli import adding, changes, codes, doctor, jobs, output, parameters, pausing, schedulers
from queueworker.cli.session import connection, run

if TYPE_CHECKING:
    from queueworker.settings import ConnectionSettings
    from queueworker.snapshot import QueueSnapshot

_COLUMNS = ("QUEUE", "BACKLOG", "WAITING", "PRIORITIZED", "DELAYED", "DUE", "ACTIVE", "FAILED", "OLDEST", "STATE")
# Told in another form, or only of use to who scales.
_NOT_SHOWN = {
    *("oldest_ready_ms", "oldest_waiting_ms", "oldest_prioritized_ms", "last_event_id"),
    *("horizon_ms", "delayed_due_quarter", "delayed_due_half", "delayed_due_soon"),
}


def register(app: typer.Typer) -> None:
    """Add the commands of the client to the application."""
    app.command("stats")(stats)
    for part in (jobs, changes, pausing, adding, schedulers, doctor):
        part.register(app)


def stats(
    queues: parameters.QueueNames,
    prefix: parameters.Prefix = "bull",
    output_format: parameters.Output = output.Format.TABLE,
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Show what queues hold.

    Redis is the one of QUEUEWORKER_REDIS_* or REDIS_* in the environment, else localhost; a password comes from there
    only. Exit code 4 if a queue cannot be read: the others are printed all the same.

    JSON: a list with one object a queue. queue, prefix, exists, paused; the counts backlog (waiting + prioritized +
    delayed_due), waiting, prioritized, delayed, delayed_due, active, waiting_children, completed, failed,
    legacy_paused; oldest_age_seconds, next_delayed_ms, next_scheduler_ms, global_concurrency, rate_limit_max,
    rate_limit_duration_ms, rate_limited_for_ms, added_count, completed_count, failed_count, now_ms. null means that
    Redis does not hold it. A queue that could not be read has queue, prefix, error and reason only.
    """
    settings = connection(redis_host, redis_port)
    outcomes = run(_read(settings, prefix, queues))
    if output_format is output.Format.JSON:
        output.print_json([_as_json(prefix, queue, outcome) for queue, outcome in outcomes.items()])
    else:
        _print_table(outcomes)
    failures = list(dict.fromkeys(str(one) for one in outcomes.values() if isinstance(one, Exception)))
    for failure in failures:
        output.message(f"error: {failure}")
    if failures:
        raise typer.Exit(codes.REDIS)


async def _read(settings: ConnectionSettings, prefix: str, queues: list[str]) -> dict[str, QueueSnapshot | Exception]:
    from queueworker.keys import QueueKeys
    from queueworker.names import usable_queue_name
    from queueworker.reader import QueueReader

    wanted = [QueueKeys(prefix, usable_queue_name(queue)) for queue in queues]
    async with QueueReader.open(settings, name="queueworker-stats") as reader:
        outcomes = await reader.read(wanted, deadline_seconds=5.0)
    return {keys.queue: outcome for keys, outcome in outcomes.items()}


def _as_json(prefix: str, queue: str, outcome: QueueSnapshot | Exception) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {"queue": queue, "prefix": prefix, "error": str(outcome), "reason": getattr(outcome, "reason", None)}
    values = {name: value for name, value in dataclasses.asdict(outcome).items() if name not in _NOT_SHOWN}
    return {**values, "backlog": outcome.backlog, "oldest_age_seconds": outcome.oldest_age_seconds}


def _print_table(outcomes: dict[str, QueueSnapshot | Exception]) -> None:
    output.print_table(_COLUMNS, [_row(queue, outcome) for queue, outcome in outcomes.items()])


def _row(queue: str, outcome: QueueSnapshot | Exception) -> list[object]:
    if isinstance(outcome, Exception):
        return [queue, *[None] * 8, getattr(outcome, "reason", "unknown")]
    one = outcome
    counts = [one.backlog, one.waiting, one.prioritized, one.delayed, one.delayed_due, one.active, one.failed]
    return [queue, *counts, output.duration(one.oldest_age_seconds), _state(one)]


def _state(snapshot: QueueSnapshot) -> str:
    if not snapshot.exists:
        return "never used"
    if snapshot.paused:
        return "paused"
    if snapshot.rate_limited_for_ms:
        return f"rate limited for {output.duration(snapshot.rate_limited_for_ms / 1000)}"
    return "ok"
