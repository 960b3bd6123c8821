"""How many jobs ended per minute, as workers that keep `metrics` count them.

Sources: `getMetrics-2.lua`, `includes/collectMetrics.lua`: `count` grows with every job that ends; in the first job of
another minute the jobs of the minutes before are pushed to the head of a list, with zeros for minutes without any.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from queueworker.command import Command
from queueworker.decoding import whole_number
from queueworker.keys import QueueKeys

MINUTE_MS = 60_000
MAX_POINTS = 20_160
"""Points read at once: two weeks, the most that BullMQ's own constants keep."""
KINDS = ("completed", "failed")
_TRIES = 3

Fetch = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands together and returns their replies; raises the first error."""


@dataclass(frozen=True, slots=True)
class MetricsPoint:
    """Jobs that ended within the minute that began at `minute_ms` (Unix milliseconds)."""

    minute_ms: int
    count: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Jobs of one kind that ended, per minute."""

    kind: str
    total: int | None
    """All that ended since counting began; None where no worker keeps metrics."""
    running: MetricsPoint | None
    """The minute in which the last job ended; its count may still grow."""
    points: tuple[MetricsPoint, ...]
    """The whole minutes before that, newest first, without gaps."""
    kept: int
    """How many such minutes Redis holds."""


async def read(fetch: Fetch, keys: QueueKeys, kind: str, *, start: int, end: int) -> Metrics:
    """Return the points from `start` to `end`, both included, 0 being the newest whole minute."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} has no metrics: use completed or failed")
    if not 0 <= start <= end or end - start >= MAX_POINTS:
        raise ValueError(f"start {start}, end {end}: 0 <= start <= end, and at most {MAX_POINTS} points at once")
    key = keys.of(f"metrics:{kind}")
    head: Command = ("HMGET", key, "count", "prevTS", "prevCount")
    for _ in range(_TRIES):
        before, data, kept, after = await fetch(
            [head, ("LRANGE", f"{key}:data", start, end), ("LLEN", f"{key}:data"), head]
        )
        # A push in between would date every point a minute wrong.
        if before[1:] == after[1:]:
            break
    return decode(kind, before, data, start=start, kept=int(kept))


def decode(kind: str, head: Sequence[Any], data: Sequence[str], *, start: int, kept: int) -> Metrics:
    """Return the metrics of the hash's fields count, prevTS and prevCount, and of a part of the list."""
    total, last_ms, counted_before = (None if one is None else whole_number(str(one)) for one in head)
    if last_ms is None:
        return Metrics(kind, total, None, (), kept)
    last_minute = last_ms // MINUTE_MS * MINUTE_MS
    running = None
    if total is not None and counted_before is not None:
        running = MetricsPoint(last_minute, max(0, total - counted_before))
    points = (
        MetricsPoint(last_minute - (start + position + 1) * MINUTE_MS, whole_number(str(count)) or 0)
        for position, count in enumerate(data)
    )
    return Metrics(kind, total, running, tuple(points), kept)
