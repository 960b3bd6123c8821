"""Reading queues by plain commands, where the server lets no script run.

The values are those of the script, but not of one single moment: between the two or more round trips jobs move on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from queueworker import keys as names
from queueworker import sample
from queueworker.command import Command
from queueworker.decoding import json_or_text, pairs
from queueworker.failures import is_wrong_type
from queueworker.keys import QueueKeys

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands together and returns one reply or exception for each."""


class CommandFailed(Exception):  # noqa: N818 - never leaves the reader
    """One command of a reading failed: which, on which key, and why."""

    def __init__(self, command: Command, error: BaseException) -> None:
        super().__init__(" ".join(map(str, command[:2])))
        self.key = str(command[1]) if len(command) > 1 else ""
        self.error = error
        self.wrong_type = is_wrong_type(error)


@dataclass(slots=True)
class _Reading:
    keys: QueueKeys
    replies: list[Any] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    next_class: int | None = 0
    oldest_ready_ms: int | None = None
    failure: CommandFailed | None = None

    def consider(self, ready_ms: int | None) -> None:
        if ready_ms is not None and (self.oldest_ready_ms is None or ready_ms < self.oldest_ready_ms):
            self.oldest_ready_ms = ready_ms


async def read(
    run: Run, queues: Sequence[QueueKeys], *, now_ms: int, horizon_ms: int
) -> dict[QueueKeys, list[Any] | CommandFailed]:
    """Return for each queue the values that `sample.snapshot_of` takes, or what failed.

    `now_ms` is the server's own time. Two round trips, and one more for each populated priority.
    """
    readings = [_Reading(keys) for keys in queues]
    await _ask(run, [(reading, _counts(reading.keys, now_ms, horizon_ms)) for reading in readings], _keep_counts)
    for _ in range(sample.PRIORITIES):
        waiting = [(one, [_class_head(one)]) for one in readings if one.next_class is not None and one.failure is None]
        if not waiting:
            break
        await _ask(run, waiting, _keep_class_head)
    await _ask(run, [(one, _jobs(one)) for one in readings if one.candidates and one.failure is None], _keep_jobs)
    return {one.keys: one.failure if one.failure is not None else _values(one, now_ms) for one in readings}


async def _ask(
    run: Run, asked: Sequence[tuple[_Reading, list[Command]]], keep: Callable[[_Reading, list[Any]], None]
) -> None:
    """Send the commands of all readings together and give each reading its replies, or its first failure."""
    if not asked:
        return
    replies = await run([command for _, commands in asked for command in commands])
    start = 0
    for reading, commands in asked:
        own = replies[start : start + len(commands)]
        start += len(commands)
        failed = [(c, r) for c, r in zip(commands, own, strict=True) if isinstance(r, BaseException)]
        if failed:
            reading.failure = CommandFailed(*failed[0])
        else:
            keep(reading, own)


def _counts(keys: QueueKeys, now_ms: int, horizon_ms: int) -> list[Command]:
    due, soon = names.delayed_score_bound(now_ms), names.delayed_score_bound(now_ms + horizon_ms)
    return [
        ("EXISTS", keys.of("meta")),
        ("LLEN", keys.of("wait")),
        ("LLEN", keys.of("paused")),
        ("ZCARD", keys.of("prioritized")),
        ("LLEN", keys.of("active")),
        ("ZCARD", keys.of("delayed")),
        ("ZCOUNT", keys.of("delayed"), "-inf", due),
        ("ZCOUNT", keys.of("delayed"), "-inf", soon),
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
    ]


def _keep_counts(reading: _Reading, replies: list[Any]) -> None:
    *reading.replies, tail = replies
    reading.candidates += [str(job_id) for job_id in tail]


def _class_head(reading: _Reading) -> Command:
    score = (reading.next_class or 0) * names.PRIORITY_SHIFT
    return ("ZRANGEBYSCORE", reading.keys.of("prioritized"), score, "+inf", "WITHSCORES", "LIMIT", 0, 1)


def _keep_class_head(reading: _Reading, replies: list[Any]) -> None:
    head = _first_pair(replies[0])
    if head is None:
        reading.next_class = None
        return
    reading.candidates.append(head[0])
    reading.next_class = names.priority_of_score(head[1]) + 1


def _jobs(reading: _Reading) -> list[Command]:
    return [("HMGET", reading.keys.job(one), "timestamp", "opts", "processedOn") for one in reading.candidates]


def _keep_jobs(reading: _Reading, replies: list[Any]) -> None:
    for added, options, processed in replies:
        reading.consider(sample.ready_since(added, json_or_text(options), processed))


def _values(reading: _Reading, now_ms: int) -> list[Any]:
    *counts, delayed_head, waiting_children, completed, failed = reading.replies[:12]
    meta, *rest, scheduler = reading.replies[12:]
    head, fire = _first_pair(delayed_head), _first_pair(scheduler)
    next_delayed = None if head is None else names.due_ms_of_score(head[1])
    if next_delayed is not None and next_delayed <= now_ms:
        reading.consider(next_delayed)
    next_fire = None if fire is None else names.whole_score(fire[1])
    own = [now_ms, *counts, next_delayed, waiting_children, completed, failed, *meta, *rest, next_fire]
    return [*own, reading.oldest_ready_ms]


def _first_pair(reply: Any) -> tuple[str, float] | None:
    found = pairs(reply)
    return found[0] if found else None
