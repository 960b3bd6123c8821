"""Every reason of a decision, the number that goes with it, and the sentence that explains it."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from scaling_world import CONFIRMED, NOON, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import History, Recommendation
from queueworker_operator.scaling.explain import MAX_LENGTH
from queueworker_operator.scaling.observation import Observation, Ownership

IDLE = replace(CONFIRMED, idle_since=NOON - 300)


@dataclass(frozen=True)
class Case:
    reason: Reason
    desired: int
    message: str
    observation: Observation
    spec: QueueWorkerSpec
    history: History = CONFIRMED
    annotation: bool = False


def peak(replicas: int, *, ago: float) -> tuple[Recommendation, ...]:
    return (Recommendation(at=NOON - ago, replicas=replicas), Recommendation(at=NOON - 1, replicas=0))


CASES = [
    Case(
        Reason.BACKLOG_ABOVE_TARGET,
        6,
        "6 of 1-20 replicas: backlog 1180 (waiting 900, prioritized 250, due 30) at 200 per replica needs 6.",
        seen(queue(waiting=900, prioritized=250, delayed=30, delayed_due=30), replicas=4),
        spec(min_replicas=1, target=200),
    ),
    Case(
        Reason.STABILIZING_SCALE_DOWN,
        6,
        "6 of 1-20 replicas: backlog 180 (waiting 180) at 200 per replica needs 1; "
        "scale-down held until 12:01:51 (peak 8 in 300 s).",
        seen(queue(waiting=180), replicas=6),
        spec(min_replicas=1, target=200, window=300),
        replace(CONFIRMED, recommendations=peak(8, ago=189)),
    ),
    Case(
        Reason.AT_MINIMUM,
        2,
        "2 of 2-20 replicas: backlog 1 (waiting 1) at 20 per replica needs 1; minReplicas is 2.",
        seen(queue(waiting=1), replicas=2),
        spec(min_replicas=2),
    ),
    Case(
        Reason.AT_MINIMUM,
        1,
        "1 of 1-20 replicas: no job is ready and none is active; minReplicas is 1.",
        seen(queue(), replicas=1),
        spec(min_replicas=1),
    ),
    Case(
        Reason.AT_MAXIMUM,
        20,
        "20 of 0-20 replicas: backlog 601 (waiting 601) at 20 per replica needs 31; maxReplicas is 20 (31 asked for).",
        seen(queue(waiting=601)),
        spec(),
    ),
    Case(
        Reason.ACTIVATED_FROM_ZERO,
        1,
        "1 of 0-1 replica: backlog 1 (due 1) at 20 per replica needs 1.",
        seen(queue(delayed=1, delayed_due=1)),
        spec(max_replicas=1),
    ),
    Case(
        Reason.SCALED_TO_ZERO,
        0,
        "0 of 0-20 replicas: no job is ready and none is active; next delayed job due at 12:10:00.",
        seen(queue(delayed=1, next_delayed_ms=int(NOON + 600) * 1000), replicas=1),
        spec(window=0),
        IDLE,
    ),
    Case(
        Reason.COOLING_DOWN,
        1,
        "1 of 0-20 replicas: no job is ready and none is active; zero at 12:05:00 (idle since 11:55:00).",
        seen(queue(), replicas=4),
        spec(window=0, cooldown_seconds=600),
        IDLE,
    ),
    Case(
        Reason.BUSY_FLOOR,
        3,
        "3 of 0-20 replicas: no job is ready, 21 are active; 21 active jobs keep 3 replicas busy.",
        seen(queue(active=21), replicas=5),
        spec(window=0),
    ),
    Case(
        Reason.BUSY_FLOOR,
        1,
        "1 of 0-20 replicas: no job is ready, 1 is active; 1 active job keeps 1 replica busy.",
        seen(queue(active=1), replicas=5),
        spec(window=0),
    ),
    Case(
        Reason.LIMITED_BY_SLOTS,
        2,
        "2 of 0-20 replicas: backlog 12 (waiting 12) at 1 per replica needs 12, but with 1 active, 4 due within 32 s "
        "only 2 of 10 slots each would find a job.",
        seen(queue(waiting=12, active=1, delayed=4, delayed_due_soon=4), replicas=1),
        spec(target=1),
    ),
    Case(
        Reason.ORPHAN_RESCUE,
        1,
        "1 of 0-20 replicas: 2 active jobs and no worker to see whether they are stalled.",
        seen(queue(active=2)),
        spec(),
    ),
    Case(
        Reason.QUEUE_PAUSED,
        0,
        "0 of 0-20 replicas: queue killmail is paused with 900 jobs ready.",
        seen(queue(waiting=900, paused=True), replicas=5),
        spec(window=0),
        IDLE,
    ),
    Case(
        Reason.QUEUE_PAUSED,
        1,
        "1 of 1-20 replicas: queue killmail is paused with 3 jobs ready; minReplicas is 1.",
        seen(queue(legacy_paused=3, paused=True), replicas=1),
        spec(min_replicas=1),
    ),
    Case(
        Reason.QUEUE_UNUSED,
        1,
        "1 of 1-20 replicas: queue killmail was never used; minReplicas is 1.",
        seen(queue(exists=False)),
        spec(min_replicas=1),
        History(),
    ),
    Case(
        Reason.QUEUE_MISSING,
        5,
        "5 of 0-20 replicas: queue killmail was there and is gone, the number stays until 13:00:00.",
        seen(queue(exists=False), replicas=5),
        spec(window=0),
        replace(IDLE, seen_queues=frozenset({"killmail"})),
    ),
    Case(
        Reason.QUEUE_MISSING,
        0,
        "0 of 0-20 replicas: queue killmail was there and is gone.",
        seen(queue(exists=False), replicas=5),
        spec(window=0),
        replace(
            IDLE,
            seen_queues=frozenset({"killmail"}),
            missing_queues=frozenset({"killmail"}),
            missing_since=NOON - 3600,
        ),
    ),
    Case(
        Reason.HOLDING_METRICS_UNKNOWN,
        5,
        "5 of 0-20 replicas: queue killmail cannot be read (redis.killboard.svc:6379 refused the connection).",
        seen(unreadable(), replicas=5),
        spec(window=0),
        IDLE,
    ),
    Case(
        Reason.HOLDING_METRICS_UNKNOWN,
        0,
        "0 of 2-20 replicas: queue killmail cannot be read (redis.killboard.svc:6379 refused the connection); "
        "minReplicas is 2; the number stays.",
        seen(unreadable()),
        spec(min_replicas=2),
    ),
    Case(
        Reason.HOLDING_METRICS_UNKNOWN,
        5,
        "5 of 0-20 replicas: queue killmail: backlog 30 (waiting 30) at 20 per replica needs 2; "
        "queue character cannot be read (redis.killboard.svc:6379 refused the connection).",
        seen(queue(waiting=30), unreadable(name="character"), replicas=5),
        spec(queues={"killmail": 10, "character": 5}, window=0),
    ),
    Case(
        Reason.CONFIRMING_SCALE_DOWN,
        5,
        "5 of 0-20 replicas: backlog 30 (waiting 30) at 20 per replica needs 2; "
        "a second reading must confirm the scale-down to 2.",
        seen(queue(waiting=30), replicas=5),
        spec(window=0),
        History(),
    ),
    Case(
        Reason.PAUSED_BY_USER,
        6,
        "4 of 0-20 replicas: paused by spec.autoscaling.paused, otherwise 6; "
        "backlog 120 (waiting 120) at 20 per replica needs 6.",
        seen(queue(waiting=120), replicas=4),
        spec(paused=True),
    ),
    Case(
        Reason.PAUSED_BY_USER,
        4,
        "4 of 0-20 replicas: paused by the annotation queueworker.dev/paused, otherwise the same; "
        "backlog 80 (waiting 80) at 20 per replica needs 4.",
        seen(queue(waiting=80), replicas=4),
        spec(paused=True),
        annotation=True,
    ),
    Case(
        Reason.FIXED_REPLICAS,
        3,
        "3 replicas: fixed by spec.replicas.",
        seen(queue(waiting=900), replicas=1),
        spec(replicas=3),
    ),
    Case(
        Reason.FIXED_REPLICAS, 1, "1 replica: fixed by spec.replicas.", seen(unreadable(), replicas=4), spec(replicas=1)
    ),
    Case(
        Reason.SPEC_INVALID,
        4,
        "4 replicas: kept, exactly one of spec.replicas and spec.autoscaling is needed; set one and remove the other.",
        seen(queue(waiting=900), replicas=4),
        spec().model_copy(update={"autoscaling": None}),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.desired}")
def test_reason_number_and_sentence(case: Case):
    decision = decide(case.observation, case.spec, case.history, NOON, paused_by_annotation=case.annotation)
    assert (decision.reason, decision.desired, decision.message) == (case.reason, case.desired, case.message)


def test_every_reason_is_reached():
    assert {case.reason for case in CASES} == set(Reason)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.desired}")
def test_the_trace_leads_to_the_number(case: Case):
    decision = decide(case.observation, case.spec, case.history, NOON, paused_by_annotation=case.annotation)
    if not decision.votes:
        return
    caps = {limit.queue: limit for limit in decision.limits if limit.queue is not None}
    counted = [
        caps[v.queue].after if v.rule == "backlogPerReplica" and v.queue in caps else v.replicas for v in decision.votes
    ]
    number = max(counted)
    for limit in decision.limits:
        if limit.queue is None:
            assert limit.before == number
            assert limit.after != number
            number = limit.after
    assert number == decision.desired


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
