"""From a job's hash in Redis to the job that a processor sees, and what else the engine needs of it (pure)."""

from __future__ import annotations

import json
from asyncio import AbstractEventLoop
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic_core import from_json

from queueworker_worker.job import Job, JobChannel

_LARGEST = 2**53 - 1
"""JavaScript's MAX_SAFE_INTEGER; "for ever" may be written as its MAX_VALUE, which no script can be sent."""


class Taken(NamedTuple):
    """A job that a script has just made ours, with its hash."""

    job_id: str
    fields: Mapping[str, str]


class Nothing(NamedTuple):
    """No job to take: none there, or the queue is paused, at its global concurrency, or rate limited."""

    limited_ms: int = 0
    """For how long the rate limit still holds."""
    next_due_ms: int = 0
    """When (Unix ms) the next delayed job is due; 0 where there is none."""


class ActiveJob(NamedTuple):
    """A taken job, read."""

    job: Job
    stacktrace: str | None
    """The traces of its earlier attempts, as they are stored."""
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
        return Taken(str(job_id), fields_of(fields))
    limited, due = [*rest, 0, 0][:2]
    return Nothing(limited_ms=max(0, int(limited)), next_due_ms=max(0, int(float(due))))


def fields_of(words: Iterable[str]) -> dict[str, str]:
    """Return the fields of a hash that came as a flat list."""
    pairs = iter(words)
    return dict(zip(pairs, pairs, strict=True))


def read(
    taken: Taken, *, queue: str, prefix: str, channel: JobChannel, loop: AbstractEventLoop | None = None
) -> ActiveJob:
    """Read a job; never fails, what cannot be read is said in `unreadable`."""
    stored = taken.fields.get
    data, trouble = _json(stored("data"), "data")
    opts, wrong_opts = _json(stored("opts"), "opts")
    if not isinstance(opts, dict):
        opts, wrong_opts = {}, wrong_opts or "opts is not a JSON object"
    name = stored("name")
    if name is None:
        trouble = "the job has no name: its hash was removed or is not BullMQ's"
    job = Job(
        id=taken.job_id,
        queue=queue,
        prefix=prefix,
        name=name or "",
        data=data,
        opts=opts,
        timestamp=_number(stored("timestamp")),
        delay=_number(stored("delay")),
        priority=_number(stored("priority")),
        attempts=_number(opts.get("attempts")) or 1,
        attempts_made=_number(stored("atm") or stored("attemptsMade")),
        attempts_started=_number(stored("ats")),
        stalled_count=_number(stored("stc")),
        processed_on=_number(stored("processedOn")) or None,
        scheduler_id=stored("rjk"),
        parent_key=stored("parentKey"),
        channel=channel,
        loop=loop,
    )
    return ActiveJob(job, stored("stacktrace"), stored("defa"), trouble or wrong_opts)


def traces_of(stored: str | None) -> list[str]:
    """Return the stack traces that are stored with a job; none where they cannot be read."""
    traces, _ = _json(stored, "stacktrace")
    return [trace for trace in traces if isinstance(trace, str)] if isinstance(traces, list) else []


def _json(text: str | None, field: str) -> tuple[Any, str | None]:
    if text is None:
        return None, f"the job has no field {field!r}"
    try:
        # Several times faster than the standard library, and narrower: half a surrogate pair, deep nesting.
        return from_json(text), None
    except ValueError:
        pass
    try:
        return json.loads(text), None
    except (ValueError, RecursionError) as error:
        return None, f"{field} is not JSON: {error}"


def _number(value: Any) -> int:
    """Return a number that the scripts can be sent again: never below zero; 0 for what is none."""
    if value is None or value == "0":
        return 0
    try:
        return min(max(0, int(value)), _LARGEST)
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        return int(min(max(0.0, float(value)), _LARGEST))
    except (TypeError, ValueError, OverflowError):
        return 0
