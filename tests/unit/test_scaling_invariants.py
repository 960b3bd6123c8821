"""What holds for every decision, whatever was observed, asked for and remembered."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scaling_world import NOON, Ticker, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Change, History, Recommendation
from queueworker_operator.scaling.history import MAX_CHANGES
from queueworker_operator.scaling.observation import Observation, Ownership, QueueObservation
from queueworker_operator.scaling.stabilization import MAX_PEAKS, hold, record

CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Other work on the machine must not fail a test: no deadline for an example."""
NAMES = ("killmail", "character", "price")
counts = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 5_000_000))
moments = st.one_of(st.none(), st.floats(NOON - 10_000, NOON + 10_000))
numbers = st.integers(0, 40)


@st.composite
def read_queues(draw: st.DrawFn, name: str) -> QueueObservation:
    due, soon, delayed = sorted(draw(st.tuples(counts, counts, counts)))
    return queue(
        name=name,
        concurrency=draw(st.integers(1, 50)),
        exists=draw(st.booleans()),
        waiting=draw(counts),
        prioritized=draw(counts),
        delayed=delayed,
        delayed_due=due,
        delayed_due_soon=soon,
        next_delayed_ms=draw(st.one_of(st.none(), st.integers(0, 2**41))),
        active=draw(counts),
        paused=draw(st.booleans()),
        legacy_paused=draw(counts),
        rate_limited_for_ms=draw(st.sampled_from([0, 500])),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    names = NAMES[: draw(st.integers(1, 3))]
    queues = [draw(st.one_of(read_queues(name), st.just(unreadable(name=name)))) for name in names]
    replicas = draw(numbers)
    look = workers(replicas, ready=draw(st.integers(0, replicas)))
    return seen(*queues, workers_=replace(look, ownership=draw(st.sampled_from(Ownership))))


@st.composite
def specs(draw: st.DrawFn) -> QueueWorkerSpec:
    low, high = sorted(draw(st.tuples(st.integers(0, 30), st.integers(1, 30))))
    return spec(
        queues=dict.fromkeys(NAMES, 10),
        min_replicas=low,
        max_replicas=max(1, high),
        target=draw(st.one_of(st.none(), st.integers(1, 500))),
        window=draw(st.sampled_from([0, 1, 120, 3600])),
        cooldown_seconds=draw(st.sampled_from([0, 60, 600])),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    peaks = draw(
        st.lists(st.builds(Recommendation, at=st.floats(NOON - 4000, NOON + 4000), replicas=numbers), max_size=9)
    )
    return History(
        recommendations=tuple(sorted(peaks, key=lambda peak: peak.at)),
        idle_since=draw(moments),
        desired=draw(st.one_of(st.none(), numbers)),
        reason=draw(st.one_of(st.none(), st.sampled_from(Reason))),
        seen_queues=draw(st.frozensets(st.sampled_from(NAMES))),
        missing_queues=draw(st.frozensets(st.sampled_from(NAMES))),
        missing_since=draw(moments),
        unknown_since=draw(moments),
        not_consuming_since=draw(moments),
        confirmed=draw(st.booleans()),
    )


@CALM
@given(observations(), specs(), histories())
def test_the_number_lies_within_its_bounds(look: Observation, wish: QueueWorkerSpec, history: History):
    assert wish.autoscaling is not None
    decision = decide(look, wish, history, NOON)
    assert 0 <= decision.desired <= wish.autoscaling.max_replicas
    if any(q.snapshot for q in look.queues):
        assert decision.desired >= wish.autoscaling.min_replicas


@CALM
@given(observations(), specs(), histories())
def test_unknown_lowers_nothing_but_to_the_maximum(look: Observation, wish: QueueWorkerSpec, history: History):
    assume(any(q.snapshot is None for q in look.queues))
    assert wish.autoscaling is not None
    decision = decide(look, wish, history, NOON)
    assert decision.desired >= min(decision.current, wish.autoscaling.max_replicas)
    if all(q.snapshot is None for q in look.queues):
        assert decision.desired == min(decision.current, wish.autoscaling.max_replicas)


@CALM
@given(observations(), specs(), histories(), st.data())
def test_more_backlog_never_asks_for_fewer(
    look: Observation, wish: QueueWorkerSpec, history: History, data: st.DataObject
):
    chosen = data.draw(st.sampled_from(look.queues))
    assume(chosen.snapshot is not None)
    assert chosen.snapshot is not None
    # A queue without `meta` is unused or missing until a job proves it: that is another queue, not more of the same.
    before = replace(chosen, snapshot=replace(chosen.snapshot, exists=True))
    assert before.snapshot is not None
    kind = data.draw(st.sampled_from(["waiting", "prioritized", "delayed_due"]))
    more = {kind: getattr(before.snapshot, kind) + data.draw(st.integers(1, 1000))}
    if kind == "delayed_due":
        more["delayed_due_soon"] = before.snapshot.delayed_due_soon + more[kind] - before.snapshot.delayed_due
    after = replace(before, snapshot=replace(before.snapshot, **more))
    less_, more_ = (
        decide(replace(look, queues=tuple(q if s is chosen else s for s in look.queues)), wish, history, NOON)
        for q in (before, after)
    )
    assert more_.desired >= less_.desired


@CALM
@given(observations(), specs(), histories(), st.booleans())
def test_paused_by_the_user_writes_nothing(
    look: Observation, wish: QueueWorkerSpec, history: History, annotation: bool
):
    assert wish.autoscaling is not None
    free = decide(look, wish, history, NOON)
    if not annotation:
        scaling = wish.autoscaling.model_copy(update={"paused": True})
        wish = wish.model_copy(update={"autoscaling": scaling})
    decision = decide(look, wish, history, NOON, paused_by_annotation=annotation)
    assert (decision.write, decision.reason) == (False, Reason.PAUSED_BY_USER)
    assert decision.desired == free.desired
    assert decision.history.changes == history.changes
    assert decision.history.desired == decision.current


@CALM
@given(observations(), specs(), histories())
def test_a_paused_queue_raises_nothing(look: Observation, wish: QueueWorkerSpec, history: History):
    assert wish.autoscaling is not None
    all_paused = tuple(
        replace(q, snapshot=replace(q.snapshot, paused=True, exists=True)) for q in look.queues if q.snapshot
    )
    assume(all_paused)
    decision = decide(replace(look, queues=all_paused), wish, history, NOON)
    assert decision.desired <= max(decision.current, wish.autoscaling.min_replicas)


@CALM
@given(observations(), specs(), histories())
def test_reason_and_trace_agree(look: Observation, wish: QueueWorkerSpec, history: History):
    decision = decide(look, wish, history, NOON)
    assert decision.message
    assert len(decision.message) <= 1024
    moved = [limit for limit in decision.limits if limit.queue is None]
    if decision.reason in {
        Reason.AT_MAXIMUM,
        Reason.STABILIZING_SCALE_DOWN,
        Reason.COOLING_DOWN,
        Reason.CONFIRMING_SCALE_DOWN,
        Reason.BUSY_FLOOR,
    }:
        assert moved[-1].by is decision.reason
        assert moved[-1].after == decision.desired
    if decision.recheck_at is not None:
        assert decision.recheck_at > NOON


@CALM
@given(observations(), specs(), histories())
def test_the_same_inputs_decide_the_same(look: Observation, wish: QueueWorkerSpec, history: History):
    assert decide(look, wish, history, NOON) == decide(look, wish, history, NOON)


@CALM
@given(observations(), specs(), histories())
def test_the_history_is_the_sequence_of_writes(look: Observation, wish: QueueWorkerSpec, history: History):
    decision = decide(look, wish, history, NOON)
    if decision.write and decision.desired != decision.current:
        newest = decision.history.changes[0]
        assert (newest.before, newest.after, newest.at) == (decision.current, decision.desired, NOON)
        assert decision.history.last_scale_at == NOON
    else:
        assert decision.history.changes == history.changes
        assert decision.history.last_scale_at == history.last_scale_at


@CALM
@given(st.lists(st.tuples(st.floats(0, 30), numbers), min_size=1, max_size=300), st.sampled_from([1.0, 20.0, 300.0]))
def test_the_window_is_bounded_and_holds_every_peak(steps: list[tuple[float, int]], window: float):
    peaks: tuple[Recommendation, ...] = ()
    now, all_of_them = 0.0, []
    for gap, replicas in steps:
        now += gap
        peaks = record(peaks, replicas=replicas, current=0, now=now, window=window)
        all_of_them.append((now, replicas))
        assert len(peaks) <= MAX_PEAKS
        assert max(p.replicas for p in peaks) >= max(n for at, n in all_of_them if now < at + window)
        assert all(older.replicas > newer.replicas for older, newer in pairwise(peaks))


def test_a_long_fall_keeps_few_peaks_and_ends_none_much_late():
    peaks: tuple[Recommendation, ...] = ()
    for second in range(10_000):
        now, window = NOON + second, 3600.0
        peaks = record(peaks, replicas=20_000 - second, current=20_000, now=now, window=window)
        assert len(peaks) <= MAX_PEAKS
        exact = 20_000 - max(0, second - 3598)
        assert exact <= hold(peaks, current=20_000, window=window).replicas <= exact + 3600 / 48 + 1
    assert peaks[-1] == Recommendation(at=NOON + 9999, replicas=10_001)


@settings(CALM, max_examples=30)
@given(observations(), specs(), st.integers(0, 20))
def test_constant_inputs_end_the_writes(look: Observation, wish: QueueWorkerSpec, replicas: int):
    """Eventually: beyond window, cooldown and the hour of a missing queue no number and no reason changes any more."""
    ticker = Ticker(wish, replicas=replicas)
    for _ in range(40):
        ticker.tick(*look.queues)
    for _ in range(4):
        ticker.tick(*look.queues, seconds=3601)
    ticker.run(*look.queues, seconds=3)
    settled = ticker.decisions[-1]
    before = len(ticker.writes)
    ticker.run(*look.queues, seconds=60)
    assert len(ticker.writes) == before
    assert {(d.desired, d.reason) for d in ticker.decisions[-60:]} == {(settled.desired, settled.reason)}


@settings(CALM, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 400), st.integers(0, 60)), min_size=1, max_size=12),
    st.sampled_from([0, 5, 30]),
    st.sampled_from([0, 5, 30]),
    st.data(),
)
def test_never_zero_before_cooldown_and_window_and_never_below_the_window(
    phases: list[tuple[int, int, int]], window: int, cooldown: int, data: st.DataObject
):
    """Also: at most one write a tick, and none that lowers while the peak of the window is higher."""
    ticker = Ticker(spec(window=window, cooldown_seconds=cooldown))
    idle_since: float | None = None
    asked: list[tuple[float, int]] = []
    for seconds, waiting, active in phases:
        for _ in range(seconds):
            failed = data.draw(st.sampled_from([False] * 19 + [True]))
            before = ticker.replicas
            decision = ticker.tick(unreadable() if failed else queue(waiting=waiting, active=active))
            if failed:
                assert decision.desired == before
                continue
            idle_since = (idle_since or ticker.now) if waiting + active == 0 else None
            asked.append((ticker.now, -(-waiting // 20)))
            if decision.desired < before:
                recent = max((n for at, n in asked if ticker.now < at + window), default=0)
                assert decision.desired >= min(recent, 20)
            if decision.desired == 0 < before:
                assert idle_since is not None
                assert ticker.now >= idle_since + max(window, cooldown)


def test_changes_are_bounded():
    old = tuple(
        Change(at=NOON - i, before=0, after=1, reason=Reason.BACKLOG_ABOVE_TARGET, backlog=1)
        for i in range(MAX_CHANGES)
    )
    decision = decide(seen(queue(waiting=90), replicas=1), spec(), History(changes=old), NOON)
    assert len(decision.history.changes) == MAX_CHANGES
    assert decision.history.changes[1:] == old[:-1]
