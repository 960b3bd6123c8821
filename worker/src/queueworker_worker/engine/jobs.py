"""From a job's hash in Redis to the job that a processor sees, and what else the engine needs of it (pure)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from queueworker_worker.job import Job, JobChannel


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that a script has just made ours, with its hash."""

    job_id: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Nothing:
    """No job to take: none there, or the queue is paused, at its global concurrency, or rate limited."""

    limited_ms: int = 0
    """For how long the rate limit still holds."""
    next_due_ms: int = 0
    """When (Unix ms) the next delayed job is due; 0 where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveJob:
    """A taken job, read."""

    job: Job
    stacktrace: tuple[str, ...]
    deferred_failure: str | None
    """The job was condemned before it was taken (stalled too often, a failed child): it must fail unrun."""
    unreadable: str | None
    """Why the job cannot be run at all: no JSON, no name."""


def fetched_of(reply: Any) -> Taken | Nothing:
    """Read the reply of a script that takes the next job."""
    if not isinstance(reply, list):
        return Nothing()
    fields, job_id, *rest = reply
    if isinstance(fields, list) and fields:
        words = [text_of(word) for word in fields]
        return Taken(text_of(job_id), dict(zip(words[::2], words[1::2], strict=True)))
    limited, due = [*rest, 0, 0][:2]
    return Nothing(limited_ms=max(0, int(limited)), next_due_ms=max(0, int(float(due))))


def text_of(word: Any) -> str:
    """Return a word of a reply as text, whichever way the connection decodes."""
    return word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else str(word)


def read(taken: Taken, *, queue: str, prefix: str, channel: JobChannel) -> ActiveJob:
    """Read a job; never fails, what cannot be read is said in `unreadable`."""
    fields = taken.fields
    data, trouble = _json(fields.get("data"), "data")
    opts, wrong_opts = _json(fields.get("opts"), "opts")
    if not isinstance(opts, dict):
        opts, wrong_opts = {}, wrong_opts or "opts is not a JSON object"
    if "name" not in fields:
        trouble = "the job has no name: its hash was removed or is not BullMQ's"
    stacktrace, _ = _json(fields.get("stacktrace", "[]"), "stacktrace")
    job = Job(
        id=taken.job_id,
        queue=queue,
        prefix=prefix,
        name=fields.get("name", ""),
        data=data,
        opts=opts,
        timestamp=_number(fields.get("timestamp")),
        delay=_number(fields.get("delay")),
        priority=_number(fields.get("priority")),
        attempts=max(1, _number(opts.get("attempts"))),
        attempts_made=_number(fields.get("atm", fields.get("attemptsMade"))),
        attempts_started=_number(fields.get("ats")),
        stalled_count=_number(fields.get("stc")),
        processed_on=_number(fields.get("processedOn")) or None,
        scheduler_id=fields.get("rjk"),
        parent_key=fields.get("parentKey"),
        channel=channel,
    )
    return ActiveJob(
        job=job,
        stacktrace=tuple(line for line in stacktrace if isinstance(line, str)) if isinstance(stacktrace, list) else (),
        deferred_failure=fields.get("defa"),
        unreadable=trouble or wrong_opts,
    )


def _json(text: str | None, field: str) -> tuple[Any, str | None]:
    if text is None:
        return None, f"the job has no field {field!r}"
    try:
        return json.loads(text), None
    except (ValueError, RecursionError) as error:
        return None, f"{field} is not JSON: {error}"


def _number(value: Any) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return 0
