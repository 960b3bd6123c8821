"""Reading queues by plain commands, where the server lets no script run.

The values are those of the script, but not of one single moment: between the two or more round trips jobs move on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from queueworker import keys as names
from queueworker import sample
from queueworker.command import Command
from queueworker.decoding import pairs
from queueworker.failures import denies_command
from queueworker.keys import QueueKeys
from queueworker.rounds import CommandFailed, Partial, Run, ask


@dataclass(slots=True)
class _Reading(Partial):
    horizon_ms: int = 0
    replies: list[Any] = field(default_factory=list)
    newest_event: str | None = None
    tail: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    next_class: int | None = 0
    oldest_waiting: int | None = None
    oldest_prioritized: int | None = None


async def read(
    run: Run, queues: Sequence[QueueKeys], *, now_ms: int, horizons: Mapping[QueueKeys, int], events: bool
) -> dict[QueueKeys, list[Any] | CommandFailed]:
    """Return for each queue the values that `sample.snapshot_of` takes, or what failed.

    `now_ms` is the server's own time, `events` whether to look for the newest event. Two round trips, and one more for
    each populated priority.
    """
    readings = [_Reading(keys, horizon_ms=horizons[keys]) for keys in queues]
    first = [(one, _counts(one.keys, now_ms, one.horizon_ms, events=events)) for one in readings]
    await ask(run, first, _keep_counts, forgives=_event_may_be_denied)
    for _ in range(sample.PRIORITIES):
        await ask(run, [(one, _class_head(one)) for one in readings], _keep_class_head)
    await ask(run, [(one, _jobs(one)) for one in readings], _keep_jobs)
    return {one.keys: one.failure if one.failure is not None else _values(one, now_ms) for one in readings}


def _counts(keys: QueueKeys, now_ms: int, horizon_ms: int, *, events: bool) -> list[Command]:
    return [
        ("EXISTS", keys.of("meta")),
        ("LLEN", keys.of("wait")),
        ("LLEN", keys.of("paused")),
        ("ZCARD", keys.of("prioritized")),
        ("LLEN", keys.of("active")),
        ("ZCARD", keys.of("delayed")),
        *(_due_by(keys, now_ms + ahead) for ahead in (0, horizon_ms // 4, horizon_ms // 2, horizon_ms)),
        ("ZRANGE", keys.of("delayed"), 0, 0, "WITHSCORES"),
        ("ZCARD", keys.of("waiting-children")),
        ("ZCARD", keys.of("completed")),
        ("ZCARD", keys.of("failed")),
        ("HMGET", keys.of("meta"), "paused", "concurrency", "max", "duration"),
        ("GET", keys.of("limiter")),
        ("PTTL", keys.of("limiter")),
        ("GET", keys.of("id")),
        ("HGET", keys.of("metrics:completed"), "count"),
        ("HGET", keys.of("metrics:failed"), "count"),
        ("ZRANGEBYSCORE", keys.of("repeat"), now_ms, "+inf", "WITHSCORES", "LIMIT", 0, 1),
        ("LRANGE", keys.of("wait"), -sample.WAIT_TAIL, -1),
        *([("XREVRANGE", keys.of("events"), "+", "-", "COUNT", 1)] if events else []),
    ]


def _due_by(keys: QueueKeys, moment_ms: int) -> Command:
    return ("ZCOUNT", keys.of("delayed"), "-inf", names.delayed_score_bound(moment_ms))


def _event_may_be_denied(command: Command, error: BaseException) -> bool:
    return command[0] == "XREVRANGE" and denies_command(error)


def _keep_counts(reading: _Reading, replies: list[Any]) -> None:
    reading.replies, (tail, *events) = replies[:21], replies[21:]
    reading.tail = [str(job_id) for job_id in tail]
    for found in events:
        denied = isinstance(found, BaseException)
        reading.newest_event = sample.DENIED if denied else str(found[0][0]) if found else None


def _class_head(reading: _Reading) -> list[Command]:
    if reading.next_class is None:
        return []
    score = reading.next_class * names.PRIORITY_SHIFT
    return [("ZRANGEBYSCORE", reading.keys.of("prioritized"), score, "+inf", "WITHSCORES", "LIMIT", 0, 1)]


def _keep_class_head(reading: _Reading, replies: list[Any]) -> None:
    head = _first_pair(replies[0])
    if head is None:
        reading.next_class = None
        return
    reading.heads.append(head[0])
    reading.next_class = names.priority_of_score(head[1]) + 1


def _jobs(reading: _Reading) -> list[Command]:
    ids = [*reading.tail, *reading.heads]
    return [("HMGET", reading.keys.job(one), "timestamp", "opts", "processedOn") for one in ids]


def _keep_jobs(reading: _Reading, replies: list[Any]) -> None:
    ready = [sample.ready_since(*fields) for fields in replies]
    reading.oldest_waiting = _oldest(ready[: len(reading.tail)])
    reading.oldest_prioritized = _oldest(ready[len(reading.tail) :])


def _oldest(moments: Sequence[int | None]) -> int | None:
    return min((one for one in moments if one is not None), default=None)


def _values(reading: _Reading, now_ms: int) -> list[Any]:
    *counts, delayed_head, waiting_children, completed, failed = reading.replies[:14]
    meta, *rest, scheduler = reading.replies[14:]
    head, fire = _first_pair(delayed_head), _first_pair(scheduler)
    next_delayed = None if head is None else names.due_ms_of_score(head[1])
    next_fire = None if fire is None else names.whole_score(fire[1])
    own = [now_ms, *counts, next_delayed, waiting_children, completed, failed, *meta, *rest, next_fire]
    return [*own, reading.oldest_waiting, reading.oldest_prioritized, reading.newest_event]


def _first_pair(reply: Any) -> tuple[str, float] | None:
    found = pairs(reply)
    return found[0] if found else None
