"""Reading queues' details by plain commands, where the server lets no script run: three round trips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from queueworker import detailsample as sample
from queueworker.command import Command
from queueworker.decoding import mapping, pairs
from queueworker.keys import QueueKeys
from queueworker.rounds import CommandFailed, Partial, Run, ask


@dataclass(slots=True)
class _Reading(Partial):
    active_total: int = 0
    active: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    statistics_total: int = 0
    beats: list[tuple[str, float]] = field(default_factory=list)
    jobs: list[list[Any]] = field(default_factory=list)
    """Of the active, following, last and finished jobs: the flat list of values of each group."""
    statistics: dict[str, str] = field(default_factory=dict)
    abouts: list[str | None] = field(default_factory=list)


async def read(run: Run, queues: Sequence[QueueKeys], now_ms: int) -> dict[QueueKeys, list[Any] | CommandFailed]:
    """Return for each queue the values that `detailsample.details_of` takes, or what failed."""
    readings = [_Reading(keys) for keys in queues]
    await ask(run, [(one, _lists(one.keys)) for one in readings], _keep_lists)
    await ask(run, [(one, _jobs(one)) for one in readings], _keep_jobs)
    await ask(run, [(one, _records(one)) for one in readings], _keep_records)
    return {one.keys: one.failure if one.failure is not None else _values(one, now_ms) for one in readings}


def _lists(keys: QueueKeys) -> list[Command]:
    return [
        ("LLEN", keys.of("active")),
        ("LRANGE", keys.of("active"), -sample.ACTIVE, -1),
        ("LLEN", keys.of("wait")),
        ("ZCARD", keys.of("prioritized")),
        ("LRANGE", keys.of("wait"), -sample.ENDS, -1),
        ("ZRANGE", keys.of("prioritized"), 0, sample.ENDS - 1),
        ("LRANGE", keys.of("wait"), 0, sample.ENDS - 1),
        ("ZRANGE", keys.of("prioritized"), -sample.ENDS, -1),
        ("ZRANGE", keys.of("completed"), 0, sample.FINISHED - 1, "REV"),
        ("HLEN", keys.statistics),
        ("ZRANGE", keys.workers, 0, sample.WORKERS - 1, "REV", "WITHSCORES"),
    ]


def _keep_lists(reading: _Reading, replies: list[Any]) -> None:
    reading.active_total, reading.active, waiting, prioritized, tail, head, newest, last, *rest = replies
    reading.finished, reading.statistics_total, beats = rest
    ahead, behind = sample.at_the_end(int(waiting), int(prioritized))
    reading.following = [*tail, *head[: sample.ENDS - len(tail)]]
    reading.last = [*newest[:ahead], *last[max(0, len(last) - behind) :]]
    reading.beats = pairs(beats)


def _jobs(reading: _Reading) -> list[Command]:
    keys = reading.keys
    locks: list[Command] = [("MGET", *map(keys.lock, reading.active))] if reading.active else []
    return [
        *(("HMGET", keys.job(one), "name", "pb", "processedOn", "stc") for one in reading.active),
        *(("HGET", keys.job(one), "name") for one in reading.following),
        *(("HGET", keys.job(one), "name") for one in reading.last),
        *(("HMGET", keys.job(one), "name", "processedOn", "finishedOn") for one in reading.finished),
        *locks,
    ]


def _keep_jobs(reading: _Reading, replies: list[Any]) -> None:
    left = iter(replies)
    active = [next(left) for _ in reading.active]
    following = [sample.name_of(next(left)) for _ in reading.following]
    last = [sample.name_of(next(left)) for _ in reading.last]
    finished = [next(left) for _ in reading.finished]
    tokens: list[str | None] = next(left, [])
    rows = [_active(job, token) for job, token in zip(active, tokens, strict=True)]
    ended = [(sample.name_of(name), sample.short(began), sample.short(end)) for name, began, end in finished]
    reading.jobs = [list(chain.from_iterable(rows)), following, last, list(chain.from_iterable(ended))]


def _active(job: Sequence[str | None], token: str | None) -> tuple[str | int | None, ...]:
    name, worker, started, stalled = job
    owner = sample.owner_of(worker, token)
    return sample.name_of(name), owner, sample.short(started), sample.short(stalled), int(token is not None)


def _records(reading: _Reading) -> list[Command]:
    keys = reading.keys
    commands: list[Command] = []
    if reading.statistics_total <= sample.STATISTICS:
        commands.append(("HGETALL", keys.statistics))
    else:
        commands += [("HMGET", keys.statistics, *fields) for fields in _fields(reading)]
    if reading.beats:
        commands.append(("HMGET", keys.worker, *(name for name, _ in reading.beats)))
    return commands


def _fields(reading: _Reading) -> list[list[str]]:
    return [sample.statistics_fields(name) for name in sample.names_met(reading.jobs or [[], [], [], []])]


def _keep_records(reading: _Reading, replies: list[Any]) -> None:
    if reading.beats:
        reading.abouts = replies.pop()
    if reading.statistics_total <= sample.STATISTICS:
        found: dict[str, str | None] = {**mapping(replies[0])}
    else:
        found = dict(zip(chain.from_iterable(_fields(reading)), chain.from_iterable(replies), strict=True))
    reading.statistics = {
        name: number
        for name, number in found.items()
        if number is not None and sample.short(number) is not None and sample.is_field(name)
    }


def _values(reading: _Reading, now_ms: int) -> list[Any]:
    active, following, last, finished = reading.jobs or [[], [], [], []]
    statistics = list(chain.from_iterable(reading.statistics.items()))
    workers = [
        (name, beat, about and sample.short(about))
        for (name, beat), about in zip(reading.beats, reading.abouts, strict=True)
        if sample.short(name) is not None
    ]
    flat = list(chain.from_iterable(workers))
    return [now_ms, reading.active_total, active, following, last, finished, statistics, flat]
