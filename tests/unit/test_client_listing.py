"""Going through all jobs of a state while it changes between any two pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueworker import listing, records
from queueworker.command import Command
from queueworker.keys import QueueKeys
from queueworker.states import STATES, state_of, states_of

KEYS = QueueKeys("bull", "q")
HASH = ["name", "{}", "{}", "1700000000000", *[None] * (len(records.FIELDS) - 4)]

# What happens to the jobs between two pages: how many arrive at the new end, are taken at the old end, come back to it,
# and which of those in between are removed.
Moves = tuple[int, int, int, list[int]]
moves = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3), st.lists(st.integers(0, 200), max_size=12)),
    max_size=12,
)


class MovingQueue:
    """One state of a queue, in memory, that moves after each answer; speaks just the commands that listing sends."""

    def __init__(self, ids: Sequence[str], changes: Sequence[Moves]) -> None:
        self.scores = {one: float(i // 3) for i, one in enumerate(ids)}
        self.ids = list(ids)  # oldest first
        self.changes = list(changes)
        self.arrived = 0
        self.left: set[str] = set()

    async def fetch(self, commands: Sequence[Command]) -> list[Any]:
        replies = [self.answer(command) for command in commands]
        if commands[0][0] != "HMGET" and self.changes:
            self.move(*self.changes.pop(0))
        return replies

    def answer(self, command: Command) -> Any:
        name, _, *words = command
        if name == "HMGET":
            return HASH
        if name == "LRANGE":
            head_first = self.ids[::-1]
            start, stop = (int(word) + (len(head_first) if int(word) < 0 else 0) for word in words)
            return head_first[max(0, start) : max(0, stop + 1)]
        bound, far, *rest = map(str, words)
        limit = int(rest[rest.index("LIMIT") + 2])
        low, high = sorted((float(bound), float(far)))
        found = [one for one in sorted(self.ids, key=self.order) if low <= self.scores[one] <= high]
        if "REV" in rest:
            found.reverse()
        return [word for one in found[:limit] for word in (one, repr(self.scores[one]))]

    def order(self, one: str) -> tuple[float, str]:
        return self.scores[one], one

    def move(self, arrivals: int, taken: int, given_back: int, removed: list[int]) -> None:
        back, before = self.ids[:given_back], set(self.ids)
        self.ids = self.ids[taken:]
        for position in sorted({one % len(self.ids) for one in removed if self.ids}, reverse=True):
            del self.ids[position]
        self.left |= before - set(self.ids)
        self.ids = [one for one in back if one not in self.ids] + self.ids
        for _ in range(arrivals):
            self.arrived += 1
            new = f"new-{self.arrived}"
            self.scores[new] = 1000.0 + self.arrived
            self.ids.append(new)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("state", ["waiting", "completed"])
@settings(max_examples=50)
@given(count=st.integers(0, 60), changes=moves, page_size=st.integers(1, 12))
async def test_a_job_that_stays_comes_exactly_once(
    state: str, newest_first: bool, count: int, changes: list[Moves], page_size: int
) -> None:
    ids = [f"{i:03}" for i in range(count)]
    queue = MovingQueue(ids, changes)
    found = listing.every_job(queue.fetch, KEYS, state_of(state), page_size=page_size, newest_first=newest_first)
    seen = [record.id async for record in found]
    assert len(seen) == len(set(seen))
    stayed = [one for one in ids if one not in queue.left]
    assert [one for one in seen if one in stayed] == (stayed[::-1] if newest_first else stayed)


async def test_many_jobs_of_one_score_are_not_skipped() -> None:
    queue = MovingQueue([f"{i:04}" for i in range(500)], [])
    queue.scores = dict.fromkeys(queue.scores, 7.0)
    found = listing.every_job(queue.fetch, KEYS, state_of("failed"), page_size=10, newest_first=False)
    assert [record.id async for record in found] == queue.ids


def test_names_of_states() -> None:
    assert state_of("wait") is state_of("waiting")
    assert state_of("waiting_children").part == "waiting-children"
    assert states_of(()) == list(STATES)
    assert [one.name for one in states_of(("wait", "failed", "waiting"))] == ["waiting", "failed"]
    with pytest.raises(ValueError, match="'done' is no state of a job: use one of waiting, prioritized"):
        states_of(("done",))


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (5, 4), (0, -1), (0, 1000)])
def test_a_page_is_bounded(start: int, end: int) -> None:
    listing.check_page(0, 999)
    with pytest.raises(ValueError, match="at most 1000 at once"):
        listing.check_page(start, end)
