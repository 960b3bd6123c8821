"""The demo's judgement: right only if every job was done once and stored as its document says."""

from dataclasses import replace
from typing import Any

import pytest
from examples.demo.documents import CAPSULE, kills, prices
from examples.demo.ledger import Entry, JobKey, JobRecord, State, StoredKill, Summary, judge
from examples.demo.load import plan
from hypothesis import given
from hypothesis import strategies as st

from queueworker_processors.killboard.killmail import KillmailJob
from queueworker_processors.killboard.valuation import value

ENTRIES = [
    Entry(key=JobKey("bull", f"killmail-{n}"), killmail_id=n, cents=n * 1001, attackers=n, items=2 * n)
    for n in range(1, 6)
]
JOBS = {entry.key: JobRecord(state=State.COMPLETED, starts=1, outcome="stored") for entry in ENTRIES}
STORED = {one.killmail_id: StoredKill(cents=one.cents, attackers=one.attackers, items=one.items) for one in ENTRIES}
KEY = ENTRIES[2].key


def with_job(**changes: Any) -> Summary:
    return judge(ENTRIES, JOBS | {KEY: replace(JOBS[KEY], **changes)}, STORED)


def with_kill(**changes: int) -> Summary:
    return judge(ENTRIES, JOBS, STORED | {3: replace(STORED[3], **changes)})


def without(mapping: dict, key: object) -> dict:
    return {name: one for name, one in mapping.items() if name != key}


def test_all_done_once_is_right() -> None:
    summary = judge(ENTRIES, JOBS, STORED)

    assert summary.right
    assert summary.lines() == [
        "jobs in        5",
        "jobs done      5",
        "lost           0",
        "done twice     0",
        "failed         0",
        "ISK total      150.15",
    ]


@pytest.mark.parametrize(
    ("summary", "field"),
    [
        (judge(ENTRIES, without(JOBS, KEY), STORED), "lost"),
        (judge(ENTRIES, JOBS, without(STORED, 3)), "lost"),
        (with_job(state=State.OPEN), "unfinished"),
        (with_job(state=State.FAILED, outcome=None), "failed"),
        (with_job(starts=2), "twice"),
        (with_job(outcome="exists"), "twice"),
        (with_kill(cents=1), "wrong"),
        (with_kill(attackers=0), "wrong"),
        (with_kill(items=5), "wrong"),
    ],
)
def test_one_job_that_is_not_right_spoils_it_and_is_named(summary: Summary, field: str) -> None:
    assert not summary.right
    assert getattr(summary, field) == ("killmail-3",)


def test_a_killmail_that_nobody_put_in_spoils_it() -> None:
    summary = judge(ENTRIES, JOBS, STORED | {99: StoredKill(cents=0, attackers=0, items=0)})

    assert not summary.right
    assert "not put in     1" in summary.lines()


def test_a_wrong_total_says_what_it_must_be() -> None:
    assert with_kill(cents=3003 - 5).lines()[-1] == "ISK total      150.10 (must be 150.15)"


def test_nothing_put_in_is_not_right() -> None:
    assert not judge([], {}, {}).right


@given(st.lists(st.sampled_from(ENTRIES), unique=True, min_size=1))
def test_every_job_is_done_or_lost_or_failed(done: list[Entry]) -> None:
    jobs = {entry.key: JOBS[entry.key] for entry in done}

    summary = judge(ENTRIES, jobs, STORED)

    assert summary.jobs_done + len(summary.lost) == summary.jobs_in == len(ENTRIES)
    assert summary.jobs_done == len(done)


@given(st.integers(0, 2**32), st.integers(1, 10**9))
def test_documents_count_in_cents_what_the_processor_finds(seed: int, first_id: int) -> None:
    market = {type_id: cents / 100 for type_id, cents in prices(seed).items()}

    for kill in kills(3, seed=seed, first_id=first_id):
        document = KillmailJob.model_validate(kill.payload).esi
        assert document is not None
        worth = value(document, market.get)
        assert (round(worth.total * 100), len(document.attackers), len(worth.items)) == (
            kill.cents,
            kill.attackers,
            kill.items,
        )


def test_documents_are_the_same_each_time_and_of_every_kind() -> None:
    first, second = (list(kills(300, seed=1, first_id=1)) for _ in range(2))
    victims = [kill.document["victim"] for kill in first]

    assert first == second
    assert any(victim["ship_type_id"] == CAPSULE for victim in victims)
    assert any("items" in item for victim in victims for item in victim["items"])
    assert any(item["singleton"] == 2 for victim in victims for item in victim["items"])


@pytest.mark.parametrize("count", [20, 400, 2800])
def test_a_plan_has_as_many_jobs_as_asked_for_and_all_kinds(count: int) -> None:
    planned = list(plan(count))

    assert len({one.entry.key for one in planned}) == len(planned) == count
    assert {one.job.options.delay > 0 for one in planned} == {True, False}
    assert {one.job.options.priority for one in planned} == {1, 5, 10}
    assert {one.prefix for one in planned} == {"bull", "backfill"}
