from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bench.worker import document
from bench.worker.goals import Goal, goals
from bench.worker.tables import markdown


def results(**parts: dict[str, Any]) -> dict[str, Any]:
    return dict(parts)


def verdicts(found: list[Goal], part: str) -> list[str]:
    return [goal.verdict for goal in found if goal.part == part]


def rows(ours: float, node: float, stock: float) -> dict[str, Any]:
    by_name = {"ours": ours, "node": node, "stock": stock}
    return {f"{name} 10": {"jobs_per_second": rate, "cpu_us_per_job": 1e6 / rate} for name, rate in by_name.items()}


@pytest.mark.parametrize(
    ("ours", "verdict"), [(1200, "met"), (1199, "least met"), (1000, "least met"), (999, "not met")]
)
def test_the_ratio_to_node_has_a_goal_and_a_least(ours: float, verdict: str) -> None:
    found = goals(results(throughput=rows(ours, 1000, 100)), [1, 10])
    assert verdicts(found, "throughput")[0] == verdict


def test_a_part_that_was_not_measured_meets_nothing() -> None:
    assert {goal.verdict for goal in goals({}, [1, 10, 200])} == {"not measured"}


def test_a_row_that_failed_is_not_measured_and_shown_as_failed() -> None:
    one = results(throughput={**rows(1200, 1000, 100), "node 10": {"error": "ended with 1"}})
    found = goals(one, [10])
    assert verdicts(found, "throughput") == ["not measured", "met", "not measured"]
    table = markdown(one, {"ours": "ours", "node": "Node"}, found)
    assert "| Node | failed |" in table
    assert "| ours | 1 200 (833) |" in table


def test_the_limiter_is_judged_by_its_worst_limit_to_either_side() -> None:
    for worst, verdict in ((1.04, "not met"), (0.96, "not met"), (0.98, "met")):
        found = goals(results(limiter={"ours": {"10/1000ms": 1.0, "50/200ms": worst, "rounds": 5}}), [])
        assert verdicts(found, "limiter") == [verdict]


def test_tables_show_only_the_parts_of_the_run() -> None:
    text = markdown(results(idle={"ours": {"cpu_percent": 0.1234, "rss_mib": 47.04}}), {"ours": "ours"}, goals({}, []))
    assert "| ours | 0.123 | 47.0 |" in text
    assert "Rate limiter" not in text


def test_a_part_that_had_fewer_rounds_says_so() -> None:
    one = results(throughput={row: {**figures, "rounds": 3} for row, figures in rows(2, 1, 1).items()})
    assert "enough for 3 of 5 rounds" in markdown(one, {"ours": "ours"}, [], rounds=5)
    assert "enough for" not in markdown(one, {"ours": "ours"}, [], rounds=3)


def test_the_readme_keeps_what_stands_around_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    run = {
        "date": "2026-01-02T03:04",
        "machine": {"processors": 2, "processor": "x", "kernel": "6"},
        "rounds": 5,
        "versions": {"valkey": "9"},
    }
    for _ in range(2):
        document.write_readme(run, "new tables", readme=readme)
    text = readme.read_text()
    assert text.startswith(f"before\n{document.BEGIN}\nRun of 2026-01-02 on 2 processors")
    assert text.endswith(f"new tables\n{document.END}\nafter\n")
    assert "old" not in text


def test_the_readme_of_the_bench_has_the_markers() -> None:
    text = document.README.read_text()
    assert text.index(document.BEGIN) < text.index(document.END)
