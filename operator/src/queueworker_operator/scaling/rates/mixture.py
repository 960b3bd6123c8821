"""How long a job takes, job names weighed as they come."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from queueworker.details import QueueDetails
from queueworker_operator.scaling.rates import quantiles, statistics
from queueworker_operator.scaling.rates.learning import Mix, NameCounts, NameTime
from queueworker_operator.scaling.rates.measured import ServiceSource
from queueworker_operator.scaling.rates.names import shorten

OTHER = "(other)"
"""Where our workers count the names beyond the hundred that they tell apart."""
FLOW_JOBS = 10.0
"""What lately ended weighs as much as this many jobs of the queue: a lone long job in a short queue is no trend."""
TAIL = 3.0
"""What 95 of 100 jobs stay below where only the mean is known, as a multiple of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Time:
    """Of one name."""

    seconds: float
    source: ServiceSource
    tail_seconds: float
    floored: bool


def mix_of(
    details: QueueDetails,
    names: Mapping[str, NameTime],
    counts: Mapping[str, NameCounts],
    ages: Mapping[str, tuple[int, float]],
) -> Mix:
    """Return the time of a job by the names that wait at both ends of the queue, and those that ran lately."""
    queued = _queued(details)
    times: dict[str, _Time] = {}
    for name in {*queued, *ages, *counts} or names:
        known = names.get(name) or names.get(OTHER)
        if known is not None:
            times[name] = _time(known, ages[name][1] if name in ages else 0.0)
    flow = _flow(counts, ages, times)
    if not queued and not flow and not ages:
        flow = dict.fromkeys(names, 1 / len(names)) if names else {}
    jobs = sum(count for count, _ in ages.values())
    return replace(
        _weighed(_weights(queued, flow), times, counts),
        queued=float(sum(queued.values())),
        running=tuple((float(count), ages[name][1]) for name, count in queued.items() if name in ages),
        oldest_age_seconds=oldest_of(details),
        running_p95_seconds=_longest_tail(ages, names),
        mean_age_seconds=sum(count * age for count, age in ages.values()) / jobs if jobs else None,
    )


def oldest_of(details: QueueDetails) -> float | None:
    """Return for how long the oldest job runs under a live lock; None where none tells when it began."""
    started = [job.started_ms for job in details.active if job.locked and job.started_ms is not None]
    return max(0, details.now_ms - min(started)) / 1000 if started else None


def ages_of(details: QueueDetails, *, at_most: float) -> dict[str, tuple[int, float]]:
    """Return of each name how many jobs run under a live lock, and their mean age, each at most so many seconds.

    Their start is by the worker's clock, which may be ahead.
    """
    ages: defaultdict[str, list[float]] = defaultdict(list)
    for job in details.active:
        if job.locked and job.started_ms is not None:
            ages[job.name].append(min(at_most, max(0, details.now_ms - job.started_ms) / 1000))
    return {shorten(name): (len(found), sum(found) / len(found)) for name, found in ages.items()}


def _queued(details: QueueDetails) -> Counter[str]:
    queued: Counter[str] = Counter()
    for names in (details.next_names, details.last_names):
        for name, count in names.items():
            queued[shorten(name)] += max(0, count)
    return +queued


def _time(known: NameTime, age: float) -> _Time:
    """Return how long jobs of a name take: never less than those that run have run on average."""
    if age > known.seconds:
        return _Time(seconds=age, source=known.source, tail_seconds=TAIL * age, floored=True)
    return _Time(seconds=known.seconds, source=known.source, tail_seconds=_tail(known), floored=False)


def _tail(known: NameTime) -> float:
    return known.p95_seconds or TAIL * known.seconds


def _longest_tail(running: Iterable[str], names: Mapping[str, NameTime]) -> float | None:
    """Return what 95 of 100 jobs stay below of that name, among those that run, whose jobs take longest.

    What waits and flows may be short throughout: of a mail every 200 ms and a video now and then no percentile tells.
    """
    known = (names.get(name) or names.get(OTHER) for name in running)
    return max((_tail(one) for one in known if one is not None), default=None)


def _flow(
    counts: Mapping[str, NameCounts], ages: Mapping[str, tuple[int, float]], times: Mapping[str, _Time]
) -> dict[str, float]:
    """Return in which parts jobs end, by name: as counted, those not counted yet by Little's law from those that run.

    What runs is no measure by itself: of as many jobs of 50 ms as of 600 s nearly all that run are the long ones.
    """
    pace = statistics.flows(counts)
    for name, (count, _) in ages.items():
        if name not in counts and name in times:
            pace[name] = count / max(0.001, times[name].seconds)
    total = sum(pace.values())
    return {name: one / total for name, one in pace.items() if one > 0} if total > 0 else {}


def _weights(queued: Mapping[str, int], flow: Mapping[str, float]) -> dict[str, float]:
    weights = {name: float(count) for name, count in queued.items()}
    for name, part in flow.items():
        weights[name] = weights.get(name, 0.0) + FLOW_JOBS * part
    return weights


def _weighed(weights: Mapping[str, float], times: Mapping[str, _Time], counts: Mapping[str, NameCounts]) -> Mix:
    known = {name: weight for name, weight in weights.items() if name in times and weight > 0}
    total = sum(known.values())
    unknown = sum(weight for name, weight in weights.items() if name not in times)
    if total <= 0:
        return Mix(unknown=unknown)
    sources: defaultdict[ServiceSource, float] = defaultdict(float)
    for name, weight in known.items():
        sources[times[name].source] += weight
    source = max(sources, key=lambda one: (sources[one], one))
    mean = sum(weight * times[name].seconds for name, weight in known.items()) / total
    counted = source is ServiceSource.STATISTICS
    tail = _histogram(known, times, counts) if counted else {}
    measured = _measured(known, counts) if counted else {}
    return Mix(
        known=total,
        unknown=unknown,
        seconds=mean,
        p95_seconds=quantiles.quantile_seconds(tail, 0.95),
        p99_seconds=quantiles.quantile_seconds(measured, 0.99),
        source=source,
    )


def _histogram(
    weights: Mapping[str, float], times: Mapping[str, _Time], counts: Mapping[str, NameCounts]
) -> dict[int, float]:
    parts: list[tuple[float, Mapping[int, float]]] = []
    for name, weight in weights.items():
        told = None if times[name].floored else _told(name, counts)
        parts.append((weight, told or quantiles.point(times[name].tail_seconds)))
    return quantiles.mixed(parts)


def _measured(weights: Mapping[str, float], counts: Mapping[str, NameCounts]) -> dict[int, float]:
    """Return how long jobs took, as counted; those of names that were not counted are taken to be short."""
    return quantiles.mixed((weight, _told(name, counts) or quantiles.point(0.0)) for name, weight in weights.items())


def _told(name: str, counts: Mapping[str, NameCounts]) -> Mapping[int, float] | None:
    """Return the histogram of a name, where it has most of the jobs that were counted."""
    counted = counts.get(name) or counts.get(OTHER)
    if counted is None or not sum(counted.recent_histogram.values()) >= counted.recent_jobs / 2 > 0:
        return None
    return counted.recent_histogram
