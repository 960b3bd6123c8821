"""How jobs are shown: one line each, one whole, or as JSON."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from queueworker.cli import output

if TYPE_CHECKING:
    from queueworker.records import Children, JobRecord, Logs

COLUMNS = ("ID", "NAME", "STATE", "PRIORITY", "ATTEMPTS", "ADDED", "DETAIL")
_DETAIL = 60


def as_json(job: JobRecord) -> dict[str, Any]:
    """Return a job as JSON says it: the fields of `JobRecord` under their names."""
    return {**dataclasses.asdict(job), "attempts": job.attempts}


def children_as_json(children: Children) -> dict[str, Any]:
    """Return the children of a job as JSON says them."""
    values, ignored = dict(children.values), dict(children.ignored)
    return {"unprocessed": children.unprocessed, "values": values, "ignored": ignored, "failed": children.failed}


def row(job: JobRecord, *, now_ms: int) -> list[object]:
    """Return a job as one line of a table."""
    return [
        job.id,
        job.name,
        job.state,
        job.priority or None,
        f"{_known(job.attempts_made)}/{job.attempts}",
        ago(job.timestamp, now_ms),
        _detail(job, now_ms),
    ]


def print_whole(job: JobRecord, logs: Logs, children: Children, *, now_ms: int) -> None:
    """Print everything about a job, the longest last."""
    facts: dict[str, object] = {
        "id": job.id,
        "name": job.name,
        "state": job.state,
        "priority": "none" if job.priority == 0 else _known(job.priority),
        "attempts": f"{_known(job.attempts_made)} of {job.attempts} made, {_known(job.attempts_started)} begun",
        "stalled": job.stalled_count,
        "added": _when(job.timestamp, now_ms),
        "due": _when(job.due_on, now_ms),
        "taken": _when(job.processed_on, now_ms),
        "finished": _when(job.finished_on, now_ms),
        "worker": job.processed_by,
        "lock": job.lock_owner and f"{job.lock_owner}, for {output.duration((job.lock_ttl_ms or 0) / 1000)} more",
        "scheduler": job.scheduler_id,
        "deduplication": job.deduplication_id,
        "parent": job.parent_key,
        "fails next because": job.deferred_failure,
        "error": job.failed_reason,
    }
    for name, value in facts.items():
        if value is not None:
            output.row(f"{name + ':':<20}{value}")
    for name, why in job.unreadable.items():
        output.row(f"{'unreadable:':<20}{name}: {why}")
    _blocks(job, logs, children)


def _blocks(job: JobRecord, logs: Logs, children: Children) -> None:
    values = {"data": job.data, "options": dict(job.opts), "progress": job.progress, "return value": job.return_value}
    for name, value in values.items():
        if value is not None:
            _block(name, json.dumps(value, indent=2, ensure_ascii=False))
    family = children_as_json(children)
    if any(family.values()):
        _block("children", json.dumps(family, indent=2, ensure_ascii=False))
    for number, trace in enumerate(job.stacktrace, start=1):
        _block(f"stack trace {number}", trace)
    if logs.lines:
        _block(f"log, {len(logs.lines)} of {logs.total} lines", "\n".join(logs.lines))


def ago(moment_ms: int | None, now_ms: int) -> str | None:
    """Return how long ago something was, None where that is not known."""
    return None if moment_ms is None else output.duration(max(0, now_ms - moment_ms) / 1000)


def _known(number: int | None) -> object:
    return "?" if number is None else number


def _block(title: str, text: str) -> None:
    output.line(f"--- {title}")
    output.block(text)


def _when(moment_ms: int | None, now_ms: int) -> str | None:
    if moment_ms is None:
        return None
    distance = output.duration(abs(now_ms - moment_ms) / 1000)
    try:
        text = datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        text = str(moment_ms)
    return f"{text} ({distance} ago)" if moment_ms <= now_ms else f"{text} (in {distance})"


def _detail(job: JobRecord, now_ms: int) -> str | None:
    if job.state == "failed":
        text = output.clean(job.failed_reason or "")
        return text if len(text) <= _DETAIL else text[: _DETAIL - 1] + "…"
    if job.state == "delayed" and job.due_on is not None:
        late = now_ms - job.due_on
        return f"due {output.duration(late / 1000)} ago" if late > 0 else f"due in {output.duration(-late / 1000)}"
    if job.state == "active":
        return job.lock_owner or "no lock: its worker is gone"
    if job.state == "completed" and job.finished_on is not None and job.processed_on is not None:
        return f"took {output.duration((job.finished_on - job.processed_on) / 1000)}"
    return None
