"""The events of a queue, decoded, and the ids of the stream that holds them.

Source: the XADD calls of BullMQ's scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from queueworker.decoding import json_or_text, whole_number

_ID = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?")
_LAST = 2**64 - 1
_JSON = {("progress", "data"), ("completed", "returnvalue")}
_NUMBERS = {"delay", "attemptsMade", "count"}


class StreamId(NamedTuple):
    """The id of an entry of a stream: Unix milliseconds of the server's clock, and a number within them."""

    ms: int
    sequence: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `ms-sequence` or `ms`; raises ValueError."""
        found = _ID.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no id of an event: write $ for now, 0 for the oldest kept, or an event's id")
        return cls(int(found[1]), int(found[2] or 0))

    @classmethod
    def before_ms(cls, ms: int) -> Self:
        """Return the last id that an entry may have before this millisecond."""
        return cls(ms - 1, _LAST)

    @property
    def predecessor(self) -> Self:
        """The id directly before this one."""
        return type(self)(self.ms, self.sequence - 1) if self.sequence else self.before_ms(self.ms)

    def __str__(self) -> str:
        return f"{self.ms}-{self.sequence}"


@dataclass(frozen=True, slots=True)
class QueueEvent:
    """One event of a queue."""

    id: str
    """Its id in the stream, from which `Queue.events` can go on later."""
    name: str
    """`added`, `waiting`, `delayed`, `active`, `progress`, `completed`, `failed`, `retries-exhausted`, `stalled`,
    `waiting-children`, `removed`, `duplicated`, `deduplicated`, `drained`, `paused`, `resumed`, `cleaned`, or whatever
    another producer wrote."""
    job_id: str | None
    """None for an event of the whole queue."""
    fields: Mapping[str, Any]
    """What else the event says, by BullMQ's names: `prev` (the state before), `returnvalue` of `completed`, `data` of
    `progress` (both decoded; what is no JSON as text), `failedReason`, `delay` of `delayed` (Unix ms at which it is
    due), `attemptsMade`, `name`, `deduplicationId`, `deduplicatedJobId`, `count` of `cleaned`."""

    @property
    def timestamp(self) -> int:
        """When it was written, in Unix milliseconds of the server's clock."""
        return StreamId.parse(self.id).ms


@dataclass(frozen=True, slots=True)
class EventsLost:
    """Events may be missing here: those between the event `after` and the next one. Counts and jobs are the truth."""

    after: str
    """The id after which it is not sure that every event came."""
    reason: str
    """One line that says how that is known."""
    name: ClassVar[str] = "events-lost"
    """What stands where an event has its name: it is none of BullMQ's."""
    job_id: ClassVar[None] = None


def decode(entry_id: str, values: Sequence[str]) -> QueueEvent:
    """Return the event of an entry's flat list of fields; never raises for what it holds."""
    fields = dict(zip(values[::2], values[1::2], strict=False))
    name, job_id = fields.pop("event", ""), fields.pop("jobId", None)
    return QueueEvent(entry_id, name, job_id, {field: _decoded(name, field, text) for field, text in fields.items()})


def entries(reply: Any) -> list[tuple[str, list[str]]]:
    """Return the entries in XREAD's reply for one stream."""
    return [(entry_id, values or []) for _, found in reply or () for entry_id, values in found]


def _decoded(name: str, field: str, text: str) -> Any:
    if (name, field) in _JSON:
        return json_or_text(text)
    if field in _NUMBERS:
        number = whole_number(text)
        return text if number is None else number
    return text
