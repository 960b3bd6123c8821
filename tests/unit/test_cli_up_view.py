"""What `up` shows, in a terminal of 80 columns and in a file."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.live import Live

from queueworker_operator.cli import view
from queueworker_operator.cluster.port import Key
from queueworker_operator.runtime import Row

PROBLEM = "spec.targetRef: what it names lives in a cluster; set spec.worker instead, or apply it to a cluster"


def row(name: str = "mail", **more: Any) -> Row:
    given: dict[str, Any] = {
        "queues": ("mail",),
        "desired": 12,
        "replicas": 12,
        "ready": 10,
        "ending": 2,
        "backlog": 123_456,
        "active": 3,
        "delayed": 0,
        "oldest_age_seconds": 71.0,
        "reason": "HoldingMetricsUnknown",
        "message": "",
        "problem": None,
    }
    return Row(key=Key("default", name), **{**given, **more})


def drawn(*rows: Row, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    with Live(console=console, auto_refresh=False) as live:
        view._Table(live).show(rows)
        lines = console.render_lines(live.get_renderable(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


def test_80_columns_hold_every_number_and_reason_whatever_the_names() -> None:
    long = row("a-name-of-quite-some-length-as-people-give-them", queues=("a-queue-with-a-long-name", "b"))
    lines = drawn(row(), long)
    assert max(map(cell_len, lines)) <= 80
    assert lines[0].split() == list(view.COLUMNS)
    assert lines[1].split() == ["mail", "mail", "12+2", "10", "123456", "71s", "HoldingMetricsUnknown"]
    assert "HoldingMetricsUnknown" in lines[2]
    assert "".join(line[:10].strip() for line in lines[2:]).startswith("a-name")


def test_a_problem_stands_below_the_table_over_its_whole_width() -> None:
    lines = drawn(row(problem=PROBLEM), row("other"))
    assert [line.split()[0] for line in lines[:3]] == ["NAME", "mail", "other"]
    assert " ".join(lines[3:]) == f"mail: {PROBLEM}"


@pytest.mark.parametrize(("problem", "last"), [(None, "HoldingMetricsUnknown"), (PROBLEM, PROBLEM)])
def test_a_file_gets_a_line_for_each_change_but_that_of_the_age(problem: str | None, last: str) -> None:
    stream = io.StringIO()
    with view.open_view(stream) as shown:
        for age in (71.0, 72.0):
            shown.show([row(problem=problem, oldest_age_seconds=age, queues=("mail", "sms"))])
        shown.show([row(problem=problem, backlog=None)])
    header, first, second = stream.getvalue().splitlines()
    assert header.split() == list(view.COLUMNS)
    assert re.split(r" {2,}", first) == ["mail", "mail+1", "12+2", "10", "123456", "71s", last]
    assert re.split(r" {2,}", second) == ["mail", "mail", "12+2", "10", "?", "?", last]
    for line in (first, second):
        assert [line.index(value) for value in ("12+2", last)] == [
            header.index(name) for name in ("REPLICAS", "REASON")
        ]
