"""The stabilization window: it forgets no peak, and is bounded however long it is."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from scaling_world import NOON

from queueworker_operator.scaling.decision import Recommendation
from queueworker_operator.scaling.stabilization import MAX_PEAKS, hold, record

CALM = settings(max_examples=40)
"""Other work on the machine must not fail a test: no deadline for an example."""
numbers = st.integers(0, 40)


@CALM
@given(st.lists(st.tuples(st.floats(0, 30), numbers), min_size=1, max_size=300), st.sampled_from([1.0, 20.0, 300.0]))
def test_the_window_is_bounded_and_holds_every_peak(steps: list[tuple[float, int]], window: float):
    peaks: tuple[Recommendation, ...] = ()
    now, all_of_them = 0.0, []
    for gap, replicas in steps:
        now += gap
        peaks = record(peaks, replicas=replicas, current=0, now=now, window=window)
        all_of_them.append((now, replicas))
        assert len(peaks) <= MAX_PEAKS
        assert max(p.replicas for p in peaks) >= max(n for at, n in all_of_them if now < at + window)
        assert all(older.replicas > newer.replicas for older, newer in pairwise(peaks))


def test_a_long_fall_keeps_few_peaks_and_ends_none_much_late():
    peaks: tuple[Recommendation, ...] = ()
    for second in range(10_000):
        now, window = NOON + second, 3600.0
        peaks = record(peaks, replicas=20_000 - second, current=20_000, now=now, window=window)
        assert len(peaks) <= MAX_PEAKS
        exact = 20_000 - max(0, second - 3598)
        assert exact <= hold(peaks, current=20_000, window=window).replicas <= exact + 3600 / 48 + 1
    assert peaks[-1] == Recommendation(at=NOON + 9999, replicas=10_001)
