"""The decision in the status: what it shows, what a restart finds again, and when it is worth a write."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_world import CONFIRMED, NOON, Ticker, queue, seen, spec, unreadable

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason, ConditionType
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Change, History, Limit, Recommendation, ScaleEvent
from queueworker_operator.scaling.history import restore, to_memory, unwritten
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.rates.learning import Learning, NameTime
from queueworker_operator.scaling.rates.measured import QueueRates, ServiceSource
from queueworker_operator.scaling.rates.starts import Start, Starts, StartUp
from queueworker_operator.scaling.record import Difference, difference, scaling_status
from queueworker_operator.scaling.rounding import coarse_age, milliseconds, per_minute, two_digits

seconds = st.integers(0, 3000).map(lambda ago: NOON - ago)


def at(offset: float) -> datetime:
    return datetime.fromtimestamp(NOON + offset, UTC)


def status_of(decision, *, previous: api.Scaling | None = None) -> api.QueueWorkerStatus:
    """Return the status as the cluster gives it back: through JSON."""
    scaling = scaling_status(decision, previous=previous)
    text = api.QueueWorkerStatus(scaling=scaling).model_dump_json(by_alias=True, exclude_none=True)
    return api.QueueWorkerStatus.model_validate_json(text)


@st.composite
def times_of_jobs(draw: st.DrawFn, source: ServiceSource) -> NameTime:
    milliseconds, p95 = draw(st.integers(1, 10**9)), draw(st.none() | st.integers(1, 10**9))
    return NameTime(
        at=draw(seconds), seconds=milliseconds / 1000, p95_seconds=None if p95 is None else p95 / 1000, source=source
    )


learnings = st.builds(
    Learning,
    names=st.dictionaries(
        st.sampled_from(["mail", "video"]), times_of_jobs(ServiceSource.REMEMBERED), min_size=1, max_size=2
    ),
    overall=st.none() | times_of_jobs(ServiceSource.COUNTERS),
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    times = sorted(draw(st.sets(seconds, max_size=6)))
    numbers = sorted(draw(st.sets(st.integers(0, 99), min_size=len(times), max_size=len(times))), reverse=True)
    missing = draw(st.frozensets(st.sampled_from("ab")))
    moves = draw(st.sets(st.integers(0, 1799).map(lambda ago: NOON - ago), max_size=4))
    return History(
        unknown_since=draw(st.none() | seconds),
        lost_since=draw(st.none() | seconds),
        learned=draw(st.dictionaries(st.sampled_from("abc"), learnings)),
        starts=Starts(known=tuple(Start(at=t, seconds=float(n + 1)) for t, n in zip(times, numbers, strict=True))),
        scale_events=tuple(ScaleEvent(at=t, change=draw(st.integers(-99, 99))) for t in sorted(moves)),
        recommendations=tuple(Recommendation(at=t, replicas=n) for t, n in zip(times, numbers, strict=True)),
        lows=tuple(Recommendation(at=t, replicas=n) for t, n in zip(times, reversed(numbers), strict=True)),
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


@settings(max_examples=50)
@given(histories())
def test_a_restart_finds_again_what_was_remembered(history: History):
    decision = replace(decide(seen(queue()), spec(), CONFIRMED, NOON), history=history, reason=Reason.AT_MINIMUM)
    assert restore(status_of(decision), NOON, queues="abc") == history


@settings(max_examples=30)
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
        low_recommendations=[
            api.Recommendation(time=at(-10), replicas=7),
            api.Recommendation(time=at(+999), replicas=0),
            api.Recommendation(time=at(-20), replicas=2),
            api.Recommendation(time=at(-30), replicas=5),
            api.Recommendation(time=at(-400), replicas=1),
        ],
        idle_since=at(+60),
        seen_queues=["gone", "killmail"],
        missing_queues=["gone"],
        missing_since=at(+60),
        not_consuming_since=at(+60),
        unknown_since=at(+60),
        lost_since=at(+60),
        service_times=[
            api.ServiceTime(queue="killmail", name="mail", milliseconds=400, time=at(-3600)),
            api.ServiceTime(queue="killmail", name="old", milliseconds=400, time=at(-90_000)),
            api.ServiceTime(queue="killmail", name="future", milliseconds=400, time=at(+60)),
            api.ServiceTime(queue="gone", name="mail", milliseconds=400, time=at(-1)),
        ],
        starts=[api.Start(time=at(+60), seconds=1), api.Start(time=at(-1), seconds=7)],
        scale_events=[
            api.ScaleEvent(time=at(+60), change=1),
            api.ScaleEvent(time=at(-10), change=2),
            api.ScaleEvent(time=at(-1801), change=3),
        ],
    )
    scaling = api.Scaling(
        desired=3,
        reason=Reason.AT_MINIMUM,
        message="",
        memory=memory,
        last_scale_time=at(+60),
        history=[api.Change(time=at(+60), from_=1, to=2, reason=Reason.AT_MINIMUM)],
    )
    saved = api.QueueWorkerStatus(scaling=scaling)
    history = restore(saved, NOON, window=120, scale_up_window=300, queues=["killmail"])
    assert [(peak.at - NOON, peak.replicas) for peak in history.recommendations] == [(-20, 7), (-15, 3), (-10, 1)]
    assert [(low.at - NOON, low.replicas) for low in history.lows] == [(-20, 2), (-10, 7)]
    assert (history.idle_since, history.not_consuming_since, history.last_scale_at) == (None, None, None)
    assert (history.unknown_since, history.lost_since) == (None, None)
    assert {queue: list(learned.names) for queue, learned in history.learned.items()} == {"killmail": ["mail"]}
    assert [one.seconds for one in history.starts.known] == [7]
    assert [event.change for event in history.scale_events] == [2]
    assert (history.seen_queues, history.missing_queues, history.changes) == (frozenset({"killmail"}), frozenset(), ())


def test_a_restart_in_the_window_goes_on_where_it_was():
    ticker = Ticker(spec(window=120, min_replicas=1, target=20), history=CONFIRMED)
    ticker.run(queue(waiting=200), seconds=5)
    ticker.run(queue(waiting=20), seconds=60)
    ends = ticker.decisions[-1].recheck_at
    assert ends is not None
    ticker.history = restore(status_of(ticker.decisions[-1]), ticker.now + 30, window=120)
    ticker.now += 29
    ticker.run(queue(waiting=20), seconds=40)
    assert (ticker.replicas, ticker.writes[-1][0]) == (1, ends)


def test_a_restart_in_the_window_of_the_way_up_goes_on_where_it_was():
    """A window that began anew at each restart would never let the number grow where restarts come sooner."""
    wish = spec(target=20, scale_up={"stabilization_window_seconds": 300})
    ticker = Ticker(wish, replicas=2, history=CONFIRMED)
    ticker.run(queue(waiting=40), seconds=5)
    ticker.run(queue(waiting=200), seconds=60)
    ends = ticker.decisions[-1].limits[-1].until
    assert ends is not None
    for _ in range(9):
        decided = ticker.run(queue(waiting=200), seconds=20)
        ticker.history = restore(status_of(decided), ticker.now + 5, window=120, scale_up_window=300)
        ticker.now += 5
    assert ticker.writes == []
    ticker.run(queue(waiting=200), seconds=60)
    [(grown_at, before, after)] = ticker.writes
    assert (before, after) == (2, 10)
    assert 0 <= grown_at - ends <= 5 + 1


def test_lows_of_before_a_long_outage_let_nothing_grow_at_once():
    wish = spec(target=20, scale_up={"stabilization_window_seconds": 300})
    ticker = Ticker(wish, replicas=2, history=CONFIRMED)
    decided = ticker.run(queue(waiting=200), seconds=60)
    ticker.now += 3600
    ticker.history = restore(status_of(decided), ticker.now, window=120, scale_up_window=300)
    assert ticker.tick(queue(waiting=200)).desired == 2


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
        {"queue": "killmail", "rule": "feedback", "replicas": 1},
        {"rule": "minReplicas", "replicas": 0},
    ]
    assert shown["limits"] == [{"by": "AtMaximum", "from": 250, "to": 20}]
    assert shown["history"] == [
        {"time": "2026-01-01T12:00:00Z", "from": 1, "to": 20, "reason": "AtMaximum", "backlog": 5000}
    ]
    assert (shown["desired"], shown["inputs"]["oldestAgeSeconds"]) == (20, 3600)
    assert shown["lastScaleTime"] == shown["lastDecisionChangeTime"] == "2026-01-01T12:00:00Z"


def measured(look: Observation, *, milliseconds: float = 400.0, per_minute: float = 1234.0) -> api.Scaling:
    """Return the record of a look at which so much was measured."""
    rates = QueueRates(
        slots=10,
        active=7,
        service_seconds=milliseconds / 1000,
        service_source=ServiceSource.COUNTERS,
        arrivals_per_second=per_minute / 60,
    )
    decision = decide(look, spec(), CONFIRMED, NOON)
    inputs = replace(decision.inputs, rates={"killmail": rates}, start_up=StartUp(seconds=12.4, measured=3))
    return scaling_status(replace(decision, inputs=inputs), look)


def test_of_many_queues_the_record_keeps_what_decided():
    """With 32 queues there are more votes and limits than a status holds."""
    names = [f"queue-{number}" for number in range(32)]
    wish = spec(queues=dict.fromkeys(names, 1), target=1, expected_ms=1000, max_replicas=7)
    given = {"active": 1, "global_concurrency": 300, "rate_limit_max": 100, "rate_limit_duration_ms": 1000}
    soon = {"delayed": 5, "delayed_due_soon": 5}
    read = [queue(name=name, concurrency=1, waiting=500 + at, **given, **soon) for at, name in enumerate(names)]
    decision = decide(seen(*read, replicas=3), wish, CONFIRMED, NOON)
    assert (len(decision.votes) > 96, len(decision.limits) > 64) == (True, True)
    many = replace(decision, votes=(*decision.votes[:-1] * 2, decision.votes[-1]))
    shown = scaling_status(many)
    assert shown.votes is not None
    assert shown.limits is not None
    assert (len(shown.votes), len(shown.limits)) == (128, 64)
    assert shown.votes[-1].rule == "minReplicas"
    assert shown.limits[-1].by == Reason.AT_MAXIMUM
    assert max(vote.replicas for vote in shown.votes) == max(vote.replicas for vote in decision.votes)


def test_the_record_shows_what_was_measured_of_each_queue():
    look = seen(queue(waiting=12, active=9), unreadable(name="other"), replicas=1)
    shown = measured(look).model_dump(mode="json", by_alias=True, exclude_none=True)["inputs"]
    assert shown["queues"] == [
        {
            "name": "killmail",
            "backlog": 12,
            "active": 7,
            "slots": 10,
            "serviceMilliseconds": 400,
            "serviceSource": "counters",
            "arrivalsPerMinute": 1200,
        },
        {"name": "other"},
    ]
    assert shown["startUpSeconds"] == 12


def test_when_the_next_job_is_due_does_not_tremble_with_the_looks():
    due = int((NOON + 40) * 1000)
    look = seen(queue(delayed=1, next_delayed_ms=due + 5000, next_scheduler_ms=due), replicas=1)
    decision = decide(look, spec(), CONFIRMED, NOON)
    for late in (0.0, 0.7, 3.2):
        limit = Limit(by=Reason.NEXT_JOB_DUE, before=0, after=1, until=NOON + 40 + late)
        shown = scaling_status(replace(decision, limits=(limit,)), look).limits
        assert [one.until for one in shown or ()] == [at(40)]


def test_a_start_up_time_that_is_assumed_is_not_shown():
    assert scaling_status(decide(seen(queue()), spec(), CONFIRMED, NOON)).inputs.start_up_seconds is None


@given(st.floats(0.001, 1e6), st.floats(0, 0.004))
def test_noise_below_two_digits_is_mostly_not_seen(mean: float, noise: float):
    shown, trembling = (milliseconds(seconds) for seconds in (mean, mean * (1 + noise)))
    assert shown is not None
    assert trembling is not None
    assert trembling - shown <= max(1, 0.1 * shown)
    assert len(str(shown).rstrip("0")) <= 2


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, 0), (0.4, 0), (9.6, 10), (99.6, 100), (104, 100), (105, 110), (1234, 1200), (99_700, 10**5)],
)
def test_numbers_are_rounded_to_two_digits(number: float, shown: int):
    assert two_digits(number) == shown


@pytest.mark.parametrize(("rate", "shown"), [(None, None), (0.0, 0), (0.0001, 1), (0.2, 12), (100, 6000)])
def test_a_rate_is_zero_only_where_nothing_comes(rate: float | None, shown: int | None):
    assert per_minute(rate) == shown


def test_what_is_only_learned_is_worth_no_write():
    learned = {"killmail": Learning(names={"mail": NameTime(at=NOON, seconds=1, source=ServiceSource.FINISHED)})}
    history = History(learned=learned, starts=Starts(known=(Start(at=NOON, seconds=3),)), lost_since=NOON)
    before, after = status(memory=to_memory(History())), status(memory=to_memory(history))
    assert before != after
    assert difference(before, after) is Difference.NONE
    template = to_memory(history).model_copy(update={"applied_fields": "abc"})
    assert difference(before, status(memory=template)) is Difference.NUMBERS


@pytest.mark.parametrize(
    ("age", "shown"),
    [(0, 0), (0.9, 0), (4.9, 2), (59, 30), (61, 60), (3599, 1800), (7199, 3600), (90_000, 86_400), (-5, 0)],
)
def test_ages_are_rounded_down_to_few_steps(age: float, shown: int):
    assert coarse_age(age) == shown


def test_an_hour_of_waiting_shows_few_ages():
    assert len({coarse_age(second) for second in range(3601)}) == 14


def status(
    *,
    conditions: Literal["True", "False"] = "True",
    why: ConditionReason = ConditionReason.ROLLED_OUT,
    **scaling: object,
) -> api.QueueWorkerStatus:
    given = {"desired": 3, "reason": Reason.AT_MINIMUM, "message": "why", **scaling}
    condition = api.Condition(
        type=ConditionType.READY,
        status=conditions,
        reason=why,
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


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (ConditionReason.PENDING, ConditionReason.WORKERS_NOT_READY, Difference.DECISION),
        (ConditionReason.WORKERS_NOT_READY, ConditionReason.PENDING, Difference.DECISION),
        (ConditionReason.ROLLING_OUT, ConditionReason.PENDING, Difference.NUMBERS),
    ],
)
def test_that_pods_fail_is_urgent_though_the_condition_was_false_before(
    before: ConditionReason, after: ConditionReason, expected: Difference
):
    assert difference(status(conditions="False", why=before), status(conditions="False", why=after)) is expected


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
