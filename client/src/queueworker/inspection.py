"""One job with everything that belongs to it, and a queue's populated priorities."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

from queueworker import keys as names
from queueworker import records
from queueworker.command import Command
from queueworker.decoding import json_or_text, mapping, pairs
from queueworker.failures import is_wrong_type
from queueworker.keys import QueueKeys
from queueworker.listing import due_on_of, lock_commands, lock_of
from queueworker.records import Children, DependencyCounts, JobRecord
from queueworker.states import STATES, UNKNOWN

Ask = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands together and returns one reply or exception for each."""
Fetch = Ask
"""The same, but raises the first exception."""

_CHILDREN = (("SCARD", "dependencies"), ("HLEN", "processed"), ("HLEN", "failed"), ("ZCARD", "unsuccessful"))


async def find(ask: Ask, raise_for: Callable[[Command, Any], None], keys: QueueKeys, job_id: str) -> JobRecord | None:
    """Return a job with its state, lock and numbers of children; None if there is none.

    `raise_for` raises the error of a reply that must be there; rights that this user lacks for the others are told in
    the record.
    """
    found = await _look(ask, raise_for, keys, job_id)
    if found is not None and not found.is_settled:
        # It may have moved from one state into another between two of the commands.
        found = await _look(ask, raise_for, keys, job_id)
    return found.record(keys, job_id) if found is not None and found.is_there else None


async def children(fetch: Fetch, keys: QueueKeys, job_id: str) -> Children:
    """Return the children of a job."""
    reads = (("SMEMBERS", "dependencies"), ("HGETALL", "processed"), ("HGETALL", "failed"))
    failed: Command = ("ZRANGE", f"{keys.job(job_id)}:unsuccessful", 0, -1)
    waiting, processed, ignored, unsuccessful = await fetch([*_children_commands(keys, job_id, reads), failed])
    return Children(
        unprocessed=tuple(sorted(waiting)),
        values={key: json_or_text(text) for key, text in mapping(processed).items()},
        ignored=mapping(ignored),
        failed=tuple(unsuccessful),
    )


async def count_priorities(fetch: Fetch, keys: QueueKeys, wanted: Sequence[int]) -> dict[int, int]:
    """Return the number of jobs per priority: of those wanted, or of every populated one, the most urgent first."""
    if wanted:
        return dict(zip(wanted, map(int, await fetch([_count(keys, one) for one in wanted])), strict=True))
    without, head = await fetch([_count(keys, 0), _class_head(keys, 1)])
    counts = {0: int(without)} if int(without) else {}
    while found := pairs(head):
        priority = names.priority_of_score(found[0][1])
        count, head = await fetch([_count(keys, priority), _class_head(keys, priority + 1)])
        if int(count):
            counts[priority] = int(count)
    return counts


class _Optional:
    """Takes replies that a record can do without where this user lacks the right."""

    def __init__(self, raise_for: Callable[[Command, Any], None]) -> None:
        self.unreadable: dict[str, str] = {}
        self._raise_for = raise_for

    def take(self, what: str, command: Command, reply: Any) -> Any:
        if isinstance(reply, NoPermissionError):
            self.unreadable[what] = f"the ACL denies {str(command[0]).lower()}: grant +{str(command[0]).lower()}"
            return None
        self._raise_for(command, reply)
        return reply


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at a job brought: its fields, its score in each state, and what else was asked with its reply."""

    stored: Sequence[str | None]
    scores: Sequence[Any]
    others: Sequence[tuple[Command, Any]]
    optional: _Optional

    @property
    def place(self) -> int | None:
        return next((i for i, score in enumerate(self.scores) if score is not None), None)

    @property
    def is_there(self) -> bool:
        return self.place is not None or records.is_job(self.stored)

    @property
    def is_settled(self) -> bool:
        return self.place is not None or "state" in self.optional.unreadable or not records.is_job(self.stored)

    def record(self, keys: QueueKeys, job_id: str) -> JobRecord:
        lock = lock_of(*(self.optional.take("lock", *one) for one in self.others[:2]))
        counts = [self.optional.take("dependency_counts", *one) for one in self.others[2:]]
        place = self.place
        state = None if place is None else STATES[place]
        return records.decode(
            job_id,
            self.stored,
            queue=keys.queue,
            state=UNKNOWN if state is None else state.name,
            due_on=None if state is None or state.is_list else due_on_of(state, float(self.scores[place or 0])),
            lock=lock,
            dependency_counts=_dependency_counts(counts),
            unreadable=self.optional.unreadable,
        )


async def _look(ask: Ask, raise_for: Callable[[Command, Any], None], keys: QueueKeys, job_id: str) -> _Look | None:
    """Return what there is of a job; None where its key holds another type."""
    whole: Command = ("HMGET", keys.job(job_id), *records.FIELDS)
    probes = [state.probe(keys, job_id) for state in STATES]
    others = [*lock_commands(keys, job_id), *_children_commands(keys, job_id, _CHILDREN)]
    stored, *replies = await ask([whole, *probes, *others])
    if is_wrong_type(stored):
        return None
    raise_for(whole, stored)
    optional = _Optional(raise_for)
    scores = [optional.take("state", *one) for one in zip(probes, replies, strict=False)]
    return _Look(stored, scores, list(zip(others, replies[len(probes) :], strict=True)), optional)


def _children_commands(keys: QueueKeys, job_id: str, reads: Sequence[tuple[str, str]]) -> list[Command]:
    return [(command, f"{keys.job(job_id)}:{part}") for command, part in reads]


def _dependency_counts(counts: Sequence[Any]) -> DependencyCounts | None:
    if any(one is None for one in counts) or not any(counts):
        return None
    unprocessed, processed, ignored, failed = map(int, counts)
    return DependencyCounts(unprocessed, processed, ignored, failed)


def _count(keys: QueueKeys, priority: int) -> Command:
    if priority == 0:
        return ("LLEN", keys.of("wait"))
    low = names.priority_score(priority, 0)
    return ("ZCOUNT", keys.of("prioritized"), low, low + names.PRIORITY_SHIFT - 1)


def _class_head(keys: QueueKeys, priority: int) -> Command:
    score = names.priority_score(priority, 0)
    return ("ZRANGEBYSCORE", keys.of("prioritized"), score, "+inf", "WITHSCORES", "LIMIT", 0, 1)
