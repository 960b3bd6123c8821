"""One job as Redis holds it, decoded.

Sources: `Job.fromJSON` of BullMQ for Node, `includes/storeJob.lua`, `includes/prepareJobForProcessing.lua`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from queueworker.decoding import parse_json, whole_number
from queueworker.optionnames import LONG, TELEMETRY

_LONG_TELEMETRY = {short: name for name, short in TELEMETRY.items()}
FIELDS = (
    *("name", "data", "opts", "timestamp", "delay", "priority", "processedOn", "finishedOn", "progress"),
    *("returnvalue", "failedReason", "stacktrace", "ats", "atm", "attemptsMade", "stc", "rjk", "deid", "defa"),
    *("parentKey", "pb"),
)
"""The fields of a job's hash; `attemptsMade` is what BullMQ 4 called `atm`."""


@dataclass(frozen=True, slots=True)
class DependencyCounts:
    """How many children of a job are in which state, by BullMQ's names."""

    unprocessed: int
    processed: int
    ignored: int
    """Failed, and the parent goes on without them."""
    failed: int
    """Failed, and the parent fails with them."""


@dataclass(frozen=True, slots=True)
class Children:
    """The children of a job, by their keys `prefix:queue:id`."""

    unprocessed: tuple[str, ...]
    values: Mapping[str, Any]
    """What the completed ones returned; a value that is no JSON comes as the text that is stored."""
    ignored: Mapping[str, str]
    """Why those failed without which the parent goes on."""
    failed: tuple[str, ...]
    """Those that the parent fails with."""


@dataclass(frozen=True, slots=True)
class Logs:
    """A page of a job's log, oldest line first, and how many lines there are in all."""

    lines: tuple[str, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as it is stored; times are Unix milliseconds, durations milliseconds.

    None means that Redis does not hold the fact, or not in a readable form: `unreadable` tells the latter. What is
    stored as JSON but cannot be read as JSON comes as the stored text. Bytes that are not UTF-8 come as Python's
    surrogate escapes: `text.encode("utf-8", "surrogateescape")` gives them back.
    """

    id: str
    queue: str
    state: str
    """`waiting`, `prioritized`, `delayed`, `active`, `waiting-children`, `completed`, `failed`, `paused` (of BullMQ 5
    and older), `unknown`."""
    name: str | None
    data: Any
    opts: Mapping[str, Any]
    """The options with BullMQ's full names."""
    timestamp: int | None
    """When it was added."""
    priority: int | None
    """0 for none."""
    delay: int | None
    """0 once the delay is over; `opts` keeps what was asked for."""
    due_on: int | None
    """When a delayed job falls due."""
    processed_on: int | None
    """When the last attempt began."""
    finished_on: int | None
    attempts_started: int | None
    attempts_made: int | None
    stalled_count: int | None
    progress: Any
    """None where the job told none."""
    return_value: Any
    failed_reason: str | None
    stacktrace: tuple[str, ...]
    """One text for each failed attempt that is kept."""
    deferred_failure: str | None
    """Why it will fail with its next attempt: a child failed that it depends on."""
    scheduler_id: str | None
    deduplication_id: str | None
    parent_key: str | None
    """`prefix:queue:id` of the parent in a flow."""
    processed_by: str | None
    """The name of the worker that took it last, where that worker tells it."""
    lock_owner: str | None
    """The token of the worker that runs it now; ours begin with the worker's name."""
    lock_ttl_ms: int | None
    dependency_counts: DependencyCounts | None = None
    """Read with one job, not with a page of them; None for a job without children."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """What could not be read, by the field's name in Redis or in this record: one line each that says why."""

    @property
    def attempts(self) -> int:
        """How many attempts it has in all."""
        wanted = self.opts.get("attempts")
        return max(1, wanted) if isinstance(wanted, int) else 1


def decode(
    job_id: str,
    stored: Sequence[str | None],
    *,
    queue: str,
    state: str,
    due_on: int | None = None,
    lock: tuple[str | None, int | None] = (None, None),
    dependency_counts: DependencyCounts | None = None,
    unreadable: Mapping[str, str] | None = None,
) -> JobRecord:
    """Return the record of what `HMGET key *FIELDS` brought; never raises, whatever is stored."""
    raw = dict(zip(FIELDS, stored, strict=True))
    told = dict(unreadable or {})
    values = _Values(raw, told)
    return JobRecord(
        id=job_id,
        queue=queue,
        state=state,
        name=raw["name"],
        data=values.json("data"),
        opts=_long_names(values.json_of("opts", dict)),
        timestamp=values.number("timestamp"),
        priority=values.number("priority", absent=0),
        delay=values.number("delay", absent=0),
        due_on=due_on,
        processed_on=values.number("processedOn"),
        finished_on=values.number("finishedOn"),
        attempts_started=values.number("ats", absent=0),
        attempts_made=values.number("atm" if raw["atm"] is not None else "attemptsMade", absent=0),
        stalled_count=values.number("stc", absent=0),
        progress=values.json("progress"),
        return_value=values.json("returnvalue"),
        failed_reason=raw["failedReason"],
        stacktrace=tuple(str(one) for one in values.json_of("stacktrace", list)),
        deferred_failure=raw["defa"],
        scheduler_id=raw["rjk"],
        deduplication_id=raw["deid"],
        parent_key=raw["parentKey"],
        processed_by=raw["pb"],
        lock_owner=lock[0],
        lock_ttl_ms=lock[1],
        dependency_counts=dependency_counts,
        unreadable=told,
    )


def is_job(stored: Sequence[str | None]) -> bool:
    """Tell whether these are the fields of a job: the hash of a scheduler has no timestamp."""
    return stored[FIELDS.index("timestamp")] is not None


class _Values:
    """Reads fields, and notes those that cannot be read."""

    def __init__(self, raw: Mapping[str, str | None], told: dict[str, str]) -> None:
        self._raw, self._told = raw, told

    def number(self, name: str, *, absent: int | None = None) -> int | None:
        text = self._raw[name]
        if text is None:
            return absent
        number = whole_number(text)
        if number is None:
            self._tell(name, "not a number")
        return number

    def json(self, name: str) -> Any:
        text = self._raw[name]
        if text is None:
            return None
        try:
            return parse_json(text)
        except ValueError:
            self._tell(name, "not JSON")
            return text

    def json_of(self, name: str, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
        value = self.json(name)
        if value is None or (kind is list and value == {}):
            # Lua writes an empty list as an empty object.
            return kind()
        if isinstance(value, kind):
            return value
        if name not in self._told:
            self._tell(name, f"not a JSON {'object' if kind is dict else 'list'}")
        return kind()

    def _tell(self, name: str, what: str) -> None:
        text = self._raw[name] or ""
        self._told[name] = f"{what}: {text[:80]!r}{'…' if len(text) > 80 else ''}"


def _long_names(options: Mapping[str, Any]) -> dict[str, Any]:
    long = {LONG.get(name, name): value for name, value in options.items() if name not in _LONG_TELEMETRY}
    telemetry = {_LONG_TELEMETRY[name]: value for name, value in options.items() if name in _LONG_TELEMETRY}
    return {**long, "telemetry": telemetry} if telemetry else long
