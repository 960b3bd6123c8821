"""Every reason of a decision, the number that goes with it, and the sentence that explains it."""

from dataclasses import replace
from typing import Any

import pytest
from scaling_cases import CASES, Case
from scaling_world import CONFIRMED, NOON, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History, Vote
from queueworker_operator.scaling.explain import MAX_LENGTH
from queueworker_operator.scaling.observation import Ownership


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.desired}")
def test_reason_number_and_sentence(case: Case):
    decision = decide(case.observation, case.spec, case.history, NOON, overrides=case.overrides)
    assert (decision.reason, decision.desired) == (case.reason, case.desired)
    assert case.message is None or decision.message == case.message


def test_every_reason_is_reached():
    assert {case.reason for case in CASES} == set(Reason)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.desired}")
def test_the_trace_leads_to_the_number(case: Case):
    decision = decide(case.observation, case.spec, case.history, NOON, overrides=case.overrides)
    if not decision.votes:
        return
    number = max(after_caps(decision, vote) for vote in decision.votes)
    for limit in decision.limits:
        if limit.queue is None:
            assert limit.before == number
            assert limit.after != number
            number = limit.after
    assert number == decision.desired


def after_caps(decision: Decision, vote: Vote) -> int:
    """Each cap of a queue begins with the number where the one before ended."""
    number = vote.replicas
    for limit in decision.limits:
        if limit.queue is not None and limit.queue == vote.queue and limit.before == number > limit.after:
            number = limit.after
    return number


def test_a_long_sentence_is_cut():
    names = {f"{'q' * 120}{i:02}": 1 for i in range(32)}
    problems = [replace(unreadable(name=n), problem=replace(unreadable().problem, message="x" * 1000)) for n in names]
    decision = decide(seen(*problems, replicas=3), spec(queues=names), History(), NOON)
    assert len(decision.message) == MAX_LENGTH
    assert decision.message.endswith("…")


def test_many_queues_are_counted_not_listed():
    names = ["a", "b", "c", "d", "e"]
    observed = [queue(name=n, paused=True, waiting=1) for n in names]
    decision = decide(seen(*observed), spec(queues=dict.fromkeys(names, 1)), CONFIRMED, NOON)
    assert decision.message == "0 of 0-20 replicas: queues a, b, c and 2 more are paused with 5 jobs ready."


@pytest.mark.parametrize(
    ("due_in", "text"), [(59, "due at 12:00:59."), (90_000, "due on 2026-01-02."), (10**12, "due on 9999-12-31.")]
)
def test_the_next_delayed_job_is_named_by_the_clock_of_redis(due_in: int, text: str):
    late: dict[str, Any] = {"delayed": 1, "next_delayed_ms": (int(NOON) + due_in) * 1000}
    first = decide(seen(queue(**late)), spec(), CONFIRMED, NOON)
    later = decide(seen(queue(**late)), spec(), CONFIRMED, NOON + 0.4)
    assert first.message == later.message
    assert first.message.endswith(text)


def test_workers_of_somebody_else_are_not_written():
    for ownership in (Ownership.FOREIGN, Ownership.TERMINATING):
        look = seen(queue(waiting=30), workers_=replace(workers(9), ownership=ownership))
        decision = decide(look, spec(), History(desired=2), NOON)
        assert (decision.write, decision.current, decision.history.changes) == (False, 2, ())
