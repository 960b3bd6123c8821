"""What Prometheus reads of the operator: values, what is left out, and what is gone with its QueueWorker."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from scaling_world import CONFIRMED, NOON, queue, seen, snapshot, spec, unreadable, workers

from queueworker.keys import QueueKeys
from queueworker_operator.api.reasons import ConditionReason, ConditionType
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import Condition
from queueworker_operator.conditions import Facts, conditions
from queueworker_operator.metrics import Metrics
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.rates.measured import QueueRates

OWN = {"namespace": "prod", "name": "mail"}
KEYS = QueueKeys("bull", "killmail")
NAMES = ("killmail", 'a "b" \\n', "c\nd")


class Shown:
    """Metrics with a clock that the test turns, and what they show."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry, clock=lambda: self.now)

    def decided(self, look: Observation, decision: Decision | None = None, **more: Any) -> Decision:
        made = decision or decide(look, spec(), CONFIRMED, NOON)
        self.metrics.decided("prod", "mail", look, made, **more)
        return made

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"queueworker_{name}", {**OWN, **labels})

    def jobs(self, state: str, *, redis: str = "redis:6379/0", prefix: str = "bull") -> float | None:
        labels = {"redis": redis, "prefix": prefix, "queue": "killmail", "state": state}
        return self.registry.get_sample_value("bullmq_job_count", labels)

    def series(self) -> set[str]:
        """Return every line that bears labels."""
        lines = self.metrics.text().decode().splitlines()
        return {line.rpartition(" ")[0] for line in lines if "{" in line and not line.startswith("#")}


def counting(**counts: Any) -> Observation:
    return seen(queue(**counts), workers_=workers(4))


def test_the_numbers_of_a_look() -> None:
    shown = Shown()
    shown.decided(seen(queue(waiting=30, oldest_ready_ms=int((NOON - 7) * 1000)), workers_=workers(4, ready=3)))
    assert shown.value("replicas") == 4
    assert shown.value("ready_replicas") == 3
    assert shown.value("desired_replicas") is not None
    assert shown.value("backlog_jobs", queue="killmail") == 30
    assert shown.value("oldest_job_age_seconds", queue="killmail") == 7


def test_what_is_unknown_has_no_value() -> None:
    shown = Shown()
    shown.decided(counting(waiting=30))
    shown.decided(seen(unreadable(), replicas=4))
    assert shown.value("backlog_jobs", queue="killmail") is None
    assert shown.value("replicas") == 4
    shown.decided(counting(waiting=31))
    assert shown.value("backlog_jobs", queue="killmail") == 31


def test_before_the_first_decision_there_is_no_number() -> None:
    shown = Shown()
    shown.metrics.conditions("prod", "mail", judged(counting(waiting=1)))
    assert [shown.value(name) for name in ("desired_replicas", "replicas", "ready_replicas")] == [None] * 3
    assert shown.value("paused") == 0


def test_pods_cost_time_also_between_looks_and_up_to_the_scrape() -> None:
    shown = Shown()
    busy = QueueRates(slots=10, active=3, busy_pods=frozenset({"a", "b"}))
    look = counting(active=3)
    decision = decide(look, spec(), CONFIRMED, NOON)
    decision = replace(decision, inputs=replace(decision.inputs, rates={"killmail": busy}))
    shown.decided(look, decision)
    assert shown.value("pod_seconds_total") == 0
    shown.now += 10
    shown.decided(look, decision)
    assert (shown.value("pod_seconds_total"), shown.value("idle_pod_seconds_total")) == (40, 20)
    shown.now += 5
    shown.metrics.text()
    assert (shown.value("pod_seconds_total"), shown.value("idle_pod_seconds_total")) == (60, 30)
    shown.now -= 100
    shown.metrics.text()
    assert shown.value("pod_seconds_total") == 60


@pytest.mark.parametrize(
    ("rates", "idle"),
    [
        (QueueRates(slots=10, active=3), 1),
        (QueueRates(slots=10, active=30), 0),
        (QueueRates(slots=10, active=3, busy_pods=frozenset({"a"}), unattributed=1), 2),
        (QueueRates(slots=10, active=0), 4),
    ],
)
def test_only_pods_that_are_known_to_run_nothing_are_idle(rates: QueueRates, idle: int) -> None:
    shown = Shown()
    look = counting(active=rates.active)
    decision = decide(look, spec(), CONFIRMED, NOON)
    shown.decided(look, replace(decision, inputs=replace(decision.inputs, rates={"killmail": rates})))
    shown.now += 1
    shown.metrics.text()
    assert shown.value("idle_pod_seconds_total") == idle


def test_jobs_that_ended_are_counted_from_the_counters_of_the_queue() -> None:
    shown = Shown()
    label = {"queue": "killmail"}
    shown.decided(counting())
    assert shown.value("jobs_finished_total", **label) is None
    for completed, failed, expected in ((1000, None, 0), (1040, 2, 42), (5, 0, 42), (15, 0, 52)):
        shown.decided(counting(completed_count=completed, failed_count=failed))
        assert shown.value("jobs_finished_total", **label) == expected
    shown.decided(seen(unreadable(), replicas=4))
    shown.decided(counting(completed_count=20, failed_count=0))
    assert shown.value("jobs_finished_total", **label) == 57


def test_news_are_timed_once() -> None:
    shown = Shown()
    look = counting()
    for news_at in (None, 999.8, 999.8, 1000.5):
        shown.decided(look, news_at=news_at)
    found = shown.registry.get_sample_value
    assert found("queueworker_decision_lag_seconds_count") == 2
    assert found("queueworker_decision_lag_seconds_sum") == pytest.approx(0.2)


def test_changes_are_counted_by_direction_and_reason() -> None:
    shown = Shown()
    up = replace(decide(counting(waiting=500), spec(), CONFIRMED, NOON), desired=9, current=4, reason=Reason.KEEP_UP)
    shown.metrics.scaled("prod", "mail", up)
    shown.metrics.scaled("prod", "mail", replace(up, desired=1))
    assert shown.value("scale_decisions_total", direction="up", reason="KeepUp") == 1
    assert shown.value("scale_decisions_total", direction="down", reason="KeepUp") == 1


def judged(look: Observation, **facts: Any) -> tuple[Condition, ...]:
    decision = decide(look, spec(), CONFIRMED, NOON)
    return conditions(look, decision, Facts(generation=1, applied=True, **facts), (), NOON)


def test_conditions_and_pauses() -> None:
    shown = Shown()
    shown.metrics.conditions("prod", "mail", judged(counting(waiting=1)))
    assert shown.value("paused") == 0
    assert shown.value("condition", type="Paused", status="False") == 1
    shown.metrics.conditions("prod", "mail", judged(counting(waiting=1), paused_by="spec.autoscaling.paused"))
    assert shown.value("paused") == 1
    assert shown.value("condition", type="Paused", status="True") == 1
    assert shown.value("condition", type="Paused", status="False") is None
    assert {kind for kind in ConditionType if f'type="{kind}"' in shown.metrics.text().decode()} == set(ConditionType)


def test_a_read_of_redis() -> None:
    shown = Shown()
    found, redis = shown.registry.get_sample_value, {"redis": "redis:6379/0"}
    shown.metrics.read("redis:6379/0", {KEYS: snapshot(waiting=3, failed=2)}, [], seconds=0.004)
    assert shown.jobs("waiting") == 3
    assert shown.jobs("failed") == 2
    assert found("queueworker_redis_poll_duration_seconds_count", redis) == 1
    at = found("queueworker_last_successful_poll_timestamp_seconds", redis)
    assert at is not None
    assert abs(at - time.time()) < 60
    kind = str(ConditionReason.REDIS_UNREACHABLE)
    shown.metrics.read("redis:6379/0", {KEYS: None}, [kind], seconds=2.0)
    assert found("queueworker_redis_errors_total", {**redis, "kind": kind}) == 1
    assert shown.jobs("waiting") is None
    assert found("queueworker_last_successful_poll_timestamp_seconds", redis) == at


def test_queues_of_one_name_on_two_servers_or_under_two_prefixes_are_not_mixed() -> None:
    shown = Shown()
    shown.metrics.read("a:6379/0", {KEYS: snapshot(waiting=3)}, [], seconds=0.001)
    shown.metrics.read("b:6379/0", {KEYS: snapshot(waiting=5)}, [], seconds=0.001)
    shown.metrics.read("b:6379/0", {QueueKeys("other", "killmail"): snapshot(waiting=7)}, [], seconds=0.001)
    assert shown.jobs("waiting", redis="a:6379/0") == 3
    assert shown.jobs("waiting", redis="b:6379/0") == 5
    assert shown.jobs("waiting", redis="b:6379/0", prefix="other") == 7
    shown.metrics.read("b:6379/0", {KEYS: None}, [], seconds=0.001)
    assert shown.jobs("waiting", redis="a:6379/0") == 3
    assert shown.jobs("waiting", redis="b:6379/0") is None


def everything(shown: Shown) -> None:
    """Show all that there is to show of two queues and their server."""
    for name in NAMES:
        look = seen(queue(name=name, waiting=3, completed_count=1), workers_=workers(4))
        shown.decided(look)
        shown.metrics.read("redis:6379/0", {QueueKeys("bull", name): snapshot(queue=name)}, [], seconds=0.001)
    shown.decided(seen(*(queue(name=name, waiting=1) for name in NAMES)))
    shown.metrics.read("redis:6379/0", {KEYS: None}, [str(ConditionReason.REDIS_UNREACHABLE)], seconds=1.0)
    shown.metrics.conditions("prod", "mail", judged(counting()))
    shown.metrics.scaled("prod", "mail", decide(counting(waiting=500), spec(), CONFIRMED, NOON))


def test_nothing_is_left_of_what_is_forgotten() -> None:
    shown = Shown()
    before = shown.series()
    everything(shown)
    families = {line.partition("{")[0] for line in shown.series() - before}
    assert {"bullmq_job_count", "queueworker_redis_errors_total", "queueworker_condition"} < families
    shown.metrics.forget("prod", "mail")
    shown.metrics.forget("prod", "mail")
    for name in NAMES:
        shown.metrics.discarded("redis:6379/0", QueueKeys("bull", name))
    assert shown.series() == before


def test_any_name_of_a_queue_is_a_label() -> None:
    shown = Shown()
    everything(shown)
    families = text_string_to_metric_families(shown.metrics.text().decode())
    labels = [sample.labels for family in families for sample in family.samples]
    assert {label["queue"] for label in labels if "queue" in label} == set(NAMES)


def test_what_is_read_no_more_is_shown_no_more() -> None:
    shown = Shown()
    before = shown.series()
    moved = QueueKeys("bull", "mail")
    shown.metrics.read("old:6379/0", {KEYS: snapshot(waiting=3), moved: None}, ["RedisUnreachable"], seconds=0.001)
    shown.metrics.read("new:6379/0", {KEYS: snapshot(waiting=4)}, [], seconds=0.001)
    shown.metrics.discarded("old:6379/0", KEYS)
    assert shown.jobs("waiting", redis="old:6379/0") is None
    assert shown.jobs("waiting", redis="new:6379/0") == 4
    shown.metrics.discarded("old:6379/0", moved)
    assert not any("old:6379/0" in line for line in shown.series())
    shown.metrics.discarded("new:6379/0", KEYS)
    shown.metrics.discarded("new:6379/0", KEYS)
    assert shown.series() == before


def test_a_look_is_cheap_to_show() -> None:
    shown = Shown()
    look = counting(waiting=3, completed_count=4)
    decision = shown.decided(look)
    best = min(_seconds_of(lambda: shown.metrics.decided("prod", "mail", look, decision), 200) for _ in range(20))
    assert best < 60e-6, f"{best * 1e6:.0f} us"


def _seconds_of(call: Any, times: int) -> float:
    began = time.thread_time()
    for _ in range(times):
        call()
    return (time.thread_time() - began) / times
