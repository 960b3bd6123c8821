"""What the pages say is what the code knows."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from queueworker_operator.api.reasons import ConditionReason, ConditionType, ScalingReason
from queueworker_operator.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs"


def section(title: str) -> str:
    text = (DOCS / "status.md").read_text()
    return text.split(f"\n## {title}")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    rows = re.findall(r"^\| (`[^|]+?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("`status.scaling.reason`", ScalingReason),
        ("Conditions", ConditionType),
        ("Reasons of conditions and events", ConditionReason),
    ],
)
def test_every_reason_and_condition_is_described_and_none_is_made_up(title, known):
    described = first_cells(section(title))
    assert sorted(described) == sorted(known)


def test_every_metric_is_described_and_none_is_made_up():
    registry = CollectorRegistry()
    Metrics(registry, clock=lambda: 0.0)
    counters = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    described = {name for name in first_cells(section("Metrics")) if name.startswith(("queueworker_", "bullmq_"))}
    assert described == counters
