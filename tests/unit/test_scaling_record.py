"""The decision in the status: what it shows, what a restart finds again, and when it is worth a write."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, spec

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason, ConditionType
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Change, History, Recommendation
from queueworker_operator.scaling.history import restore, to_memory, unwritten
from queueworker_operator.scaling.record import Difference, coarse_age, difference, scaling_status

seconds = st.integers(0, 3000).map(lambda ago: NOON - ago)


def at(offset: float) -> datetime:
    return datetime.fromtimestamp(NOON + offset, UTC)


def status_of(decision, *, previous: api.Scaling | None = None) -> api.QueueWorkerStatus:
    """Return the status as the cluster gives it back: through JSON."""
    scaling = scaling_status(decision, previous=previous)
    text = api.QueueWorkerStatus(scaling=scaling).model_dump_json(by_alias=True, exclude_none=True)
    return api.QueueWorkerStatus.model_validate_json(text)


@st.composite
def histories(draw: st.DrawFn) -> History:
    times = sorted(draw(st.sets(seconds, max_size=6)))
    numbers = sorted(draw(st.sets(st.integers(0, 99), min_size=len(times), max_size=len(times))), reverse=True)
    missing = draw(st.frozensets(st.sampled_from("ab")))
    return History(
        recommendations=tuple(Recommendation(at=t, replicas=n) for t, n in zip(times, numbers, strict=True)),
        idle_since=draw(st.none() | seconds),
        desired=draw(st.none() | st.integers(0, 99)),
        reason=Reason.AT_MINIMUM,
        seen_queues=draw(st.frozensets(st.sampled_from("abc"))) | missing,
        missing_queues=missing,
        missing_since=draw(seconds) if missing else None,
        not_consuming_since=draw(st.none() | seconds),
        last_scale_at=draw(st.none() | seconds),
        last_change_at=draw(st.none() | seconds),
        changes=tuple(
            Change(at=t, before=n, after=n + 1, reason=Reason.BACKLOG_ABOVE_TARGET, backlog=None)
            for t, n in zip(reversed(times), numbers, strict=True)
        ),
    )


@settings(deadline=None)
@given(histories())
def test_a_restart_finds_again_what_was_remembered(history: History):
    decision = replace(decide(seen(queue()), spec(), CONFIRMED, NOON), history=history, reason=Reason.AT_MINIMUM)
    assert restore(status_of(decision), NOON) == history


@settings(deadline=None)
@given(st.floats(0.001, 0.999))
def test_whole_seconds_end_nothing_early(part: float):
    history = History(idle_since=NOON + part, recommendations=(Recommendation(at=NOON + part, replicas=5),))
    decision = replace(decide(seen(queue()), spec(), CONFIRMED, NOON), history=history)
    later = restore(status_of(decision), NOON + 10)
    assert later.idle_since == later.recommendations[0].at == NOON + 1
    at_once = restore(status_of(decision), NOON + part)
    assert at_once.idle_since == NOON + part


def test_a_status_of_nothing_is_an_empty_history():
    assert restore(None, NOON) == restore(api.QueueWorkerStatus(), NOON) == History()


def test_nonsense_in_the_memory_is_dropped():
    memory = api.Memory(
        recommendations=[
            api.Recommendation(time=at(-10), replicas=1),
            api.Recommendation(time=at(+999), replicas=99),
            api.Recommendation(time=at(-20), replicas=7),
            api.Recommendation(time=at(-30), replicas=5),
            api.Recommendation(time=at(-5000), replicas=90),
            api.Recommendation(time=(at(-15)).replace(tzinfo=None), replicas=3),
        ],
        idle_since=at(+60),
        seen_queues=["gone", "killmail"],
        missing_queues=["gone"],
        missing_since=at(+60),
        not_consuming_since=at(+60),
    )
    scaling = api.Scaling(
        desired=3,
        reason=Reason.AT_MINIMUM,
        message="",
        memory=memory,
        last_scale_time=at(+60),
        history=[api.Change(time=at(+60), from_=1, to=2, reason=Reason.AT_MINIMUM)],
    )
    history = restore(api.QueueWorkerStatus(scaling=scaling), NOON, window=120, queues=["killmail"])
    assert [(peak.at - NOON, peak.replicas) for peak in history.recommendations] == [(-20, 7), (-15, 3), (-10, 1)]
    assert (history.idle_since, history.not_consuming_since, history.last_scale_at) == (None, None, None)
    assert (history.seen_queues, history.missing_queues, history.changes) == (frozenset({"killmail"}), frozenset(), ())


def test_a_restart_in_the_window_goes_on_where_it_was():
    ticker = Ticker(spec(window=120, min_replicas=1), history=CONFIRMED)
    ticker.run(queue(waiting=200), seconds=5)
    ticker.run(queue(waiting=20), seconds=60)
    ends = ticker.decisions[-1].recheck_at
    assert ends is not None
    ticker.history = restore(status_of(ticker.decisions[-1]), ticker.now + 30, window=120)
    ticker.now += 29
    ticker.run(queue(waiting=20), seconds=40)
    assert (ticker.replicas, ticker.writes[-1][0]) == (1, ends)


def test_what_others_keep_in_the_memory_stays_there():
    previous = api.Memory(applied_fields="abc", drift_corrected_at=at(0), idle_since=at(0))
    memory = to_memory(History(desired=4), previous)
    assert (memory.applied_fields, memory.drift_corrected_at) == ("abc", at(0))
    assert (memory.desired, memory.idle_since) == (4, None)


def test_a_write_that_failed_leaves_no_change_behind():
    before = History(desired=1, reason=Reason.AT_MINIMUM, seen_queues=frozenset({"killmail"}))
    after = decide(seen(queue(waiting=200), replicas=1), spec(), before, NOON).history
    assert len(after.changes) == 1
    kept = unwritten(after, before)
    assert (kept.desired, kept.changes, kept.last_scale_at) == (1, (), None)
    assert kept.recommendations == after.recommendations


def test_the_record_shows_votes_limits_and_changes():
    look = seen(queue(waiting=5000, oldest_ready_ms=int((NOON - 4321.5) * 1000)), replicas=1)
    scaling = scaling_status(decide(look, spec(), CONFIRMED, NOON))
    shown = scaling.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert shown["votes"] == [
        {"queue": "killmail", "rule": "backlogPerReplica", "replicas": 250},
        {"rule": "minReplicas", "replicas": 0},
    ]
    assert shown["limits"] == [{"by": "AtMaximum", "from": 250, "to": 20}]
    assert shown["history"] == [
        {"time": "2026-01-01T12:00:00Z", "from": 1, "to": 20, "reason": "AtMaximum", "backlog": 5000}
    ]
    assert (shown["desired"], shown["inputs"]["oldestAgeSeconds"]) == (20, 3600)
    assert shown["lastScaleTime"] == shown["lastDecisionChangeTime"] == "2026-01-01T12:00:00Z"


@pytest.mark.parametrize(
    ("age", "shown"),
    [(0, 0), (0.9, 0), (4.9, 2), (59, 30), (61, 60), (3599, 1800), (7199, 3600), (90_000, 86_400), (-5, 0)],
)
def test_ages_are_rounded_down_to_few_steps(age: float, shown: int):
    assert coarse_age(age) == shown


def test_an_hour_of_waiting_shows_few_ages():
    assert len({coarse_age(second) for second in range(3601)}) == 14


def status(*, conditions: str = "True", **scaling: object) -> api.QueueWorkerStatus:
    given = {"desired": 3, "reason": Reason.AT_MINIMUM, "message": "why", **scaling}
    condition = api.Condition(
        type=ConditionType.READY,
        status=conditions,  # type: ignore[arg-type]
        reason=ConditionReason.ROLLED_OUT,
        last_transition_time=at(0),
    )
    return api.QueueWorkerStatus(scaling=api.Scaling(**given), conditions=[condition], observed_generation=1)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (status(), Difference.NONE),
        (status(memory=api.Memory(idle_since=at(1))), Difference.NUMBERS),
        (status(message="why else"), Difference.NUMBERS),
        (status(inputs=api.Inputs(waiting=4)), Difference.NUMBERS),
        (status(desired=4), Difference.DECISION),
        (status(reason=Reason.BUSY_FLOOR), Difference.DECISION),
        (status(conditions="False"), Difference.DECISION),
        (status().model_copy(update={"observed_generation": 2}), Difference.DECISION),
        (status().model_copy(update={"ready_replicas": 2}), Difference.NUMBERS),
    ],
)
def test_how_urgent_a_write_is(after: api.QueueWorkerStatus, expected: Difference):
    assert difference(status(), after) is expected


def test_the_first_status_is_urgent():
    assert difference(None, status()) is Difference.DECISION


def test_time_alone_is_worth_no_write():
    peaks = [api.Recommendation(time=at(0), replicas=3)]
    before = status(memory=api.Memory(recommendations=peaks, idle_since=at(0)))
    later = [peak.model_copy(update={"time": peak.time + timedelta(seconds=9)}) for peak in peaks]
    after = status(memory=api.Memory(recommendations=later, idle_since=at(5)))
    assert difference(before, after) is Difference.NONE


@pytest.mark.parametrize(
    "read", [queue(), queue(waiting=5, paused=True), queue(exists=False), queue(waiting=9, active=9)]
)
def test_a_constant_world_costs_no_status_write(read):
    ticker = Ticker(spec(min_replicas=1, window=10, cooldown_seconds=10), replicas=1)
    ticker.run(read, seconds=60)
    before = status_of(ticker.decisions[-1])
    for _ in range(300):
        assert difference(before, status_of(ticker.tick(read), previous=before.scaling)) is Difference.NONE
