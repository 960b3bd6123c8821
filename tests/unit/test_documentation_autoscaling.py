"""The worked examples of docs/autoscaling.md: each row is put before the decision, and must give what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from docsnippets import ROOT, code_in, rows_of, text_of
from scaling_world import CONFIRMED, NOON, queue, unreadable, workers

from queueworker.details import ActiveJob, QueueDetails
from queueworker_operator.api.reasons import ConditionReason, ConditionType, ScalingReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling.decide import decide
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.observation import Observation, QueueObservation

PAGE = "docs/autoscaling.md"
TARGETS = ("maxWaitSeconds", "backlogPerReplica", "expectedJobMilliseconds")
OF_THE_QUEUE = ("concurrency", "sharePercent")
MEASURING_SECONDS = 70
"""Longer than arrivals are averaged over."""


def told(cell: str) -> dict[str, str]:
    """Return what a cell gives: `waiting 5, paused` is {waiting: 5, paused: ""}."""
    parts = [part.split(" ", 1) for code in code_in(cell) for part in code.split(", ")]
    return {words[0]: words[1] if len(words) > 1 else "" for words in parts}


def rate(text: str) -> tuple[int, int]:
    """Return `120/60s` as 120 and 60."""
    found = re.fullmatch(r"(\d+)/(\d*)s", text)
    assert found, text
    return int(found[1]), int(found[2] or 1)


def spec_of(given: dict[str, str]) -> QueueWorkerSpec:
    """Return the spec of a cell; what it leaves out is 0 to 20 replicas and the CRD's defaults."""
    one: dict[str, Any] = {"name": "mail"}
    scaling: dict[str, Any] = {"minReplicas": 0, "maxReplicas": 20, "target": {}, "behavior": {}}
    for name, value in given.items():
        if name in TARGETS:
            scaling["target"][name] = int(value)
        elif name in OF_THE_QUEUE:
            one[name] = int(value)
        elif name == "limiter":
            jobs, seconds = rate(value)
            one["limiter"] = {"max": jobs, "durationMilliseconds": 1000 * seconds}
        elif name == "throughputLimit":
            jobs, seconds = rate(value)
            scaling[name] = {"jobs": jobs, "periodSeconds": seconds}
        elif name == "scaleUp":
            pods, seconds = rate(value)
            policy = {"type": "Pods", "value": pods, "periodSeconds": seconds}
            scaling["behavior"]["scaleUp"] = {"policies": [policy]}
        elif name == "window":
            scaling["behavior"]["scaleDown"] = {"stabilizationWindowSeconds": int(value)}
        else:
            scaling[name] = int(value) if value.isdecimal() else value
    raw = {"queues": [one], "redis": {"host": "r"}, "worker": {"image": "w"}, "autoscaling": scaling}
    return QueueWorkerSpec.model_validate(raw)


COUNTS = {
    "waiting": "waiting",
    "prioritized": "prioritized",
    "due": "delayed_due",
    "active": "active",
    "dueSoon": "delayed_due_soon",
    "globalConcurrency": "global_concurrency",
}


def queue_of(given: dict[str, str], spec: QueueWorkerSpec, *, at: float, elapsed: float = 0.0) -> QueueObservation:
    """Return the queue of a cell as it is read at a moment."""
    one = spec.queues[0]
    if "unreadable" in given:
        return unreadable(name="mail", concurrency=one.concurrency, failing_since=at)
    counts: dict[str, Any] = {COUNTS[name]: int(value) for name, value in given.items() if name in COUNTS}
    if "completedPerSecond" in given:
        counts |= {"completed_count": int(elapsed * int(given["completedPerSecond"])), "failed_count": 0}
    if "dueSoon" in given:
        counts["delayed"] = counts["delayed_due_soon"]
    flags = {"exists": "unused" not in given, "paused": "paused" in given}
    read = queue(name="mail", concurrency=one.concurrency, at=at, **flags, **counts)
    orphans = [
        ActiveJob(name="mail", owner=None, locked=False, started_ms=int(at * 1000) - 60_000, stalled_count=0)
        for _ in range(int(given.get("orphans", 0)))
    ]
    details = QueueDetails(
        prefix="bull",
        queue="mail",
        now_ms=int(at * 1000),
        active=tuple(orphans),
        active_total=len(orphans),
        next_names={},
        last_names={},
    )
    others = ("prod/other",) if "shared" in given else ()
    return replace(read, shared_with=others, details=details if orphans else None)


@dataclass
class Course:
    """The decision, once a second, carried out at once."""

    spec: QueueWorkerSpec
    replicas: int
    now: float = NOON
    history: History = CONFIRMED
    began: float = field(default=NOON)

    def look(self, given: dict[str, str], *, carry_out: bool = True) -> Decision:
        read = queue_of(given, self.spec, at=self.now, elapsed=self.now - self.began)
        look = Observation(queues=(read,), workers=workers(self.replicas))
        decision = decide(look, self.spec, self.history, self.now)
        self.history = decision.history
        if carry_out:
            self.replicas = decision.desired
        return decision


def examples() -> Iterator[tuple[str, ...]]:
    """Yield the rows `spec | queue | pods | number | reason` of the page."""
    for section in ("Votes", "Limits, in the order of their power"):
        for row in rows_of(text_of(PAGE, section)):
            if len(row) == 5:
                yield tuple(row)


EXAMPLES = list(examples())


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: f"{row[0]} | {row[1]}".replace("`", ""))
def test_an_example_gives_the_number_of_the_page(row: tuple[str, ...]) -> None:
    given, held, pods, number, reason = row
    course = Course(spec_of(told(given)), int(pods))
    if "completedPerSecond" in told(held):
        for _ in range(MEASURING_SECONDS):
            course.look(told(held), carry_out=False)
            course.now += 1
    decision = course.look(told(held))
    assert (decision.desired, [decision.reason]) == (int(number), code_in(reason)), decision.message


def test_the_afternoon_goes_as_the_page_says() -> None:
    text = text_of(PAGE, "An afternoon")
    course = Course(spec_of(told(text.split("\n\n")[0].partition(", 0 to")[0])), 0, history=History())
    rows = [row for row in rows_of(text) if len(row) == 4 and row[0].endswith(" s")]
    assert len(rows) > 8
    held: dict[str, str] = {"unused": ""}
    for after, cell, number, reason in rows:
        at = NOON + int(after.removesuffix(" s"))
        while course.now < at:
            course.look(held)
            course.now += 1
        held = told(cell)
        decision = course.look(held)
        assert (decision.desired, [decision.reason]) == (int(number), code_in(reason)), f"{after}: {decision.message}"
        course.now += 1


def test_every_reason_of_a_number_is_on_the_page_and_none_is_made_up() -> None:
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", (ROOT / PAGE).read_text()))
    assert set(ScalingReason) - named == set()
    assert named - set(ScalingReason) - set(ConditionType) - set(ConditionReason) == set()


def test_every_field_of_autoscaling_is_on_the_page() -> None:
    page = (ROOT / PAGE).read_text()
    fields = QueueWorkerSpec.model_json_schema(by_alias=True)["$defs"]
    wanted = {name for model in ("Autoscaling", "Target") for name in fields[model]["properties"]}
    assert {name for name in wanted if name not in page} == set()
