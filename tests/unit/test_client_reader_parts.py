from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import AskError
from redis.exceptions import ConnectionError as RedisConnectionError

from queueworker import detailsample, sample
from queueworker.command import Command
from queueworker.connection import connect
from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.eventrecords import StreamId
from queueworker.keys import QueueKeys
from queueworker.nodes import DISCOVERY_SECONDS, slice_of
from queueworker.reader import QueueReader
from queueworker.serverstate import COMMANDS_EVERY_SECONDS, MEMORY_EVERY_SECONDS, ServerState
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker.ways import Asked, Raw, Ways
from queueworker.workers import decode_statistics

KEYS = QueueKeys("bull", "q")
NOW_MS = 1_795_000_000_000
EMPTY: list[Any] = [
    *(NOW_MS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, 0, 0, 0),
    *(None, None, None, None, None, -2, None, None, None, None, None, None, None),
]
WRITTEN = st.one_of(st.none(), st.text(max_size=20), st.integers().map(str), st.floats().map(str))


def test_an_empty_queue_is_read_as_empty() -> None:
    snapshot = sample.snapshot_of(KEYS, EMPTY, horizon_ms=7)
    assert (snapshot.exists, snapshot.backlog, snapshot.oldest_ready_ms, snapshot.horizon_ms) == (False, 0, None, 7)
    assert snapshot.last_event_id is None
    with pytest.raises(ValueError, match="unpack"):
        sample.snapshot_of(KEYS, EMPTY[:-1], horizon_ms=7)


@given(since=st.tuples(*[st.one_of(st.none(), st.integers(0, 2 * NOW_MS))] * 3))
def test_the_oldest_ready_job_is_the_oldest_of_all_kinds(since: tuple[int | None, int | None, int | None]) -> None:
    waiting, prioritized, delayed = since
    values = [*EMPTY[:11], delayed, *EMPTY[12:25], waiting, prioritized, None]
    snapshot = sample.snapshot_of(KEYS, values, horizon_ms=0)
    due = delayed if delayed is not None and delayed <= NOW_MS else None
    assert snapshot.oldest_ready_ms == min(
        (one for one in (waiting, prioritized, due) if one is not None), default=None
    )
    assert (snapshot.oldest_waiting_ms, snapshot.oldest_prioritized_ms) == (waiting, prioritized)


@pytest.mark.parametrize("newest", [None, sample.DENIED, "1795000000000-3"])
def test_what_is_news_after_a_snapshot(newest: str | None) -> None:
    values = [*EMPTY[:-1], newest]
    assert sample.events_are_denied(values) == (newest == sample.DENIED)
    snapshot = sample.snapshot_of(KEYS, values, horizon_ms=0)
    assert snapshot.last_event_id == (newest or None)
    assert StreamId.parse(snapshot.news_after) in {StreamId(NOW_MS, 3), StreamId.before_ms(NOW_MS)}


@given(added=WRITTEN, options=WRITTEN, processed=WRITTEN)
def test_since_when_a_job_is_ready_is_known_or_not_but_nothing_is_raised(
    added: str | None, options: str | None, processed: str | None
) -> None:
    since = sample.ready_since(added, options, processed)
    assert since is None or isinstance(since, int)


@given(waiting=st.integers(0, 10**7), prioritized=st.integers(0, 10**7))
def test_both_kinds_are_looked_at_at_the_end_of_a_queue(waiting: int, prioritized: int) -> None:
    ahead, behind = detailsample.at_the_end(waiting, prioritized)
    assert ahead + behind == detailsample.ENDS
    assert (behind > 0) == (prioritized > 0)
    assert ahead > 0 or not waiting
    assert behind <= prioritized


@pytest.mark.parametrize(
    ("worker", "token", "owner"),
    [
        ("pod-1", "uuid:4", "pod-1"),
        (None, "pod-2:0a1b2c3d:4", "pod-2:0a1b2c3d"),
        ("", "uuid:4", "uuid"),
        (None, "no colon", None),
        (None, ":4", None),
        (None, None, None),
        ("x" * (detailsample.LONGEST + 1), "uuid:4", None),
    ],
)
def test_who_owns_a_job(worker: str | None, token: str | None, owner: str | None) -> None:
    assert detailsample.owner_of(worker, token) == owner


@pytest.mark.parametrize("text", ["", "a", "ä" * 64, "ä" * 65, "x" * 128, "x" * 129, "\udcff" * 128])
def test_names_are_bounded_in_bytes(text: str) -> None:
    fits = len(text.encode(errors="surrogateescape")) <= detailsample.LONGEST
    assert detailsample.short(text) == (text if fits else None)
    assert detailsample.name_of(text) == (text if fits else detailsample.OTHER)
    assert detailsample.name_of(None) is None


@given(texts=st.lists(WRITTEN, min_size=8, max_size=8), locked=st.sampled_from([0, 1]))
def test_details_hold_whatever_is_written(texts: list[str | None], locked: int) -> None:
    active = [texts[0], texts[1], texts[2], texts[3], locked]
    statistics = [f"{texts[0]}:jobs", texts[1] or "", f"{texts[0]}:ms", "5"]
    values = [NOW_MS, 1, active, texts[:2], texts[2:4], texts[4:7], statistics, ["w", "5", texts[7]]]
    details = detailsample.details_of(KEYS, values)
    assert isinstance(details, QueueDetails)
    assert details.active[0].stalled_count >= 0


def test_statistics_that_no_worker_writes_are_left_out() -> None:
    stored = {"a:jobs": "2", "a:ms": "6", "a:h2": "2", "a:h99999": "1", "a:hx": "1", "b:jobs": "-1", "b:ms": "3"}
    [of] = decode_statistics(stored)
    assert (of.name, of.histogram, of.p95_ms) == ("a", {2: 2}, pytest.approx(3.9))


def test_details_that_are_cut_short_are_refused() -> None:
    with pytest.raises(ValueError, match=r"zip|argument"):
        detailsample.details_of(KEYS, [NOW_MS, 1, ["name", "owner"], [], [], [], [], []])
    with pytest.raises(ValueError, match="unpack"):
        detailsample.details_of(KEYS, [NOW_MS, 1, []])


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_server_is_asked_for_little_and_seldom() -> None:
    clock = _Clock()
    state = ServerState(address="here", clock=clock)
    role, memory, statistics = ("ROLE",), ("INFO", "memory"), ("INFO", "commandstats")
    assert state.commands() == [role, memory, statistics]
    assert state.commands() == [role]
    clock.now = MEMORY_EVERY_SECONDS
    assert state.commands() == [role, memory]
    clock.now = COMMANDS_EVERY_SECONDS
    assert state.commands() == [role, memory, statistics]


def test_denied_answers_are_no_failure() -> None:
    state = ServerState(address="here", clock=_Clock())
    commands = state.commands()
    assert state.failure(commands, [PermissionError("no")] * len(commands)) is None
    assert state.seconds_per_call("EVALSHA_RO") is None


def test_the_role_and_the_memory_of_a_server_count() -> None:
    state = ServerState(address="here", clock=_Clock())
    full = {"maxmemory": 10, "used_memory": 30, "mem_not_counted_for_evict": 5, "maxmemory_policy": "noeviction"}
    assert getattr(state.failure([("INFO", "memory")], [full]), "reason", None) == "RedisMemoryFull"
    assert getattr(state.failure([("ROLE",)], [["master"]]), "reason", None) == "RedisMemoryFull", "as said before"
    assert getattr(state.failure([("ROLE",)], [["slave"]]), "reason", None) == "RoleNotMaster"
    for change in ({"maxmemory": 0}, {"maxmemory_policy": "allkeys-lru"}, {"mem_not_counted_for_evict": 20}):
        assert state.failure([("INFO", "memory")], [full | change]) is None


def test_the_mean_cost_of_a_call_is_that_since_the_last_look() -> None:
    state = ServerState(address="here", clock=_Clock())
    for counts, cost in (
        ({}, None),
        ({"cmdstat_evalsha_ro": {"calls": 10, "usec": 400}}, 40e-6),
        ({"cmdstat_evalsha_ro": {"calls": 10, "usec": 400}}, 40e-6),
        ({"cmdstat_evalsha_ro": {"calls": 30, "usec": 1000}}, 30e-6),
        ({"cmdstat_evalsha_ro": {"calls": 5, "usec": 100}}, 30e-6),
        ({"cmdstat_evalsha_ro": {"calls": 15, "usec": 200}}, 10e-6),
    ):
        state.failure([("INFO", "commandstats")], [counts])
        assert state.seconds_per_call("EVALSHA_RO") == (cost and pytest.approx(cost))
    assert state.seconds_per_call("plain") is None


@given(deadline=st.floats(0.1, 20))
def test_the_last_try_to_learn_the_slots_gets_the_most_of_the_deadline(deadline: float) -> None:
    left, seconds, slices = deadline, DISCOVERY_SECONDS, list[float]()
    while left > 0:
        slices.append(slice_of(left, seconds))
        left, seconds = left - slices[-1], 2 * seconds
    assert sum(slices) == pytest.approx(deadline)
    assert slices[-1] == max(slices)
    assert slices[-1] >= deadline / 3
    assert slices[0] == DISCOVERY_SECONDS or deadline <= 2 * DISCOVERY_SECONDS


class _Moving(Ways):
    """A node that says of all queues but one that they are elsewhere; alone, one cannot be read at all."""

    async def read(
        self, asked: Asked, queues: Sequence[QueueKeys], *, beside: Sequence[Command] = ()
    ) -> tuple[dict[QueueKeys, Raw], list[Any]]:
        if [keys.queue for keys in queues] == ["lost"]:
            raise RedisConnectionError("gone")
        elsewhere = AskError("1 127.0.0.1:1")
        there = {"stays"} if len(queues) > 1 else {"moved"}
        return {keys: EMPTY if keys.queue in there else elsewhere for keys in queues}, [["master"]] * len(beside)


async def test_a_queue_that_cannot_be_read_at_its_new_node_takes_no_other_along() -> None:
    client = connect(ConnectionSettings(host="127.0.0.1", port=1))
    reader = QueueReader(client, address="here")
    reader._ways = _Moving(client, clock=_Clock())
    stays, lost, moved = (QueueKeys("bull", name) for name in ("stays", "lost", "moved"))
    found = await reader.read([stays, lost, moved], deadline_seconds=30)
    assert isinstance(found[stays], QueueSnapshot)
    assert isinstance(found[moved], QueueSnapshot)
    assert isinstance(found[lost], RedisReadError)
    assert "gone" in str(found[lost])
