"""The stabilization window: the highest recommendation of the last so many seconds holds a number up.

A recommendation holds from the look that made it until the next one, so the window begins when a lower number is first
asked for, however rarely the queues are read. Only peaks are kept: an entry that a later one reaches can no longer be
the highest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from queueworker_operator.scaling.decision import Recommendation

MAX_PEAKS = 64
_SLICES = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What the window makes of a recommendation."""

    replicas: int
    until: float
    """Unix seconds when the peak leaves the window that holds this number up."""
    peak: int


def record(
    peaks: Sequence[Recommendation], *, replicas: int, current: int, now: float, window: float
) -> tuple[Recommendation, ...]:
    """Return the peaks of the window with this recommendation; without any, the current number stands for the past."""
    kept = [peak for peak in peaks if peak.at <= now] or [Recommendation(at=now, replicas=current)]
    kept[-1] = Recommendation(at=now, replicas=kept[-1].replicas)
    while kept and kept[-1].replicas <= replicas:
        kept.pop()
    kept = [peak for peak in kept if now < peak.at + window]
    return _bounded([*kept, Recommendation(at=now, replicas=replicas)], window)


def hold(peaks: Sequence[Recommendation], *, current: int, window: float) -> Hold:
    """Return how far the number may go down: never above the current one, whatever the peak was."""
    highest = max(peak.replicas for peak in peaks)
    replicas = min(current, highest)
    last = max(peak.at for peak in peaks if peak.replicas >= replicas)
    return Hold(replicas=replicas, until=last + window, peak=highest)


def record_low(
    lows: Sequence[Recommendation], *, replicas: int, current: int, now: float, window: float
) -> tuple[Recommendation, ...]:
    """Return the lowest recommendations of the window with this one: `record`, upside down."""
    return _negated(record(_negated(lows), replicas=-replicas, current=-current, now=now, window=window))


def hold_low(lows: Sequence[Recommendation], *, current: int, window: float) -> Hold:
    """Return how far the number may go up: never below the current one, whatever the lowest was."""
    held = hold(_negated(lows), current=-current, window=window)
    return Hold(replicas=-held.replicas, until=held.until, peak=-held.peak)


def _negated(recommendations: Sequence[Recommendation]) -> tuple[Recommendation, ...]:
    return tuple(Recommendation(at=one.at, replicas=-one.replicas) for one in recommendations)


def _bounded(peaks: list[Recommendation], window: float) -> tuple[Recommendation, ...]:
    """Where there are too many, keep one per slice of the window: the highest, at the time of the last of them.

    So nothing ends early and nothing late by more than a slice. The newest is no peak yet and stays as it is.
    """
    if len(peaks) <= MAX_PEAKS:
        return tuple(peaks)
    slices: dict[int, Recommendation] = {}
    for peak in peaks[:-1]:
        index = int(peak.at / window * _SLICES)
        higher = slices.get(index, peak)
        slices[index] = Recommendation(at=peak.at, replicas=higher.replicas)
    return (*slices.values(), peaks[-1])
