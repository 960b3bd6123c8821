"""`top` on terminals of several widths and heights."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from queueworker_operator.cli.layout import widths
from queueworker_operator.cli.rows import row_of
from queueworker_operator.cli.top import COLUMNS, Board, Order, _drawn

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MESSAGE = (
    "12 of 0-20 replicas: backlog 1180 (waiting 900, prioritized 250, due 30), a job takes 0.40 s on 10 slots, "
    "15 of 30 s left to wait needs 6; scale-down held until 12:09:31 (peak 6 in 300 s)."
)
BROKEN = {"type": "QueueReachable", "status": "False", "message": "redis.example:6379 does not answer within 2 s"}


def document(name: str, *, queue: str = "", backlog: int | None = 1180, broken: bool = False) -> dict[str, Any]:
    inputs = {} if backlog is None else {"backlog": backlog, "active": 60, "oldestAgeSeconds": 90}
    scaling = {"desired": 12, "reason": "AgeAboveTarget", "message": MESSAGE, "inputs": inputs}
    return {
        "metadata": {"namespace": "post", "name": name},
        "spec": {"queues": [{"name": queue or name}], "autoscaling": {"minReplicas": 0, "maxReplicas": 20}},
        "status": {
            "replicas": 10,
            "readyReplicas": 8,
            "scaling": scaling,
            "conditions": [BROKEN] if broken else [],
        },
    }


def shown(*documents: dict[str, Any], width: int, height: int = 30, looks: int = 30, **board: Any) -> list[str]:
    drawn = Board(**{"order": Order.BACKLOG, "everywhere": False, **board})
    for _ in range(looks):
        drawn.take([row_of(one, now=NOON) for one in documents])
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    lines = console.render_lines(_drawn(drawn, drawn.summary()), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


FLEET = [
    document("killmail"),
    document("invoices", queue="accounting-invoices"),
    document("a-name-of-quite-some-length-as-people-give-them"),
    document("unread", backlog=None, broken=True),
    *(document(f"mail-{number}", backlog=number) for number in range(6)),
]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_each_queueworker_has_one_line_and_the_broken_one_the_first(width: int) -> None:
    lines = shown(*FLEET, width=width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 2 + len(FLEET)
    assert lines[0] == "10 QueueWorkers, 1 with something wrong"
    assert lines[1].split()[0] == "NAME"
    assert lines[1].split()[-1] == "WHY"
    assert set(lines[1].replace("OVER TIME", "").split()) <= set(COLUMNS)
    assert lines[2].startswith("unread ")
    assert "QueueReachable: redis.example" in lines[2]


@pytest.mark.parametrize("width", [80, 120])
def test_numbers_and_the_beginning_of_why_stand_whole(width: int) -> None:
    for line in shown(*FLEET, width=width)[3:]:
        assert re.search(r" 8/10→12 of 0-20 +", line), line
        assert re.search(r" (1180|[0-5]) ", line), line
        assert " 90s " in line
        assert re.search(r" 90s +backlog 1180 \(waiting 900", line), line


def test_at_80_columns_the_course_over_time_gives_way_and_at_120_it_shrinks() -> None:
    assert "OVER TIME" not in shown(*FLEET, width=80)[1]
    [header] = [line for line in shown(document("mail"), width=120) if "BACKLOG" in line]
    assert header.split() == ["NAME", "QUEUE", "REPLICAS", "OVER", "TIME", "BACKLOG", "OVER", "TIME", *COLUMNS[6:]]
    assert "█" * 20 in shown(document("mail"), width=200)[2]


def test_what_does_not_fit_is_counted() -> None:
    lines = shown(*FLEET, width=80, height=8)
    assert lines[0].startswith("10 QueueWorkers")
    assert len(lines) == 8
    assert lines[2].startswith("unread ")
    assert lines[-1] == "… and 5 more"
    assert len(shown(*FLEET[:6], width=80, height=8)) == 8


def test_the_broken_come_first_in_each_order_and_are_ordered_too() -> None:
    broken = [document("z", backlog=1, broken=True), document("y", backlog=2, broken=True)]
    for order in Order:
        lines = shown(*FLEET[:3], *broken, width=200, order=order)
        assert [line.split()[0] for line in lines[2:4]] == ["y", "z"], order


def test_wide_characters_are_counted_as_the_terminal_does() -> None:
    lines = shown(document("mail", queue="日本語の待ち行列という長い名前"), document("sms"), width=80)
    assert max(map(cell_len, lines)) <= 80
    assert len(lines) == 4


@given(
    natural=st.lists(st.integers(1, 60), min_size=9, max_size=9),
    width=st.integers(80, 250),
    gap=st.integers(1, 2),
)
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(natural: list[int], width: int, gap: int) -> None:
    numbers = [COLUMNS.index(header) for header in ("REPLICAS", "BACKLOG", "OLDEST")]
    for index in numbers:
        natural[index] = min(natural[index], 15)
    found = widths(COLUMNS, natural, width=width, gap=gap)
    assert all(found[index] == natural[index] for index in numbers)
    kept = [one for one in found if one]
    assert sum(kept) + gap * (len(kept) - 1) <= width
    assert all(one <= most for one, most in zip(found, natural, strict=True))
