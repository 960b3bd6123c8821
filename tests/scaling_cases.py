"""Every reason of a decision with a look that leads to it: a table for the tests of numbers and sentences."""

from dataclasses import dataclass, replace

from scaling_world import CONFIRMED, NOON, pod, queue, seen, spec, unreadable, workers

from queueworker_operator.api.reasons import ConditionReason as Condition
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decision import History, Recommendation
from queueworker_operator.scaling.observation import Observation, Pod, Problem
from queueworker_operator.scaling.overrides import Overrides

NONE = Overrides()
IDLE = replace(CONFIRMED, idle_since=NOON - 300)


@dataclass(frozen=True)
class Case:
    reason: Reason
    desired: int
    message: str | None
    """None where only the number and its reason matter here."""
    observation: Observation
    spec: QueueWorkerSpec
    history: History = CONFIRMED
    overrides: Overrides = NONE


def peak(replicas: int, *, ago: float) -> tuple[Recommendation, ...]:
    return (Recommendation(at=NOON - ago, replicas=replicas), Recommendation(at=NOON - 1, replicas=0))


def problem(reason: Condition) -> Problem:
    return Problem(reason=reason, message="what is wrong")


CRASHES = problem(Condition.WORKERS_NOT_READY)


def crashing(*names: str) -> tuple[Pod, ...]:
    return tuple(pod(name, ready=False, problem=CRASHES) for name in names)


def shared(wish: QueueWorkerSpec) -> QueueWorkerSpec:
    """Half of each queue is ours."""
    return wish.model_copy(update={"queues": [q.model_copy(update={"share_percent": 50}) for q in wish.queues]})


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
        spec(min_replicas=2, target=20),
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
        "3 of 0-20 replicas: queue killmail is paused; 21 active jobs keep 3 replicas busy.",
        seen(queue(active=21, paused=True), replicas=5),
        spec(window=0, target=20),
    ),
    Case(
        Reason.BUSY_FLOOR,
        1,
        "1 of 0-20 replicas: queue killmail is paused; 1 active job keeps 1 replica busy.",
        seen(queue(active=1, paused=True), replicas=5),
        spec(window=0, target=20),
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
        spec(queues={"killmail": 10, "character": 5}, window=0, target=20),
    ),
    Case(
        Reason.CONFIRMING_SCALE_DOWN,
        5,
        "5 of 0-20 replicas: backlog 30 (waiting 30) at 20 per replica needs 2; "
        "a second reading must confirm the scale-down to 2.",
        seen(queue(waiting=30), replicas=5),
        spec(window=0, target=20),
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
        overrides=Overrides(paused=True),
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
    Case(Reason.AGE_ABOVE_TARGET, 4, None, seen(queue(waiting=600), replicas=1), spec(expected_ms=1000)),
    Case(
        Reason.KEEP_UP,
        7,
        None,
        seen(queue(active=50), replicas=9),
        spec(window=0, expected_ms=500),
    ),
    Case(
        Reason.LOOK_AHEAD,
        1,
        None,
        seen(queue(delayed=5, delayed_due_soon=5, next_delayed_ms=int(NOON + 20) * 1000)),
        spec(),
    ),
    Case(Reason.FEEDBACK, 5, None, seen(queue(active=38), replicas=5), spec()),
    Case(
        Reason.SCHEDULED,
        3,
        None,
        seen(queue(), replicas=1),
        spec(schedules=[{"cron": "0 12 * * *", "duration_seconds": 60, "min_replicas": 3}]),
    ),
    Case(Reason.WITHIN_TOLERANCE, 20, None, seen(queue(waiting=190), replicas=20), spec(window=0, target=10)),
    Case(
        Reason.SCALE_UP_RATE_LIMITED,
        3,
        None,
        seen(queue(waiting=200), replicas=1),
        spec(target=10, scale_up={"policies": [{"type": "Pods", "value": 2, "period_seconds": 60}]}),
    ),
    Case(
        Reason.SCALE_DOWN_RATE_LIMITED,
        8,
        None,
        seen(queue(), replicas=10),
        spec(window=0, target=10, scale_down={"policies": [{"type": "Pods", "value": 2, "period_seconds": 60}]}),
    ),
    Case(
        Reason.NEXT_JOB_DUE,
        1,
        None,
        seen(queue(delayed=1, next_delayed_ms=int(NOON + 149) * 1000), replicas=1),
        spec(window=0),
        IDLE,
    ),
    Case(
        Reason.LIMITED_BY_GLOBAL_CONCURRENCY,
        2,
        None,
        seen(queue(waiting=900, global_concurrency=20)),
        spec(),
    ),
    Case(
        Reason.LIMITED_BY_RATE_LIMIT,
        1,
        None,
        seen(queue(waiting=900, rate_limit_max=2, rate_limit_duration_ms=1000)),
        spec(),
    ),
    Case(
        Reason.THROUGHPUT_LIMITED,
        3,
        None,
        seen(queue(waiting=900), replicas=1),
        spec(expected_ms=10_000, throughput_limit={"jobs": 120, "period_seconds": 60}),
    ),
    Case(
        Reason.QUEUE_SHARED,
        5,
        None,
        seen(replace(queue(waiting=200), shared_with=("other",)), replicas=1),
        shared(spec(target=20)),
    ),
    Case(
        Reason.WORKERS_NOT_READY,
        2,
        None,
        seen(queue(waiting=200), workers_=workers(2, ready=0, pod_problem=CRASHES, pods=crashing("a", "b"))),
        spec(target=20),
    ),
    Case(
        Reason.QUOTA_EXCEEDED,
        2,
        None,
        seen(queue(waiting=200), workers_=workers(2, rollout_problem=problem(Condition.QUOTA_EXCEEDED))),
        spec(target=20),
    ),
    Case(
        Reason.RETRY_STORM,
        2,
        None,
        seen(queue(waiting=200), replicas=2),
        spec(target=20),
        replace(CONFIRMED, storm_since=NOON - 90, last_growth_at=NOON - 95, last_growth_completions=3.0),
    ),
    Case(
        Reason.ROLLOUT_IN_PROGRESS,
        4,
        None,
        seen(queue(), workers_=workers(4, rollout_complete=False)),
        spec(window=0, min_replicas=1),
    ),
    Case(
        Reason.ROLE_NOT_MASTER,
        4,
        None,
        seen(replace(unreadable(), problem=problem(Condition.ROLE_NOT_MASTER)), replicas=4),
        spec(),
    ),
    Case(
        Reason.REDIS_MEMORY_FULL,
        4,
        None,
        seen(replace(unreadable(), problem=problem(Condition.REDIS_MEMORY_FULL)), replicas=4),
        spec(),
    ),
    Case(
        Reason.METRICS_LOSS_FALLBACK,
        6,
        None,
        seen(replace(unreadable(), problem=problem(Condition.REDIS_DENIED)), replicas=4),
        spec(on_metrics_loss={"after_seconds": 60, "replicas": 6}),
        replace(CONFIRMED, lost_since=NOON - 60),
    ),
    Case(
        Reason.CONFLICTING_AUTOSCALER,
        10,
        None,
        seen(queue(waiting=200), workers_=workers(2, conflict="HorizontalPodAutoscaler mail")),
        spec(target=20),
    ),
    Case(Reason.DRY_RUN, 10, None, seen(queue(waiting=200), replicas=2), spec(target=20, dry_run=True)),
    Case(Reason.PINNED, 30, None, seen(queue(), replicas=2), spec(), CONFIRMED, Overrides(pinned_replicas=30)),
]
