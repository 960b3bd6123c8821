"""When what can wait does, and for how long."""

from __future__ import annotations

from queueworker_operator.reconciler.rush import LONGEST_SECONDS, MANY, WITHIN_SECONDS, Rush


def test_a_few_creations_are_no_rush() -> None:
    rush = Rush()
    for _ in range(MANY - 1):
        rush.creates(100.0)
    assert not rush.is_on(100.0)


def test_many_at_once_are_one_until_they_end() -> None:
    rush = Rush()
    for _ in range(MANY):
        rush.creates(100.0)
    assert rush.is_on(100.0)
    assert rush.is_on(100.0 + WITHIN_SECONDS)
    assert not rush.is_on(100.1 + WITHIN_SECONDS)


def test_nothing_waits_longer_than_the_longest() -> None:
    rush, at = Rush(), 100.0
    waited = 0.0
    while at < 100.0 + 2 * LONGEST_SECONDS:
        rush.creates(at)
        waited += 0.1 if rush.is_on(at) else 0.0
        at += 0.1
    assert LONGEST_SECONDS - WITHIN_SECONDS < waited < LONGEST_SECONDS + 1.0


def test_the_next_rush_begins_anew() -> None:
    rush = Rush()
    for at in (100.0, 1000.0):
        for _ in range(MANY):
            rush.creates(at)
        assert rush.is_on(at)
