"""How long jobs take, by name: from statistics, kept jobs, and jobs that run."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from queueworker.details import FinishedJob, QueueDetails
from queueworker_operator.scaling.rates import quantiles, statistics
from queueworker_operator.scaling.rates.learning import Learning, NameCounts, NameTime
from queueworker_operator.scaling.rates.measured import ServiceSource
from queueworker_operator.scaling.rates.mixture import OTHER, ages_of, mix_of
from queueworker_operator.scaling.rates.names import shorten
from queueworker_operator.scaling.rates.window import SHORTEST_SECONDS, busy_seconds

FORGOTTEN_AFTER_SECONDS = 86_400.0
_AGE_TELLS_SECONDS = 10.0
_SETTLED_SECONDS = 60.0
_GUESSES = (ServiceSource.ACTIVE, ServiceSource.REMEMBERED)


def studied(learning: Learning, details: QueueDetails, now: float) -> Learning:
    """Return what is known of the job names after one more reading of the details."""
    remembered = learning.names if learning.details_ms is None else None
    counts = statistics.recount(learning.counts, details.statistics, at_ms=details.now_ms, remembered=remembered)
    used = counts if _maintained(details) else {}
    ages = ages_of(details, at_most=_readable_seconds(learning, now))
    names = _names(learning, details, used, now)
    if OTHER not in names:
        names |= _aged(learning, names, ages, details.now_ms, now)
    if len(names) > statistics.MAX_NAMES:
        names = dict(list(names.items())[: statistics.MAX_NAMES])
    return replace(
        learning, counts=counts, names=names, mix=mix_of(details, names, used, ages), details_ms=details.now_ms
    )


def _readable_seconds(learning: Learning, now: float) -> float:
    """Return for how long the queue can be read: before, workers may have waited for the server to end their jobs."""
    since = learning.readable_since
    return now - since if since is not None and since <= now else math.inf


def _maintained(details: QueueDetails) -> bool:
    """Statistics stay when our workers are gone: jobs that others run are not in them."""
    return any(worker.alive for worker in details.workers) or not any(job.locked for job in details.active)


def _names(
    learning: Learning, details: QueueDetails, counts: Mapping[str, NameCounts], now: float
) -> dict[str, NameTime]:
    names: dict[str, NameTime] = {}
    for name, counted in counts.items():
        before = learning.names.get(name)
        fresh = learning.counts.get(name) is not counted
        stays = before is not None and before.source is ServiceSource.STATISTICS and not fresh
        names[name] = before if before is not None and stays else _counted_time(counted, now)
    for name, time in _finished(details.finished, details.now_ms, now).items():
        names.setdefault(name, time)
    for name, time in learning.names.items():
        if name not in names and abs(now - time.at) < FORGOTTEN_AFTER_SECONDS:
            names[name] = _no_longer_counted(time)
    return names


def _counted_time(counted: NameCounts, now: float) -> NameTime:
    histogram = counted.recent_histogram
    told = sum(histogram.values()) >= counted.recent_jobs / 2
    return NameTime(
        at=now,
        seconds=max(SHORTEST_SECONDS, counted.recent_milliseconds / counted.recent_jobs / 1000),
        p95_seconds=quantiles.quantile_seconds(histogram, 0.95) if told else None,
        p99_seconds=quantiles.quantile_seconds(histogram, 0.99) if told else None,
        source=ServiceSource.STATISTICS,
    )


def _no_longer_counted(time: NameTime) -> NameTime:
    return replace(time, source=ServiceSource.REMEMBERED) if time.source is ServiceSource.STATISTICS else time


def _finished(jobs: Iterable[FinishedJob], now_ms: int, now: float) -> dict[str, NameTime]:
    """Return the mean time of kept jobs, by name; another day's and impossible ones left out."""
    times: dict[str, list[float]] = {}
    for job in jobs:
        took = (job.finished_ms - job.processed_ms) / 1000
        if took >= 0 and abs(now_ms - job.finished_ms) < FORGOTTEN_AFTER_SECONDS * 1000:
            times.setdefault(job.name, []).append(took)
    return {
        shorten(name): NameTime(
            at=now, seconds=max(SHORTEST_SECONDS, sum(took) / len(took)), source=ServiceSource.FINISHED
        )
        for name, took in times.items()
    }


def _aged(
    learning: Learning, names: Mapping[str, NameTime], ages: Mapping[str, tuple[int, float]], now_ms: int, now: float
) -> dict[str, NameTime]:
    """Return how long jobs take of which nothing tells but the ages of those that run.

    Looked at in some moment a running job is half done on average: twice the mean age is the best guess. With few slots
    it swings between nothing and twice the truth, so that guesses are averaged over about the time of a job. Of jobs
    that began together it is too low, and grows with them.
    """
    busy = busy_seconds(learning.samples)
    elapsed = max(0, now_ms - (learning.details_ms or now_ms)) / 1000
    aged: dict[str, NameTime] = {}
    for name, (_, age) in ages.items():
        before = names.get(name)
        if (before is None or before.source in _GUESSES) and _tells(age, busy):
            seconds = 2 * age if before is None else _approached(before.seconds, 2 * age, elapsed)
            aged[name] = NameTime(at=now, seconds=max(SHORTEST_SECONDS, seconds), source=ServiceSource.ACTIVE)
    return aged


def _tells(age: float, busy_seconds: float) -> bool:
    """Young jobs tell their time only where the queue was busy for longer: else all of them have just begun."""
    return age >= _AGE_TELLS_SECONDS or (age > 0 and busy_seconds >= 2 * age)


def _approached(before: float, guess: float, elapsed: float) -> float:
    return guess + (before - guess) * math.exp(-elapsed / max(_SETTLED_SECONDS, before))
