"""Metrics and statistics, from the lists and hashes that workers write."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from queueworker import metrics, workers
from queueworker.metrics import MetricsPoint
from queueworker.workers import JobStatistics

NOW = 1_700_000_123_456
MINUTE = NOW // 60_000 * 60_000


def test_points_have_the_minutes_before_the_one_that_runs() -> None:
    found = metrics.decode("failed", ["12", str(NOW), "9"], ["4", "0", "5"], start=0, kept=30)
    assert (found.total, found.kept) == (12, 30)
    assert found.running == MetricsPoint(MINUTE, 3)
    assert found.points == (
        MetricsPoint(MINUTE - 60_000, 4),
        MetricsPoint(MINUTE - 120_000, 0),
        MetricsPoint(MINUTE - 180_000, 5),
    )
    later = metrics.decode("failed", ["12", str(NOW), "9"], ["5"], start=2, kept=30)
    assert later.points == found.points[2:]


def test_no_metrics_are_unknown_and_not_zero() -> None:
    found = metrics.decode("completed", [None, None, None], [], start=0, kept=0)
    assert (found.total, found.running, found.points) == (None, None, ())


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_quantile_is_right_within_a_factor_of_two(durations: list[int], quantile: float) -> None:
    histogram: dict[int, int] = {}
    for one in durations:
        histogram[one.bit_length()] = histogram.get(one.bit_length(), 0) + 1
    found = JobStatistics("n", len(durations), sum(durations), histogram).quantile_ms(quantile)
    assert found is not None
    rank = max(0, -(-len(durations) * quantile // 1) - 1)
    truth = sorted(durations)[int(rank)]
    assert truth / 2 <= found <= max(1, 2 * truth)


def test_statistics_by_name() -> None:
    stored = {
        "a:b:jobs": "4",
        "a:b:ms": "40",
        "a:b:h3": "2",
        "a:b:h4": "2",
        "c:jobs": "9",
        "c:ms": "7",
        "odd": "1",
        "d:ms": "1",
    }
    first, second = workers.decode_statistics(stored)
    assert (first.name, first.jobs, first.milliseconds, first.p95_ms) == ("c", 9, 7, None)
    assert (second.name, second.mean_ms, second.histogram) == ("a:b", 10, {3: 2, 4: 2})
    assert second.p50_ms == 8
    assert JobStatistics("n", 0, 0, {}).mean_ms is None


def test_a_worker_that_says_nothing_readable() -> None:
    for about in (None, "{", "[]", '{"slots": "10"}'):
        found = workers.decode_worker("pod", 1000, about, now_ms=2000)
        assert (found.slots, found.max_stalled_count, found.age_ms, found.alive) == (None, None, 1000, True)
    assert workers.decode_worker("pod", 5000, None, now_ms=2000).age_ms == 0
    assert not workers.decode_worker("pod", 0, None, now_ms=workers.ALIVE_WITHIN_MS).alive
