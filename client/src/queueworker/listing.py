"""Pages of the jobs in one state, and the way through all of them while the queue moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from queueworker import keys as names
from queueworker import records
from queueworker.command import Command
from queueworker.decoding import pairs
from queueworker.keys import QueueKeys
from queueworker.records import JobRecord
from queueworker.states import State

MAX_PAGE = 1000
"""Jobs read at once."""

Fetch = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands together and returns their replies; raises the first error."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A job's id as a state holds it, with its score where the state is a sorted set."""

    id: str
    score: float | None = None


def check_page(start: int, end: int) -> None:
    """Raise ValueError for a page that is none or too long."""
    if not 0 <= start <= end or end - start >= MAX_PAGE:
        raise ValueError(f"start {start}, end {end}: 0 <= start <= end, and at most {MAX_PAGE} at once")


async def page(
    fetch: Fetch, keys: QueueKeys, states: Sequence[State], *, start: int, end: int, newest_first: bool
) -> list[JobRecord]:
    """Return the jobs from `start` to `end` of each state, without those that were removed meanwhile."""
    replies = await fetch([one.range(keys, start=start, stop=end, newest_first=newest_first) for one in states])
    found = [
        (state, entry)
        for state, reply in zip(states, replies, strict=True)
        for entry in _entries(state, reply, newest_first=newest_first)
    ]
    return await load(fetch, keys, found)


async def load(fetch: Fetch, keys: QueueKeys, entries: Sequence[tuple[State, Entry]]) -> list[JobRecord]:
    """Return the jobs of these entries in their order, without those that do not exist any more."""
    commands: list[Command] = []
    for state, entry in entries:
        commands.append(("HMGET", keys.job(entry.id), *records.FIELDS))
        if state.name == "active":
            commands += lock_commands(keys, entry.id)
    replies = iter(await fetch(commands)) if commands else iter(())
    found = []
    for state, entry in entries:
        stored = next(replies)
        lock = lock_of(next(replies), next(replies)) if state.name == "active" else (None, None)
        if any(value is not None for value in stored):
            due_on = due_on_of(state, entry.score)
            found.append(records.decode(entry.id, stored, queue=keys.queue, state=state.name, due_on=due_on, lock=lock))
    return found


async def every_job(
    fetch: Fetch, keys: QueueKeys, state: State, *, page_size: int, newest_first: bool
) -> AsyncIterator[JobRecord]:
    """Yield all jobs of a state; what `QueueGetters.all_jobs` promises holds."""
    pages = _list_pages if state.is_list else _set_pages
    async for entries in pages(fetch, keys, state, page_size=page_size, newest_first=newest_first):
        for record in await load(fetch, keys, [(state, entry) for entry in entries]):
            yield record


def lock_commands(keys: QueueKeys, job_id: str) -> list[Command]:
    """Return the commands that read who holds a job and for how long."""
    return [("GET", keys.lock(job_id)), ("PTTL", keys.lock(job_id))]


def lock_of(owner: Any, ttl_ms: Any) -> tuple[str | None, int | None]:
    """Return the owner of a lock and its remaining time, from the replies to `lock_commands`."""
    return (None, None) if owner is None else (str(owner), max(0, int(ttl_ms)))


def due_on_of(state: State, score: float | None) -> int | None:
    """Return when a job of this state and score falls due; None in a state that does not wait for a time."""
    return names.due_ms_of_score(score) if state.name == "delayed" and score is not None else None


async def _set_pages(
    fetch: Fetch, keys: QueueKeys, state: State, *, page_size: int, newest_first: bool
) -> AsyncIterator[list[Entry]]:
    """Go by score, which a job keeps as long as it stays: what comes or goes elsewhere moves nothing."""
    bound, far_end = ("+inf", "-inf") if newest_first else ("-inf", "+inf")
    direction = ("REV",) if newest_first else ()
    at_bound: set[str] = set()
    while True:
        limit = page_size + len(at_bound)
        span: Command = (bound, far_end, "BYSCORE", *direction, "LIMIT", 0, limit, "WITHSCORES")
        found = pairs((await fetch([("ZRANGE", keys.of(state.part), *span)]))[0])
        fresh = [Entry(member, score) for member, score in found if member not in at_bound]
        if fresh:
            yield fresh
        if len(found) < limit:
            return
        last = found[-1][1]
        if repr(last) != bound:
            bound, at_bound = repr(last), set()
        at_bound |= {member for member, score in found if score == last}


async def _list_pages(
    fetch: Fetch, keys: QueueKeys, state: State, *, page_size: int, newest_first: bool
) -> AsyncIterator[list[Entry]]:
    """Go by position, with each window reaching back into the one before.

    Jobs that stay keep their order. A window that begins with a job already seen has skipped none; one that does not
    is taken again further back.
    """
    seen: set[str] = set()
    start = 0
    while True:
        stop = start + 2 * page_size - 1
        reply = (await fetch([state.range(keys, start=start, stop=stop, newest_first=newest_first)]))[0]
        ids = [entry.id for entry in _entries(state, reply, newest_first=newest_first)]
        if start and (not ids or ids[0] not in seen):
            start = max(0, start - page_size)
            continue
        fresh = [one for one in dict.fromkeys(ids) if one not in seen]
        seen.update(fresh)
        if fresh:
            yield [Entry(one) for one in fresh]
        if len(ids) < 2 * page_size:
            return
        start += page_size


def _entries(state: State, reply: Sequence[Any], *, newest_first: bool) -> list[Entry]:
    entries = [Entry(str(one)) for one in reply] if state.is_list else [Entry(*pair) for pair in pairs(reply)]
    return entries[::-1] if state.is_reversed(newest_first=newest_first) else entries
