"""What holds for every decision, whatever was observed, asked for and remembered."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scaling_world import NOON, Ticker, pod, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Change, History, Recommendation, ScaleEvent
from queueworker_operator.scaling.history import MAX_CHANGES
from queueworker_operator.scaling.observation import Observation, Ownership, Pod, Problem, QueueObservation
from queueworker_operator.scaling.overrides import Overrides

CALM = settings(max_examples=40)
"""Other work on the machine must not fail a test: no deadline for an example."""
NAMES = ("killmail", "character", "price")
counts = st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 5_000_000))
moments = st.one_of(st.none(), st.floats(NOON - 10_000, NOON + 10_000))
numbers = st.integers(0, 40)
CRASH = Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod w-0: CrashLoopBackOff")
QUOTA = Problem(reason=ConditionReason.QUOTA_EXCEEDED, message="exceeded quota")
FELL = (Change(at=NOON - 60, before=9, after=5, reason=Reason.KEEP_UP, backlog=0),)
ROSE = (Change(at=NOON - 60, before=5, after=9, reason=Reason.KEEP_UP, backlog=0),)
MOVING = frozenset(
    {
        Reason.AT_MAXIMUM,
        Reason.STABILIZING_SCALE_DOWN,
        Reason.COOLING_DOWN,
        Reason.CONFIRMING_SCALE_DOWN,
        Reason.BUSY_FLOOR,
        Reason.WITHIN_TOLERANCE,
        Reason.SCALE_UP_RATE_LIMITED,
        Reason.SCALE_DOWN_RATE_LIMITED,
        Reason.ROLLOUT_IN_PROGRESS,
        Reason.RETRY_STORM,
        Reason.LIMITED_BY_SLOTS,
        Reason.LIMITED_BY_GLOBAL_CONCURRENCY,
        Reason.LIMITED_BY_RATE_LIMIT,
        Reason.THROUGHPUT_LIMITED,
    }
)
"""Reasons that some limit must have given."""
behaviors = st.fixed_dictionaries(
    {
        "select_policy": st.sampled_from(["Max", "Max", "Min", "Disabled"]),
        "tolerance_percent": st.sampled_from([0, 10, 100]),
        "policies": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Pods", "Percent"]),
                    "value": st.integers(1, 200),
                    "period_seconds": st.integers(1, 120),
                }
            ),
            max_size=2,
        ),
    }
)


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
        global_concurrency=draw(st.one_of(st.none(), st.integers(1, 200))),
        rate_limit_max=draw(st.one_of(st.none(), st.integers(1, 500))),
        rate_limit_duration_ms=1000,
        oldest_ready_ms=draw(st.one_of(st.none(), st.integers(0, int(NOON * 1000) + 5000))),
        completed_count=draw(st.one_of(st.none(), counts)),
        failed_count=draw(st.one_of(st.none(), counts)),
        next_scheduler_ms=draw(st.one_of(st.none(), st.integers(0, 2**41))),
        horizon_ms=draw(st.sampled_from([0, 3000, 32_000, 302_000])),
        delayed_due_quarter=due,
        delayed_due_half=due,
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    names = NAMES[: draw(st.integers(1, 3))]
    queues = [draw(st.one_of(read_queues(name), st.just(unreadable(name=name)))) for name in names]
    replicas = draw(numbers)
    look = workers(
        replicas,
        ready=draw(st.integers(0, replicas)),
        ownership=draw(st.sampled_from(Ownership)),
        rollout_complete=draw(st.sampled_from([True, True, False, None])),
        pod_problem=draw(st.sampled_from([None, None, CRASH])),
        rollout_problem=draw(st.sampled_from([None, None, CRASH, QUOTA])),
        ordinal=draw(st.booleans()),
        pods=draw(st.one_of(st.none(), pod_lists())),
    )
    return seen(*queues, workers_=look)


@st.composite
def pod_lists(draw: st.DrawFn) -> tuple[Pod, ...]:
    return tuple(
        pod(
            f"w-{number}",
            ready=draw(st.booleans()),
            age=draw(st.floats(0, 2000)),
            terminating=draw(st.booleans()),
            problem=draw(st.sampled_from([None, CRASH])),
            deletion_cost=draw(st.sampled_from([None, -100, 5])),
        )
        for number in range(draw(st.integers(0, 12)))
    )


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
        expected_ms=draw(st.sampled_from([None, 1, 500, 60_000, 3_600_000])),
        max_wait=draw(st.sampled_from([1, 30, 3600])),
        scale_up=draw(behaviors),
        scale_down=draw(behaviors),
        throughput_limit=draw(st.sampled_from([None, {"jobs": 100, "period_seconds": 60}])),
        when_queue_paused=draw(st.sampled_from(["ScaleDown", "Hold"])),
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
        lows=tuple(sorted(peaks, key=lambda peak: peak.at)),
        scale_events=tuple(
            draw(st.lists(st.builds(ScaleEvent, at=st.floats(NOON - 200, NOON + 9), change=st.integers(-9, 9))))
        ),
        lost_since=draw(moments),
        storm_since=draw(moments),
        last_growth_at=draw(moments),
        last_growth_completions=draw(st.sampled_from([None, 0.0, 5.0])),
        last_scale_at=draw(moments),
        changes=draw(st.sampled_from([(), FELL, ROSE])),
    )


def before(look: Observation, done: int) -> Observation:
    """Return what may have been seen a minute ago, when so many jobs had yet to end: with it, arrivals are known."""
    return replace(look, queues=tuple(_before(q, done) for q in look.queues))


def _before(then: QueueObservation, done: int) -> QueueObservation:
    now = then.snapshot
    if now is None or now.completed_count is None:
        return then
    ended = max(0, now.completed_count - done)
    return replace(then, snapshot=replace(now, now_ms=now.now_ms - 60_000, completed_count=ended, waiting=0))


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
    fewer = replace(chosen, snapshot=replace(chosen.snapshot, exists=True))
    assert fewer.snapshot is not None
    kind = data.draw(st.sampled_from(["waiting", "prioritized", "delayed_due"]))
    more = {kind: getattr(fewer.snapshot, kind) + data.draw(st.integers(1, 1000))}
    if kind == "delayed_due":
        more["delayed_due_soon"] = fewer.snapshot.delayed_due_soon + more[kind] - fewer.snapshot.delayed_due
    after = replace(fewer, snapshot=replace(fewer.snapshot, **more))
    if data.draw(st.booleans()):
        earlier = decide(before(look, data.draw(st.integers(0, 5000))), wish, history, NOON - 60).history
        history = replace(history, learned=earlier.learned)
    less_, more_ = (
        decide(replace(look, queues=tuple(q if s is chosen else s for s in look.queues)), wish, history, NOON)
        for q in (fewer, after)
    )
    assert more_.desired >= less_.desired


@settings(CALM, max_examples=100)
@given(
    st.integers(0, 1000),
    st.integers(1, 1000),
    st.integers(0, 40),
    st.sampled_from([None, 20, 500, 60_000]),
    st.sampled_from([(), FELL, ROSE]),
)
def test_more_backlog_of_one_queue_never_asks_for_fewer(
    waiting: int, more: int, replicas: int, milliseconds: int | None, changes: tuple[Change, ...]
):
    """Where nothing else holds the number, and nothing but a maximum out of reach limits it."""
    wish = spec(window=0, max_replicas=10_000, expected_ms=milliseconds)
    history = History(confirmed=True, changes=changes)
    few, many = (
        decide(seen(queue(waiting=jobs, active=2 * replicas), replicas=replicas), wish, history, NOON)
        for jobs in (waiting, waiting + more)
    )
    assert many.desired >= few.desired


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
    decision = decide(look, wish, history, NOON, overrides=Overrides(paused=annotation))
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
    assert not moved or moved[-1].after == decision.desired
    assert all(first.after == then.before for first, then in pairwise(moved))
    asked = {vote.replicas for vote in decision.votes} | {one.after for one in decision.limits if one.queue is not None}
    assert (moved[0].before if moved else decision.desired) in asked
    # A scale-in that the tolerance stops short of its end is made all the same, for the reason of its vote.
    telling = [one for one in moved if one.by is not Reason.WITHIN_TOLERANCE or one.after == decision.current]
    if telling and any(q.snapshot for q in look.queues):
        assert decision.reason is telling[-1].by
    elif decision.reason in (Reason.AT_MAXIMUM, Reason.BUSY_FLOOR):
        # Where no queue was read, what keeps them from it is told, but for what changes the number even then.
        assert moved[-1].by is decision.reason
    if decision.reason in MOVING:
        assert decision.reason in {limit.by for limit in decision.limits}
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


@settings(CALM, max_examples=12)
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


@settings(CALM, max_examples=100)
@given(st.integers(0, 300), st.integers(0, 30), st.sampled_from([0, 10, 30]))
def test_a_demand_that_stays_is_met_in_one_write(waiting: int, replicas: int, percent: int):
    """Whatever part of a pod it is: what the tolerance adds on the way down is not taken back by the next look."""
    down = {"tolerance_percent": percent}
    wish = spec(target=10, window=0, min_replicas=1, max_replicas=30, scale_down=down)
    ticker = Ticker(wish, replicas=replicas, history=History(confirmed=True))
    ticker.run(queue(waiting=waiting), seconds=5)
    assert len(ticker.writes) <= 1
    assert ticker.replicas >= waiting / 10


@settings(CALM, max_examples=20)
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
