"""What holds for the rates whatever was read, in whatever order, by whatever clock."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rates_world import NOON, Course, details, pod, snapshot, workers

from queueworker.details import ActiveJob, FinishedJob, QueueDetails
from queueworker.workers import JobStatistics, WorkerRecord
from queueworker_operator.scaling.observation import Pod, QueueObservation, WorkersObservation
from queueworker_operator.scaling.rates import (
    learn,
    learn_starts,
    rates,
    remember_service,
    remember_starts,
    restore_service,
    restore_starts,
    start_up,
)
from queueworker_operator.scaling.rates.learning import Learning
from queueworker_operator.scaling.rates.measured import QueueRates
from queueworker_operator.scaling.rates.quantiles import quantile_seconds
from queueworker_operator.scaling.rates.starts import Start, Starts
from queueworker_operator.scaling.rates.window import MAX_SAMPLES

CALM = settings(max_examples=30)
"""Other work on the machine must not fail a test: no deadline for an example."""
PODS = ("pod-0", "pod-1", "pod-2")
names = st.sampled_from(["mail", "video", "", "(other)", "x" * 200, "\ud800"])
owners = st.sampled_from([None, *PODS, "0b5e-uuid"])
few = st.integers(0, 40)
counts = st.one_of(few, st.integers(0, 5_000_000))
counters = st.one_of(st.none(), counts)
times_ms = st.one_of(st.integers(-(10**7), 10**7).map(lambda off: int(NOON * 1000) + off), st.integers(0, 2**53))
looked_at = st.dictionaries(names, few, max_size=4)
active_jobs = st.builds(
    ActiveJob, name=names, owner=owners, locked=st.booleans(), started_ms=st.none() | times_ms, stalled_count=few
)
finished_jobs = st.builds(FinishedJob, name=names, processed_ms=times_ms, finished_ms=times_ms)
statistics = st.builds(
    JobStatistics,
    names,
    st.integers(-1, 10**20),
    st.integers(-1, 10**20),
    st.dictionaries(st.integers(0, 5_000), st.integers(-1, 10**20), max_size=5),
)
records = st.builds(WorkerRecord, owners.map(str), few, st.integers(0, 30_000), st.none() | few, st.none() | few)
jumps = st.one_of(st.floats(0, 3), st.floats(0, 120), st.floats(-10_000, 10_000))


@st.composite
def some_details(draw: st.DrawFn, at: float) -> QueueDetails:
    active = tuple(draw(st.lists(active_jobs, max_size=6)))
    return details(
        at=at,
        active=active,
        active_total=draw(few),
        next_names=draw(looked_at),
        last_names=draw(looked_at),
        finished=tuple(draw(st.lists(finished_jobs, max_size=5))),
        statistics=tuple(draw(st.lists(statistics, max_size=4, unique_by=lambda one: one.name))),
        workers=tuple(draw(st.lists(records, max_size=4))),
    )


@st.composite
def some_pods(draw: st.DrawFn) -> tuple[Pod, ...]:
    moments = st.none() | st.floats(NOON - 100_000, NOON + 10_000)
    return tuple(
        pod(
            name,
            ready=draw(st.booleans()),
            terminating=draw(st.booleans()),
            scheduled_at=draw(moments),
            ready_at=draw(moments),
        )
        for name in draw(st.lists(st.sampled_from(PODS), unique=True))
    )


@st.composite
def some_workers(draw: st.DrawFn) -> WorkersObservation:
    replicas = draw(st.integers(0, 6))
    return workers(replicas, ready=draw(st.integers(0, replicas)), pods=draw(st.none() | some_pods()))


@st.composite
def looks(draw: st.DrawFn) -> tuple[QueueObservation, WorkersObservation, float]:
    """One look, some time from noon by two clocks that need not agree."""
    ours, theirs = draw(jumps), draw(jumps)
    read = None
    if draw(st.integers(0, 9)):
        read = snapshot(
            at=NOON + theirs,
            waiting=draw(counts),
            delayed_due=draw(few),
            active=draw(counts),
            completed_count=draw(counters),
            failed_count=draw(counters),
        )
    seen = draw(st.none() | some_details(NOON + draw(jumps)))
    shared = ("other",) if draw(st.integers(0, 4)) == 0 else ()
    queue = QueueObservation(
        name="killmail", concurrency=draw(st.integers(1, 50)), snapshot=read, details=seen, shared_with=shared
    )
    return queue, draw(some_workers()), NOON + ours


sequences = st.lists(looks(), min_size=1, max_size=8)
expectations = st.none() | st.floats(0, 10**6)


def finite(*numbers: float | None) -> bool:
    return all(number is None or (math.isfinite(number) and number >= 0) for number in numbers)


def check(learning: Learning, known: QueueRates, queue: QueueObservation) -> None:
    assert finite(known.arrivals_per_second, known.completions_per_second, known.failures_per_second)
    assert finite(known.service_seconds, known.service_p95_seconds, known.service_p99_seconds)
    assert known.service_seconds is None or known.service_seconds >= 0.001
    assert (known.service_seconds is None) == (known.service_source is None) == (known.service_p95_seconds is None)
    assert known.slots >= 1
    active = queue.snapshot.active if queue.snapshot is not None else 0
    assert 0 <= known.active <= active
    assert known.orphans >= 0
    assert known.unattributed >= 0
    assert len(learning.samples) <= MAX_SAMPLES
    assert len(learning.names) <= 128
    assert [one.at_ms for one in learning.samples] == sorted({one.at_ms for one in learning.samples})
    assert finite(*(time.seconds for time in learning.names.values()))


@CALM
@given(sequences, expectations)
def test_whatever_is_read_the_rates_are_finite_and_what_is_kept_is_bounded(sequence, expected):
    learning = None
    for queue, pods, now in sequence:
        learning = learn(learning, queue, pods, now)
        check(learning, rates(learning, queue, pods, now, expected_seconds=expected), queue)


@CALM
@given(sequences)
def test_the_same_reading_twice_teaches_nothing_more(sequence):
    learning = None
    for queue, pods, now in sequence:
        learning = learn(learning, queue, pods, now)
        assert learn(learning, queue, pods, now) == learning
        assert learn(learning, queue, pods, now + 5) == learning


@CALM
@given(sequences)
def test_a_restart_keeps_what_was_learned_to_the_millisecond(sequence):
    learning = None
    for queue, pods, _ in sequence:
        learning = learn(learning, queue, pods, NOON)
    saved = remember_service({"killmail": learning})
    assert len(saved) <= 128
    restored = restore_service(saved, now=NOON, queues=["killmail"]).get("killmail", Learning())
    named = {name: time for name, time in learning.names.items() if name}
    assert restored.names.keys() == set(list(named)[: 128 - (learning.overall is not None)])
    for name, time in restored.names.items():
        assert time.seconds == pytest.approx(named[name].seconds, abs=0.000_51, rel=1e-9)
    assert (restored.overall is None) == (learning.overall is None)


@st.composite
def traffic(draw: st.DrawFn) -> list[tuple[float, int, int, int]]:
    """Seconds, jobs that come, that end and that fail between readings; none is taken away in another way."""
    quiet = st.just((0, 0, 0))
    busy = st.tuples(few, few, few)
    return [(draw(st.floats(0.01, 40)), *draw(quiet | busy)) for _ in range(draw(st.integers(1, 40)))]


@CALM
@given(traffic())
def test_arrivals_are_zero_exactly_where_none_came_within_the_window(course_of_events):
    course = Course()
    waiting, completed, failed = 10_000, 0, 0
    course.look(waiting=waiting, completed_count=0, failed_count=0)
    came_at = [(course.learning.samples[0].at_ms, 0)]
    for seconds, come, end, fail in course_of_events:
        waiting, completed, failed = waiting + come - end - fail, completed + end, failed + fail
        known = course.look(seconds, waiting=waiting, completed_count=completed, failed_count=failed)
        came_at.append((course.learning.read_ms, come))
        if known.arrivals_per_second is not None:
            base = course.learning.samples[0].at_ms
            came = sum(come for at_ms, come in came_at if at_ms > base)
            assert (known.arrivals_per_second == 0) == (came == 0)
            span = (course.learning.read_ms - base) / 1000
            assert span <= 60 + 60 / 24 + 40, "the window ends with it, but for one step and one gap"


@CALM
@given(traffic(), st.integers(3, 40))
def test_a_window_that_lasts_forgets_all_arrivals(course_of_events, readings):
    course = Course()
    waiting = 0
    course.look(waiting=waiting, completed_count=0)
    for seconds, come, _, _ in course_of_events:
        waiting += come
        course.look(seconds, waiting=waiting, completed_count=0)
    for _ in range(readings):
        known = course.look(125 / readings, waiting=waiting, completed_count=0)
    assert known.arrivals_per_second == 0


@CALM
@given(st.lists(some_pods() | st.none(), min_size=1, max_size=10), st.lists(st.floats(0, 3_600), max_size=30))
def test_starts_are_bounded_and_survive_a_restart(lists, seconds):
    starts = Starts(known=tuple(Start(at=NOON - 100, seconds=one) for one in seconds[:20]))
    for pods in lists:
        starts = learn_starts(starts, pods, NOON)
        assert learn_starts(starts, pods, NOON) == starts
        known = start_up(starts, pods, NOON)
        assert 1 <= known.seconds <= known.longest_seconds <= 300
        assert len(starts.known) <= 20
        assert {name for name, _ in starts.counted} <= set(PODS)
        assert pods is None or starts.counted <= {(one.name, one.created_at) for one in pods}
    dated = replace(starts, known=tuple(start for start in starts.known if NOON - 86_000 < start.at <= NOON))
    restored = restore_starts(remember_starts(dated), NOON)
    assert [start.seconds for start in restored.known] == [round(start.seconds) for start in dated.known]


@CALM
@given(
    st.dictionaries(st.integers(0, 40), st.floats(0, 10**9), max_size=8), st.floats(0.01, 0.99), st.floats(0.01, 0.99)
)
def test_a_higher_quantile_is_not_lower(histogram, one, other):
    low, high = (quantile_seconds(histogram, quantile) for quantile in sorted((one, other)))
    assert (low is None) == (high is None)
    assert low is None or low <= high
