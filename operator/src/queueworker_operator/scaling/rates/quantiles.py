"""Quantiles over several histograms in powers of two of milliseconds."""

from collections.abc import Iterable, Mapping


def mixed(parts: Iterable[tuple[float, Mapping[int, float]]]) -> dict[int, float]:
    """Return one histogram of several, each with its weight, whatever its own number of jobs."""
    mixture: dict[int, float] = {}
    for weight, histogram in parts:
        total = sum(histogram.values())
        for k, count in histogram.items():
            mixture[k] = mixture.get(k, 0.0) + weight * count / total
    return mixture


def quantile_seconds(histogram: Mapping[int, float], quantile: float) -> float | None:
    """Return what so large a part stays below, right to within a factor of two; None where the histogram is empty.

    Within a class the durations are taken to be spread evenly.
    """
    left = quantile * sum(histogram.values())
    high = None
    for k, count in sorted(histogram.items()):
        low, high = (0.0, 1.0) if k == 0 else (2.0 ** (k - 1), 2.0**k)
        if count and left <= count:
            return (low + (high - low) * left / count) / 1000
        left -= count
    return None if high is None else high / 1000


def point(seconds: float) -> dict[int, float]:
    """Return the histogram of one job."""
    return {min(40, int(seconds * 1000).bit_length()): 1.0}
