"""What our workers counted per job name, where what is old fades, so that a change of the work shows in minutes."""

import math
from collections.abc import Iterable, Mapping

from queueworker.workers import JobStatistics
from queueworker_operator.scaling.rates import quantiles
from queueworker_operator.scaling.rates.learning import NameCounts, NameTime
from queueworker_operator.scaling.rates.names import shorten

MAX_NAMES = 128
LEAST_JOBS = 10.0
"""What was known weighs as much as this many jobs, however old it is: one odd job must not turn it over."""
_HALF_LIFE_MS = 60_000
_PER_SECOND = math.log(2) * 1000 / _HALF_LIFE_MS
"""A steady flow of one a second fades and grows to the inverse of this."""
_LONGEST_CLASS = 40
"""Above 2**40 ms, 34 years, a class is nonsense."""
_MOST = 10**15
"""So is a larger count; floats hold all below exactly."""


def recount(
    before: Mapping[str, NameCounts],
    statistics: Iterable[JobStatistics],
    *,
    at_ms: int,
    remembered: Mapping[str, NameTime] | None,
) -> dict[str, NameCounts]:
    """Return the counts after one more reading of the statistics, those with most attempts first.

    `remembered` is given at the first reading: a time known from before is nearer to now than the mean over the life of
    the queue.
    """
    whole = [one for one in statistics if 0 < one.jobs < _MOST and 0 <= one.milliseconds < _MOST][:MAX_NAMES]
    attempts = sum(one.jobs for one in whole)
    counts: dict[str, NameCounts] = {}
    for one in whole:
        name = shorten(one.name)
        known = before.get(name)
        if remembered is not None and known is None:
            counts[name] = _begun(one, remembered.get(name), share=one.jobs / attempts, at_ms=at_ms)
        elif known is None or one.jobs < known.jobs or one.milliseconds < known.milliseconds:
            counts[name] = _advanced(_NOTHING if known is None else _emptied(known), one, at_ms)
        else:
            counts[name] = known if one.jobs == known.jobs else _advanced(known, one, at_ms)
    return counts


def flows(counts: Mapping[str, NameCounts]) -> dict[str, float]:
    """Return how many jobs of each name ended per second when jobs last did, older ones fading."""
    latest = max((one.changed_ms for one in counts.values()), default=0)
    return {name: one.flow * _fading(latest - one.changed_ms) * _PER_SECOND for name, one in counts.items()}


_NOTHING = NameCounts(
    jobs=0,
    milliseconds=0,
    histogram={},
    recent_jobs=0.0,
    recent_milliseconds=0.0,
    recent_histogram={},
    flow=0.0,
    changed_ms=0,
)


def _begun(one: JobStatistics, remembered: NameTime | None, *, share: float, at_ms: int) -> NameCounts:
    histogram = _classes(one.histogram)
    weight = min(float(one.jobs), LEAST_JOBS)
    mean_ms = one.milliseconds / one.jobs if remembered is None else remembered.seconds * 1000
    return NameCounts(
        jobs=one.jobs,
        milliseconds=one.milliseconds,
        histogram=histogram,
        recent_jobs=weight,
        recent_milliseconds=weight * mean_ms,
        recent_histogram=_weighing(weight, _shape(histogram, remembered)),
        flow=share * LEAST_JOBS,
        changed_ms=at_ms,
    )


def _shape(histogram: Mapping[int, int], remembered: NameTime | None) -> Mapping[int, float]:
    """Of a remembered time only the percentile is known: all jobs count as that long, to be on the safe side."""
    if remembered is None:
        return {k: float(count) for k, count in histogram.items()}
    return {} if remembered.p95_seconds is None else quantiles.point(remembered.p95_seconds)


def _weighing(weight: float, histogram: Mapping[int, float]) -> dict[int, float]:
    total = sum(histogram.values())
    return {k: count * weight / total for k, count in histogram.items()}


def _emptied(known: NameCounts) -> NameCounts:
    """The statistics were deleted: what was lately is still true, the totals begin anew."""
    return NameCounts(
        jobs=0,
        milliseconds=0,
        histogram={},
        recent_jobs=known.recent_jobs,
        recent_milliseconds=known.recent_milliseconds,
        recent_histogram=known.recent_histogram,
        flow=known.flow,
        changed_ms=known.changed_ms,
    )


def _advanced(known: NameCounts, one: JobStatistics, at_ms: int) -> NameCounts:
    fading = _fading(at_ms - known.changed_ms)
    kept = max(fading, min(1.0, LEAST_JOBS / known.recent_jobs)) if known.recent_jobs > 0 else 0.0
    histogram = _classes(one.histogram)
    recent = {k: count * kept for k, count in known.recent_histogram.items()}
    for k, count in histogram.items():
        recent[k] = recent.get(k, 0.0) + max(0, count - known.histogram.get(k, 0))
    jobs = one.jobs - known.jobs
    return NameCounts(
        jobs=one.jobs,
        milliseconds=one.milliseconds,
        histogram=histogram,
        recent_jobs=known.recent_jobs * kept + jobs,
        recent_milliseconds=known.recent_milliseconds * kept + one.milliseconds - known.milliseconds,
        recent_histogram=recent,
        flow=known.flow * fading + jobs,
        changed_ms=at_ms,
    )


def _fading(elapsed_ms: int) -> float:
    """A clock that went back fades nothing; below 2**-1000 it is nothing."""
    return math.exp2(-min(1000.0, max(0, elapsed_ms) / _HALF_LIFE_MS))


def _classes(histogram: Mapping[int, int]) -> dict[int, int]:
    return {k: min(count, _MOST) for k, count in histogram.items() if 0 <= k <= _LONGEST_CLASS and count > 0}
