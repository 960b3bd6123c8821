"""Arrivals, ends and Little's law over the counters of a sliding window."""

from dataclasses import dataclass, replace

from queueworker.snapshot import QueueSnapshot
from queueworker_operator.scaling.rates.learning import MIN_WINDOW_SECONDS, Learning, NameTime, Sample
from queueworker_operator.scaling.rates.measured import ServiceSource

MAX_SAMPLES = 32
_STEPS = 24
_MAX_WINDOW_SECONDS = 86_400.0
_LEAST_SPAN_SECONDS = 2.0
_CLOCKS_DIFFER_SECONDS = 10.0
_ATTEMPTS_FRESH_MS = 5_000
_CLOSE_SECONDS = 2.0
_MANY_ENDED = 20
_LONG_SECONDS = 10.0
SHORTEST_SECONDS = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What came and went per second; None is unknown."""

    arrivals: float | None = None
    completions: float | None = None
    failures: float | None = None


_UNKNOWN = Flow()


def window_seconds(service_seconds: float | None) -> float:
    """Return how far back the rates look: twice the time of a job, a minute at least and a day at most."""
    return min(_MAX_WINDOW_SECONDS, max(MIN_WINDOW_SECONDS, 2.0 * (service_seconds or 0.0)))


def sampled(
    learning: Learning, snapshot: QueueSnapshot, *, window: float, attempts: tuple[int, int] | None, now: float
) -> Learning:
    """Return what is known after one more snapshot, over so many seconds.

    `attempts` is when (ms) our workers had counted how many; it is used where no counter tells of jobs.
    """
    samples = () if _clock_jumped(learning, snapshot.now_ms, now) else learning.samples
    overall = learning.overall
    sample = _sample(snapshot, attempts, since_ms=samples[-1].at_ms if samples else None)
    if sample is not None:
        samples = _extended(samples, sample, window)
        overall = _littles_law(samples, now) or (None if _disproved(samples, window) else overall)
    return replace(
        learning, samples=samples, overall=overall, window_seconds=window, read_ms=snapshot.now_ms, read_at=now
    )


def flow(learning: Learning, now: float) -> Flow:
    """Return the rates of the window; unknown without counters, in the first two seconds, and when it is long past.

    In the first minute, jobs that came and still wait may have come at once, and so are spread over all of it; those
    that ended came and went at a pace that the workers have shown.
    """
    samples = learning.samples
    if len(samples) < 2 or now - learning.read_at > learning.window_seconds:
        return _UNKNOWN
    first, last = samples[0], samples[-1]
    span = (last.at_ms - first.at_ms) / 1000
    if span < _LEAST_SPAN_SECONDS or not _counted(last):
        return _UNKNOWN
    completed, failed = _ended(first, last)
    rise = last.in_system - first.in_system
    if rise > 0 and span < MIN_WINDOW_SECONDS:
        arrivals = (completed + failed) / span + rise / MIN_WINDOW_SECONDS
    else:
        arrivals = max(0, completed + failed + rise) / span
    if last.attempts:
        return Flow(arrivals=arrivals)
    return Flow(arrivals=arrivals, completions=completed / span, failures=failed / span)


def busy_seconds(samples: tuple[Sample, ...]) -> float:
    """Return for how long every sample up to the newest found a job active."""
    if not samples:
        return 0.0
    since = last = samples[-1].at_ms
    for sample in reversed(samples):
        if not sample.active:
            break
        since = sample.at_ms
    return (last - since) / 1000


def _sample(snapshot: QueueSnapshot, attempts: tuple[int, int] | None, *, since_ms: int | None) -> Sample | None:
    """Return None where nothing but attempts counts what ended, and those were not read anew together with the rest."""
    completed, by_attempts = snapshot.completed_count, False
    if completed is None and snapshot.failed_count is None and attempts is not None:
        at_ms, completed = attempts
        by_attempts = True
        if abs(snapshot.now_ms - at_ms) > _ATTEMPTS_FRESH_MS or (since_ms is not None and at_ms <= since_ms):
            return None
    return Sample(
        at_ms=snapshot.now_ms,
        in_system=snapshot.backlog + snapshot.active,
        completed=completed,
        failed=snapshot.failed_count,
        active=snapshot.active,
        backlog=snapshot.backlog,
        attempts=by_attempts,
    )


def _clock_jumped(learning: Learning, at_ms: int, now: float) -> bool:
    """Redis' clock went back, or forward by much more or less than ours."""
    if learning.read_ms is None:
        return False
    elapsed = (at_ms - learning.read_ms) / 1000
    return elapsed < 0 or abs(elapsed - (now - learning.read_at)) > _CLOCKS_DIFFER_SECONDS


def _extended(samples: tuple[Sample, ...], sample: Sample, window: float) -> tuple[Sample, ...]:
    if not samples or _contradicts(samples[-1], sample):
        return (sample,)
    kept = [*samples, _watched(samples[-1], sample)]
    if len(kept) > 2 and kept[-2].at_ms - kept[-3].at_ms < window * 1000 / _STEPS:
        del kept[-2]
    edge = sample.at_ms - window * 1000
    while len(kept) > 2 and kept[1].at_ms <= edge:
        del kept[0]
    return tuple(kept if len(kept) <= MAX_SAMPLES else [*kept[:-1:2], kept[-1]])


def _contradicts(before: Sample, sample: Sample) -> bool:
    """The clock did not go on, or counters went back: the queue was deleted, or another server answered."""
    if sample.at_ms <= before.at_ms or before.attempts != sample.attempts:
        return True
    return _went_back(before.completed, sample.completed) or _went_back(before.failed, sample.failed)


def _went_back(before: int | None, after: int | None) -> bool:
    return before is not None and (after is None or after < before)


def _watched(before: Sample, sample: Sample) -> Sample:
    """Sum up what ran and ended, but for gaps in which the number of active jobs changed much: nobody knows when.

    Readings are often woken by the very job that they see, and the gaps between those say nothing of it.
    """
    elapsed = (sample.at_ms - before.at_ms) / 1000
    few, many = sorted((before.active, sample.active))
    known = elapsed <= _CLOSE_SECONDS or 2 * few >= many > 0
    return replace(
        sample,
        watched_seconds=before.watched_seconds + (elapsed if known else 0.0),
        active_seconds=before.active_seconds + (elapsed * (few + many) / 2 if known else 0.0),
        ended=before.ended + (sum(_ended(before, sample)) if known and _counted(sample) else 0),
    )


def _littles_law(samples: tuple[Sample, ...], now: float) -> NameTime | None:
    """Return mean active over ended per second: the mean time that a job is active, its retries together.

    Jobs that ran at an edge of the window distort it, so it must be twice as long as a job, with some that ended in its
    later half; and readings must have seen the jobs run: either many ended, or each ran for many seconds.
    """
    first, last = samples[0], samples[-1]
    ended = last.ended - first.ended
    busy = last.active_seconds - first.active_seconds
    if last.attempts or ended < 2 or busy <= 0 or last.ended == samples[len(samples) // 2].ended:
        return None
    seconds = busy / ended
    if last.watched_seconds - first.watched_seconds < 2 * seconds or (ended < _MANY_ENDED and seconds < _LONG_SECONDS):
        return None
    return NameTime(at=now, seconds=max(SHORTEST_SECONDS, seconds), source=ServiceSource.COUNTERS)


def _disproved(samples: tuple[Sample, ...], window: float) -> bool:
    """All the time some job was active and none ended: what took less than half the window before takes longer now."""
    first, last = samples[0], samples[-1]
    full = last.at_ms - first.at_ms >= window * 1000
    return full and _counted(last) and not any(_ended(first, last)) and all(sample.active for sample in samples)


def _counted(sample: Sample) -> bool:
    return sample.completed is not None or sample.failed is not None


def _ended(first: Sample, last: Sample) -> tuple[int, int]:
    """Return completed and failed; a counter that was not there yet stood at zero."""
    completed = (last.completed or 0) - (first.completed or 0)
    return completed, (last.failed or 0) - (first.failed or 0)
