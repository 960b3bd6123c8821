from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from queueworker import selection
from queueworker.changes import Change, JobFilter
from queueworker.cli import output
from queueworker.cli.jobs import kind_of
from queueworker.cli.reporting import Verb, summary
from queueworker.cli.values import grouped, jobs_of, milliseconds
from queueworker.command import Command
from queueworker.errors import JobStateError
from queueworker.keys import QueueKeys
from queueworker.mass import Course
from queueworker.selection import changeable
from queueworker.states import state_of

RETRY = Verb("retry", "retried")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change(matched=1200, done=950, moved=250), "retried 950 of 1 200 (250 moved meanwhile)"),
        (Change(matched=3, done=3), "retried 3 of 3"),
        (Change(matched=0), "retried 0 of 0"),
        (Change(matched=5000, done=1000, moved=2, interrupted=True), None),
    ],
)
def test_the_summary_says_what_became_of_all(change: Change, text: str | None) -> None:
    expected = text or "retried 1 000 of 5 000 (2 moved meanwhile, 3 998 left, interrupted)"
    assert summary(RETRY, change) == expected


def test_a_filter_wants_all_its_conditions() -> None:
    which = JobFilter(name="a", reason="time", older_than_ms=10, younger_than_ms=20)
    assert which.admits(name="a", reason="a timeout", age_ms=10)
    assert not which.admits(name="b", reason="a timeout", age_ms=10)
    assert not which.admits(name="a", reason=None, age_ms=10)
    assert not which.admits(name="a", reason="time", age_ms=9)
    assert not which.admits(name="a", reason="time", age_ms=20)
    assert not which.admits(name="a", reason="time", age_ms=None), "an unknown age is no young one, and no old one"
    assert JobFilter().admits(name=None, reason=None, age_ms=None)
    assert JobFilter().is_empty
    assert not which.is_empty


def test_how_a_change_goes_knows_no_other_words() -> None:
    assert Course(dry_run=True).batch == 500
    with pytest.raises(TypeError, match="dryrun"):
        Course(dryrun=True)  # type: ignore[call-arg]
    for batch in (0, -1):
        with pytest.raises(ValueError, match="at least 1 job"):
            Course(batch=batch)


def test_states_that_can_be_changed() -> None:
    assert changeable("wait") == changeable("waiting") == state_of("waiting")
    for name in ("active", "nowhere", ""):
        with pytest.raises(JobStateError):
            changeable(name)


@pytest.mark.parametrize(
    ("text", "number"), [("500ms", 500), ("30s", 30_000), ("1.5m", 90_000), ("2h", 7_200_000), ("7d", 604_800_000)]
)
def test_durations(text: str, number: int) -> None:
    assert milliseconds(text, option="--x") == number


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 weeks", "1h30m", "1e3s"])
def test_what_is_no_duration_is_refused_with_the_option(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="--older-than"):
        milliseconds(text, option="--older-than")


def test_numbers_of_jobs() -> None:
    assert [grouped(one) for one in (0, 999, 1000, 1234567)] == ["0", "999", "1 000", "1 234 567"]
    assert (jobs_of(1, "failed"), jobs_of(2), jobs_of(0, "failed")) == ("1 failed job", "2 jobs", "0 failed jobs")


def test_reasons_that_differ_in_ids_and_numbers_only_are_one() -> None:
    assert kind_of("timeout after 5 ms") == kind_of("timeout after 1200 ms")
    assert kind_of("user 7f3c2a10-1111-2222-3333-444455556666 gone") == kind_of(
        "user 00000000-aaaa-bbbb-cccc-ddddeeeeffff gone"
    )
    assert kind_of("object at 0x7f00aa") == kind_of("object at 0xdeadbeef")
    assert kind_of("no such user") != kind_of("no such queue")
    assert kind_of("decadence") == "decadence", "a word of the letters a to f is a word"


@given(st.text(st.characters()))
def test_nothing_that_a_terminal_acts_on_is_left(text: str) -> None:
    for cleaned in (output.clean(text), output.clean_block(text)):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", cleaned)
        cleaned.encode("utf-8")
    assert "\n" not in output.clean(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]never ended, but read", "never ended, but read"),
        ("a\rb", "a\ufffdb"),
        ("two\nlines\tand more", "two lines and more"),
        ("žluť 🚀", "žluť 🚀"),
        ("lone \udcff", "lone \ufffd"),
    ],
)
def test_texts_are_cleaned(text: str, cleaned: str) -> None:
    assert output.clean(text) == cleaned


class MovingList:
    """A list of Redis that changes between two commands, as the steps say."""

    def __init__(self, members: list[str], steps: list[tuple[str, int]]) -> None:
        self.members, self.steps = list(members), list(steps)
        self.stayed = set(members)
        self.new = 0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        ((name, _, start, stop),) = commands
        assert name == "LRANGE"
        page = self.members[int(start) : int(stop) + 1]
        if self.steps:
            self._step(*self.steps.pop(0))
        return [page]

    def _step(self, what: str, number: int) -> None:
        for _ in range(number):
            if what == "push":
                self.new += 1
                self.members.insert(0, f"new{self.new}")
            elif self.members:
                at = {"pop": len(self.members) - 1, "head": 0, "middle": len(self.members) // 2}[what]
                self.stayed.discard(self.members.pop(at))


STEPS = st.lists(st.tuples(st.sampled_from(["push", "pop", "head", "middle"]), st.integers(0, 2500)), max_size=12)


@settings(max_examples=60)
@given(st.integers(0, 5000), STEPS)
def test_what_stays_in_a_list_is_found_whatever_happens_meanwhile(count: int, steps: list[tuple[str, int]]) -> None:
    moving = MovingList([f"j{i}" for i in range(count)], steps)
    found = asyncio.run(selection.ids_of_state(moving.run, QueueKeys("bull", "q"), state_of("waiting")))
    assert moving.stayed <= set(found)
