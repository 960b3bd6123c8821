"""The list of values that one reading of a queue brings, and the snapshot that it stands for.

Both ways of reading, the script and the plain commands, bring the same list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from queueworker import scripts
from queueworker.decoding import json_or_text, whole_number
from queueworker.keys import LAST_EXACT, RATE_LIMIT_REACHED, QueueKeys
from queueworker.snapshot import QueueSnapshot

PARTS = (
    "wait",
    "paused",
    "prioritized",
    "active",
    "delayed",
    "waiting-children",
    "completed",
    "failed",
    "meta",
    "limiter",
    "id",
    "metrics:completed",
    "metrics:failed",
    "repeat",
    "events",
)
WAIT_TAIL = 4
"""Jobs looked at where `wait` is left: a lifo job is newer than its neighbours, one given back is older."""
PRIORITIES = 16
"""Populated priorities whose oldest job is looked at, the most urgent ones first."""
DENIED = ""
"""What stands for the newest event where this user may not look for it."""


@cache
def script() -> scripts.Script:
    """Return the read-only script that reads one queue whole."""
    source = (Path(__file__).parent / "lua" / f"snapshot-{len(PARTS)}.lua").read_text(encoding="utf-8")
    return scripts.script_of("snapshot", source, number_of_keys=len(PARTS))


def script_arguments(keys: QueueKeys, *, horizon_ms: int, events: bool = True) -> list[str | int]:
    """Return what EVALSHA takes after the script's SHA-1: the number of keys, the keys, the arguments.

    `events` is whether to look for the newest event.
    """
    return [*_keys_and_base(keys), horizon_ms, WAIT_TAIL, PRIORITIES, int(events)]


# The same queues are read again and again.
@lru_cache(maxsize=4096)
def _keys_and_base(keys: QueueKeys) -> tuple[str | int, ...]:
    return len(PARTS), *map(keys.of, PARTS), keys.base


def events_are_denied(values: Any) -> bool:
    """Tell whether this user may not look for the newest event."""
    return isinstance(values, list) and bool(values) and values[-1] == DENIED


def snapshot_of(keys: QueueKeys, values: Sequence[Any], *, horizon_ms: int) -> QueueSnapshot:
    """Return the snapshot of one list of values, read with this horizon; raises ValueError if it is not whole."""
    (
        now_ms, exists, wait, paused_list, prioritized, active, delayed, due, due_quarter, due_half, due_soon,
        next_delayed, waiting_children, completed, failed, paused, concurrency, limit, duration, limiter, limiter_ttl,
        added, completed_count, failed_count, next_scheduler, oldest_waiting, oldest_prioritized, newest_event,
    ) = values  # fmt: skip
    limit_max, next_delayed_ms = _number(limit), _number(next_delayed)
    ready = [since for since in (oldest_waiting, oldest_prioritized) if since is not None]
    if next_delayed_ms is not None and next_delayed_ms <= now_ms:
        ready.append(next_delayed_ms)
    return QueueSnapshot(
        prefix=keys.prefix,
        queue=keys.queue,
        now_ms=int(now_ms),
        exists=bool(exists),
        waiting=int(wait),
        prioritized=int(prioritized),
        delayed=int(delayed),
        delayed_due=int(due),
        delayed_due_soon=int(due_soon),
        next_delayed_ms=next_delayed_ms,
        active=int(active),
        waiting_children=int(waiting_children),
        completed=int(completed),
        failed=int(failed),
        legacy_paused=int(paused_list),
        paused=paused is not None,
        oldest_ready_ms=min(ready, default=None),
        global_concurrency=_number(concurrency),
        rate_limit_max=limit_max,
        rate_limit_duration_ms=_number(duration),
        rate_limited_for_ms=_limited_for(taken=_number(limiter) or 0, limit=limit_max, ttl_ms=int(limiter_ttl)),
        added_count=_number(added) or 0,
        completed_count=_number(completed_count),
        failed_count=_number(failed_count),
        next_scheduler_ms=_number(next_scheduler),
        horizon_ms=horizon_ms,
        delayed_due_quarter=int(due_quarter),
        delayed_due_half=int(due_half),
        oldest_waiting_ms=oldest_waiting,
        oldest_prioritized_ms=oldest_prioritized,
        last_event_id=newest_event or None,
    )


def ready_since(added: object, options: str | None, processed: object) -> int | None:
    """Return since when (Unix ms) a waiting job is ready, from its fields timestamp, opts (JSON) and processedOn.

    Promotion zeroes the field `delay`, so the delay is taken from opts; a retried job was last taken at processedOn.
    """
    added_ms = _moment(added)
    if added_ms is None:
        return None
    decoded = json_or_text(options) if options and '"delay"' in options else None
    delay = decoded.get("delay") if isinstance(decoded, dict) else None
    delay_ms = _moment(delay) if isinstance(delay, int | float) and not isinstance(delay, bool) else None
    return math.floor(max(added_ms, added_ms + (delay_ms or 0), _moment(processed) or 0))


def _limited_for(*, taken: int, limit: int | None, ttl_ms: int) -> int:
    # A limit that only the workers know is not in Redis; a counter alone does not say that it is reached.
    reached = taken >= (limit if limit is not None else RATE_LIMIT_REACHED)
    return ttl_ms if reached and ttl_ms > 0 else 0


def _moment(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < LAST_EXACT else None


def _number(value: object) -> int | None:
    return value if value is None or type(value) is int else whole_number(str(value))
