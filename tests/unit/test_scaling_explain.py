"""The decision in words: every vote and limit, and what `queueworker why` makes of the status alone."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scaling_world import CONFIRMED, NOON, queue, seen, spec, unreadable, workers

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1.autoscaling import Behavior, ScaleUp, Target
from queueworker_operator.scaling import explain
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, Limit, Recommendation, Vote
from queueworker_operator.scaling.explain.limits import Step
from queueworker_operator.scaling.explain.limits import phrase as limit_phrase
from queueworker_operator.scaling.observation import Observation, Problem, WorkersObservation
from queueworker_operator.scaling.rates.measured import QueueRates, ServiceSource
from queueworker_operator.scaling.rates.starts import StartUp
from queueworker_operator.scaling.record import scaling_status

RATES = QueueRates(
    slots=10,
    service_seconds=0.4,
    service_source=ServiceSource.STATISTICS,
    arrivals_per_second=20.0,
    active=60,
)


def decided(look: Observation, *, rates: QueueRates = RATES, **changes: Any) -> Decision:
    """Return a decision that says what the test wants it to say."""
    made = decide(look, spec(), CONFIRMED, NOON)
    given_ = {"desired": 6, "current": 6, "votes": (), "limits": (), "reason": Reason.AGE_ABOVE_TARGET, **changes}
    return replace(made, inputs=replace(made.inputs, rates={"killmail": rates}), **given_)


def vote(rule: str, replicas: int, *, of: str | None = "killmail") -> Vote:
    return Vote(rule=rule, replicas=replicas, reason=Reason.AGE_ABOVE_TARGET, queue=of)


BUSY = seen(queue(waiting=900, prioritized=250, delayed_due=30, active=60), replicas=6)


def test_the_sentence_of_the_design():
    history = replace(CONFIRMED, recommendations=(Recommendation(at=NOON, replicas=6),))
    held = Limit(by=Reason.STABILIZING_SCALE_DOWN, before=2, after=6, until=NOON + 571)
    decision = decided(BUSY, votes=(vote("maxWait", 6),), limits=(held,), history=history)
    assert explain.message(decision, BUSY, spec(window=300, min_replicas=1), NOON) == (
        "6 of 1-20 replicas: backlog 1180 (waiting 900, prioritized 250, due 30), a job takes 0.40 s on 10 slots, "
        "15 of 30 s left to wait needs 6; scale-down held until 12:09:31 (peak 6 in 300 s)."
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("keepUp", "20 jobs/s arrive, a job takes 0.40 s on 10 slots, keeping up needs 6"),
        ("backlogPerReplica", "backlog 1180 (waiting 900, prioritized 250, due 30) at 20 per replica needs 6"),
        (
            "lookAhead",
            "backlog 1180 (waiting 900, prioritized 250, due 30) and 0 due within 32 s, before a new pod would be "
            "ready, need 6",
        ),
        (
            "feedback",
            "backlog 1180 (waiting 900, prioritized 250, due 30), 60 active on 10 slots each, how long a job takes is "
            "not known yet: so full, they ask for 6",
        ),
        ("orphanRescue", "60 active jobs and no worker to see whether they are stalled"),
    ],
)
def test_what_a_vote_says(rule: str, said: str):
    message = explain.message(decided(BUSY, votes=(vote(rule, 6),)), BUSY, spec(), NOON)
    assert message == f"6 of 0-20 replicas: {said}."


@pytest.mark.parametrize(
    ("age", "start_up", "said"),
    [(0, 0, "30 s to wait"), (6, 1, "24 of 30 s left to wait"), (25, 0, "15 of 30 s left to wait")],
)
def test_the_time_that_is_left_is_told_in_few_steps(age: float, start_up: float, said: str):
    look = seen(queue(waiting=5, oldest_ready_ms=int((NOON - age) * 1000)), replicas=6)
    decision = decided(look, votes=(vote("maxWait", 6),))
    inputs = replace(decision.inputs, start_up=StartUp(seconds=start_up, measured=9))
    message = explain.message(replace(decision, inputs=inputs), look, spec(), NOON)
    assert f"on 10 slots, {said} needs 6" in message


def test_of_several_queues_the_one_that_asks_for_most_is_named():
    look = seen(queue(waiting=5), queue(name="other", waiting=80), replicas=6)
    votes = (vote("backlogPerReplica", 1), vote("backlogPerReplica", 4, of="other"), vote("minReplicas", 0, of=None))
    message = explain.message(decided(look, votes=votes), look, spec(queues={"killmail": 10, "other": 10}), NOON)
    assert "queue other: backlog 80 (waiting 80) at 20 per replica needs 4" in message
    assert "killmail" not in message


def test_caps_of_the_queue_follow_its_vote_in_order():
    look = seen(queue(waiting=900, active=20, global_concurrency=40), replicas=4)
    caps = (
        Limit(by=Reason.LIMITED_BY_SLOTS, before=300, after=92, queue="killmail"),
        Limit(by=Reason.LIMITED_BY_GLOBAL_CONCURRENCY, before=92, after=4, queue="killmail"),
        Limit(by=Reason.LIMITED_BY_SLOTS, before=120, after=92, queue="killmail"),
        Limit(by=Reason.AT_MAXIMUM, before=4, after=3),
    )
    votes = (vote("maxWait", 300), vote("keepUp", 1))
    decision = decided(look, rates=replace(RATES, active=20), votes=votes, limits=caps, desired=3)
    assert explain.message(decision, look, spec(), NOON) == (
        "3 of 0-20 replicas: backlog 900 (waiting 900), a job takes 0.40 s on 10 slots, 15 of 30 s left to wait needs "
        "300, but with 20 active only 92 of 10 slots each would find a job, then the queue's concurrency of 40 fills 4 "
        "of 10 slots each (92 asked for); maxReplicas is 3 (4 asked for)."
    )


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Reason.PAUSED_BY_USER, "4 of 0-20 replicas: paused by spec.autoscaling.paused, otherwise 6; "),
        (Reason.DRY_RUN, "4 of 0-20 replicas: dry run, otherwise 6; "),
        (
            Reason.CONFLICTING_AUTOSCALER,
            "4 of 0-20 replicas: HorizontalPodAutoscaler mail writes this number too, so it is left alone, "
            "otherwise 6; ",
        ),
    ],
)
def test_a_number_that_is_not_written_is_told_beside_the_one_that_stands(reason: Reason, said: str):
    look = replace(BUSY, workers=replace(BUSY.workers, conflict="HorizontalPodAutoscaler mail"))
    decision = decided(look, votes=(vote("maxWait", 6),), reason=reason, current=4)
    assert explain.message(decision, look, spec(), NOON, paused_by="spec.autoscaling.paused").startswith(said)


LIMITING = {
    Reason.LIMITED_BY_SLOTS: "with 60 active, 7 due within 32 s only 2 of 10 slots each would find a job",
    Reason.LIMITED_BY_GLOBAL_CONCURRENCY: "the queue's concurrency of 4 fills 2 of 10 slots each (9 asked for)",
    Reason.LIMITED_BY_RATE_LIMIT: "the rate limit of 5 jobs in 1.0 s keeps 2 busy (9 asked for)",
    Reason.THROUGHPUT_LIMITED: "throughputLimit of 120 jobs in 60 s keeps 2 busy (9 asked for)",
    Reason.QUEUE_SHARED: "the share of this QueueWorker is 2 of 9",
    Reason.AT_MAXIMUM: "maxReplicas is 2 (9 asked for)",
    Reason.AT_MINIMUM: "minReplicas is 2",
    Reason.SCHEDULED: "a schedule asks for at least 2 until 12:01:00",
    Reason.STABILIZING_SCALE_DOWN: "scale-down held until 12:01:00 (peak 6 in 120 s)",
    Reason.COOLING_DOWN: "zero at 12:01:00 (idle since 12:00:00)",
    Reason.NEXT_JOB_DUE: "2 kept, the next job is due at 12:01:00",
    Reason.CONFIRMING_SCALE_DOWN: "a second reading must confirm the scale-down to 9",
    Reason.WITHIN_TOLERANCE: "the scale-in to 2 stands until 12:01:00 (9 asked for, as headroom)",
    Reason.SCALE_UP_RATE_LIMITED: "behavior.scaleUp allows 2 until 12:01:00 (9 asked for)",
    Reason.SCALE_DOWN_RATE_LIMITED: "behavior.scaleDown allows no fewer than 2 until 12:01:00 (9 asked for)",
    Reason.WORKERS_NOT_READY: "no more than 2 while new pods do not come up (9 asked for): pod a crashes",
    Reason.QUOTA_EXCEEDED: "no more than 2 while new pods do not come up (9 asked for): pod a crashes",
    Reason.RETRY_STORM: "most jobs fail and more pods did not help: 2 until 12:01:00 (9 asked for)",
    Reason.ROLLOUT_IN_PROGRESS: "no scale-in to 9 while a rollout is under way",
    Reason.HOLDING_METRICS_UNKNOWN: "the number stays until 12:01:00",
    Reason.ROLE_NOT_MASTER: "the number stays until 12:01:00",
    Reason.REDIS_MEMORY_FULL: "the number stays until 12:01:00",
    Reason.METRICS_LOSS_FALLBACK: "onMetricsLoss raises it to 2 after 300 s without a reading",
    Reason.BUSY_FLOOR: "60 active jobs keep 2 replicas busy",
    Reason.PINNED: "pinned at 2 until 12:01:00 by the annotation queueworker.dev/pinned-replicas",
}
OF_THE_WHOLE = set(LIMITING) - {
    Reason.LIMITED_BY_SLOTS,
    Reason.LIMITED_BY_GLOBAL_CONCURRENCY,
    Reason.LIMITED_BY_RATE_LIMIT,
    Reason.QUEUE_SHARED,
}


@pytest.mark.parametrize("by", LIMITING)
def test_what_a_limit_says(by: Reason):
    look = seen(
        queue(
            waiting=90,
            active=60,
            delayed_due_soon=7,
            next_delayed_ms=int((NOON + 60) * 1000),
            global_concurrency=4,
            rate_limit_max=5,
            rate_limit_duration_ms=1000,
        ),
        workers_=workers(6, pod_problem=Problem(reason=ConditionReason.WORKERS_NOT_READY, message="pod a crashes")),
    )
    limit = Limit(by=by, before=9, after=2, until=NOON + 60, queue=None if by in OF_THE_WHOLE else "killmail")
    history = replace(CONFIRMED, recommendations=(Recommendation(at=NOON, replicas=6),), idle_since=NOON)
    decision = decided(look, votes=(vote("maxWait", 9),), limits=(limit,), history=history)
    wish = spec(throughput_limit={"jobs": 120, "period_seconds": 60}, on_metrics_loss={"replicas": 2})
    assert LIMITING[by] in explain.message(decision, look, wish, NOON)


def test_a_tolerance_that_waits_for_nothing_is_told_in_percent():
    limit = Limit(by=Reason.WITHIN_TOLERANCE, before=6, after=5)
    decision = decided(BUSY, votes=(vote("maxWait", 6),), limits=(limit,), desired=5)
    wish = spec(scale_up={"tolerance_percent": 25})
    assert "6 lies within 25 percent of 5" in explain.message(decision, BUSY, wish, NOON)


def test_a_pin_is_told_even_where_it_changes_nothing():
    said = "pinned at 6 by the annotation queueworker.dev/pinned-replicas."
    decision = decided(BUSY, votes=(vote("maxWait", 6),), reason=Reason.PINNED)
    assert explain.message(decision, BUSY, spec(), NOON).endswith(f"needs 6; {said}")
    assert explain.message(decision, BUSY, spec(replicas=6), NOON) == f"6 replicas: {said}"


def test_a_limit_that_is_not_known_here_is_told_in_plain_numbers():
    assert limit_phrase(Step(by="SpotTier", before=9, after=2), api.Autoscaling(max_replicas=9)) == "SpotTier makes 9 2"


@given(st.lists(st.text(min_size=1, max_size=128), min_size=1, max_size=32, unique=True))
def test_the_sentence_fits_into_the_status(names: list[str]):
    look = seen(*(unreadable(name=name) for name in names))
    votes = tuple(vote("unknown", 6, of=name) for name in names)
    assert len(explain.message(decided(look, votes=votes), look, spec(), NOON)) <= 1024


def recorded(decision: Decision, look: Observation) -> api.Scaling:
    """Return the record as a command reads it."""
    text = scaling_status(decision, look).model_dump_json(by_alias=True, exclude_none=True)
    return api.Scaling.model_validate_json(text)


def test_the_waterfall_is_the_arithmetic_from_the_inputs_to_the_number():
    held = Limit(by=Reason.AT_MAXIMUM, before=25, after=20)
    cap = Limit(by=Reason.LIMITED_BY_SLOTS, before=400, after=25, queue="killmail")
    votes = (vote("maxWait", 400), vote("minReplicas", 0, of=None))
    decision = decided(BUSY, votes=votes, limits=(cap, held), desired=20, reason=Reason.AT_MAXIMUM)
    lines = explain.waterfall(recorded(decision, BUSY), spec())
    assert [(line.label, line.queue, line.before, line.after) for line in lines] == [
        ("inputs", None, None, None),
        ("inputs", "killmail", None, None),
        ("inputs", None, None, None),
        ("maxWait", "killmail", None, 400),
        ("minReplicas", None, None, 0),
        ("LimitedBySlots", "killmail", 400, 25),
        ("AtMaximum", None, 25, 20),
        ("desired", None, None, 20),
    ]
    assert [line.detail for line in lines] == [
        "backlog 1180, waiting 900, prioritized 250, due 30, active 60, delayed 0, failed 0",
        "backlog 1180, active 60, 10 slots a pod, a job takes 0.40 s (statistics), 20 jobs/s arriving",
        "a pod needs 30 s until it is ready, as long as that is not measured",
        "backlog 1180, a job takes 0.40 s on 10 slots, 15 of 30 s left to wait needs 400",
        "minReplicas is 0",
        "with 60 active only 25 of 10 slots each would find a job",
        "maxReplicas is 20 (25 asked for)",
        "AtMaximum",
    ]


def test_the_waterfall_of_a_fixed_number_is_one_line():
    look, wish = seen(queue(), replicas=3), spec(replicas=3)
    lines = explain.waterfall(recorded(decide(look, wish, CONFIRMED, NOON), look), wish)
    assert lines[-1] == explain.Line(label="desired", after=3, detail="FixedReplicas")


def test_what_happens_next_is_the_limit_that_ends_first():
    limits = (
        Limit(by=Reason.STABILIZING_SCALE_DOWN, before=2, after=6, until=NOON + 90),
        Limit(by=Reason.SCALE_DOWN_RATE_LIMITED, before=1, after=6, until=NOON + 15),
        Limit(by=Reason.AT_MAXIMUM, before=7, after=6),
    )
    upcoming = explain.next_change(recorded(decided(BUSY, limits=limits), BUSY), spec())
    assert upcoming is not None
    assert upcoming.at == datetime.fromtimestamp(NOON + 15, UTC)
    assert upcoming.text == "fewer, towards the 1 replica asked for, as behavior.scaleDown allows"
    assert explain.next_change(recorded(decided(BUSY), BUSY), spec()) is None


UNWRITTEN = {
    Reason.PAUSED_BY_USER: "nothing is written until it is resumed",
    Reason.DRY_RUN: "nothing is written until autoscaling.dryRun is false",
    Reason.CONFLICTING_AUTOSCALER: "nothing is written until the other autoscaler of the target is deleted",
}


@pytest.mark.parametrize("reason", UNWRITTEN)
def test_where_nothing_is_written_nothing_comes_by_itself_nor_by_a_backlog(reason: Reason):
    ending = Limit(by=Reason.STABILIZING_SCALE_DOWN, before=2, after=6, until=NOON + 90)
    decision = decided(BUSY, votes=(vote("maxWait", 3),), limits=(ending,), reason=reason)
    record = recorded(decision, BUSY)
    assert explain.next_change(record, spec()) is None
    assert explain.would_change(record, spec()) == UNWRITTEN[reason]


def test_while_a_pin_holds_its_end_is_what_happens_next():
    limits = (
        Limit(by=Reason.STABILIZING_SCALE_DOWN, before=2, after=6, until=NOON + 15),
        Limit(by=Reason.PINNED, before=6, after=9, until=NOON + 90),
    )
    pinned = recorded(decided(BUSY, limits=limits, reason=Reason.PINNED, desired=9), BUSY)
    upcoming = explain.next_change(pinned, spec())
    assert upcoming is not None
    assert (upcoming.at, upcoming.text) == (datetime.fromtimestamp(NOON + 90, UTC), "6 replicas when the pin ends")
    for_good = recorded(decided(BUSY, limits=limits[:1], reason=Reason.PINNED), BUSY)
    assert explain.next_change(for_good, spec()) is None


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"desired": 20}, "more than 20 replicas only with a higher autoscaling.maxReplicas"),
        (
            {"limits": (Limit(by=Reason.THROUGHPUT_LIMITED, before=9, after=6, queue="killmail"),)},
            "more than 6 replicas only with a higher autoscaling.throughputLimit",
        ),
        ({"reason": Reason.FIXED_REPLICAS}, "it changes with spec.replicas"),
        ({"reason": Reason.QUEUE_PAUSED}, "it changes when the queue is resumed"),
        ({"votes": (vote("maxWait", 99),)}, "7 replicas at a backlog of about 2000"),
        ({"votes": ()}, None),
    ],
)
def test_what_would_change_the_number(changes: dict[str, Any], answer: str | None):
    decision = decided(BUSY, **{"votes": (vote("maxWait", 3),), **changes})
    assert explain.would_change(recorded(decision, BUSY), spec()) == answer


@settings(max_examples=150)
@given(
    backlog=st.integers(0, 3000),
    slots=st.integers(1, 12),
    milliseconds=st.none() | st.sampled_from([20, 400, 2000, 30_000]),
    wait=st.sampled_from([5, 30, 120]),
    per_replica=st.none() | st.integers(1, 300),
    tolerance=st.sampled_from([0, 0, 10]),
)
def test_the_backlog_that_is_named_gives_the_number_that_is_named(
    backlog: int, slots: int, milliseconds: int | None, wait: int, per_replica: int | None, tolerance: int
):
    target = {
        "max_wait_seconds": wait,
        "expected_job_milliseconds": milliseconds,
        "backlog_per_replica": per_replica,
    }
    wish = aiming_at(spec(queues={"killmail": slots}, max_replicas=1000), target, tolerance=tolerance)

    def number(jobs: int, *, replicas: int) -> Decision:
        return decide(seen(queue(waiting=jobs, concurrency=slots), replicas=replicas), wish, CONFIRMED, NOON)

    stands = number(backlog, replicas=0).desired
    decision = number(backlog, replicas=stands)
    assume(decision.desired == stands < 1000)
    look = seen(queue(waiting=backlog, concurrency=slots), replicas=stands)
    answer = explain.would_change(recorded(decision, look), wish)
    assert answer is not None
    assert "about" not in answer
    wanted, named = int(answer.split()[0]), int(answer.split()[-1])
    assert named > backlog
    assert number(named, replicas=stands).desired == wanted > stands
    assert number(named - 1, replicas=stands).desired < wanted


def aiming_at(wish: api.QueueWorkerSpec, target: dict[str, int | None], *, tolerance: int) -> api.QueueWorkerSpec:
    assert wish.autoscaling is not None
    behavior = Behavior(scale_up=ScaleUp(tolerance_percent=tolerance))
    autoscaling = wish.autoscaling.model_copy(update={"target": Target(**target), "behavior": behavior})
    return wish.model_copy(update={"autoscaling": autoscaling})


def test_workers_that_nobody_listed_leave_no_gap_in_the_sentence():
    look = Observation(queues=(queue(waiting=5),), workers=WorkersObservation())
    assert "None" not in decide(look, spec(), CONFIRMED, NOON).message
