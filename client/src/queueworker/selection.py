"""Finding the jobs that a change concerns, without holding up the server: page by page, nothing is changed.

`run`, where a function takes it, sends commands together and returns their replies or raises.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from queueworker.changes import JobFilter
from queueworker.command import Command
from queueworker.errors import JobStateError
from queueworker.keys import QueueKeys
from queueworker.states import State, state_of

PAGE = 1000

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]


def changeable(name: str) -> State:
    """Return the state of a name (`wait` is `waiting`); raises JobStateError for one whose jobs cannot be changed."""
    try:
        state = state_of(name)
    except ValueError as error:
        raise JobStateError(str(error)) from None
    if state.name == "active":
        raise JobStateError("active jobs belong to their workers: wait for them, or end the workers")
    return state


async def ids_of_state(run: Run, keys: QueueKeys, state: State) -> dict[str, float]:
    """Return the ids of a state with their scores, 0 for those of a list; those that finished first stand first.

    Everything that stood there from the first page to the last is found, once.
    """
    key = keys.of(state.part)
    if state.is_list:
        return dict.fromkeys(await _list_members(run, key), 0.0)
    scores = await _zset_members(run, key)
    return dict(sorted(scores.items(), key=lambda one: one[1]))


async def scheduled_ids(run: Run, keys: QueueKeys) -> set[str]:
    """Return the ids of the jobs that are the next runs of schedulers, as `isJobSchedulerJob.lua` builds them."""
    schedulers = await _zset_members(run, keys.of("repeat"))
    return {f"repeat:{name}:{score:.0f}" for name, score in schedulers.items()}


async def admitted(run: Run, keys: QueueKeys, ids: dict[str, float], which: JobFilter, *, finished: bool) -> list[str]:
    """Return those of the ids that the filter admits."""
    if which.is_empty:
        return list(ids)
    ((seconds, micros),) = await run([("TIME",)])
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    found: list[str] = []
    for page in _pages(ids):
        rows = await run([("HMGET", keys.job(one), "name", "failedReason", "timestamp", "processedOn") for one in page])
        for one, (name, reason, added, taken) in zip(page, rows, strict=True):
            since = ids[one] if finished else max(_number(added), _number(taken))
            if which.admits(name=name, reason=reason, age_ms=int(now_ms - since) if since else None):
                found.append(one)
    return found


def _pages(ids: Iterable[str]) -> Iterable[Sequence[str]]:
    rest = list(ids)
    return (rest[start : start + PAGE] for start in range(0, len(rest), PAGE))


async def _zset_members(run: Run, key: str) -> dict[str, float]:
    # A cursor, not ranks: these shift when somebody takes members out, and members would be missed.
    members: dict[str, float] = {}
    cursor: int | str = 0
    while True:
        ((cursor, found),) = await run([("ZSCAN", key, cursor, "COUNT", PAGE)])
        members |= {str(member): float(score) for member, score in found}
        if not int(cursor):
            return members


async def _list_members(run: Run, key: str) -> list[str]:
    """Return a list's members from its head, where new ones come in; workers take them from the tail."""
    seen: dict[str, None] = {}
    start = 0
    while True:
        (page,) = await run([("LRANGE", key, start, start + PAGE - 1)])
        if start and (not page or page[0] not in seen):
            # Something was taken out before it: what would have been next has moved into the page before.
            start = max(0, start - PAGE)
            continue
        seen |= dict.fromkeys(page)
        if len(page) < PAGE:
            return list(seen)
        start += PAGE - 1


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0
