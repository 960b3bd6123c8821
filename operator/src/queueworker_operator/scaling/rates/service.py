"""The service time, from the first source that has it."""

from dataclasses import dataclass, replace

from queueworker_operator.scaling.rates.learning import Learning, Mix, NameTime
from queueworker_operator.scaling.rates.measured import ServiceSource
from queueworker_operator.scaling.rates.mixture import FLOW_JOBS, TAIL
from queueworker_operator.scaling.rates.nametimes import FORGOTTEN_AFTER_SECONDS
from queueworker_operator.scaling.rates.window import SHORTEST_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """How long a job takes; all None where nothing tells."""

    seconds: float | None = None
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    source: ServiceSource | None = None


_UNKNOWN = Service()


def service(learning: Learning, now: float, *, expected_seconds: float | None) -> Service:
    """Return the time of a job from the first source that has it, see `ServiceSource`."""
    mix, overall = learning.mix, _overall(learning, now)
    by_name = _by_name(mix, overall.seconds if overall is not None else expected_seconds)
    if by_name is not None and by_name.source is ServiceSource.STATISTICS:
        return by_name
    if overall is not None:
        return _plain(_raised(overall.seconds, mix), ServiceSource.COUNTERS)
    if by_name is not None:
        return by_name
    if learning.names and learning.details_ms is None:
        times = [one.seconds for one in learning.names.values()]
        return _plain(sum(times) / len(times), ServiceSource.REMEMBERED)
    if expected_seconds is not None:
        return _plain(expected_seconds, ServiceSource.EXPECTED)
    return _UNKNOWN


def _overall(learning: Learning, now: float) -> NameTime | None:
    """Return what the counters told, unless that is past and jobs run longer now than they did then."""
    overall, age = learning.overall, learning.mix.mean_age_seconds
    if overall is None or abs(now - overall.at) >= FORGOTTEN_AFTER_SECONDS:
        return None
    past = now - overall.at > learning.window_seconds
    return None if past and age is not None and age > overall.seconds else overall


def _raised(seconds: float, mix: Mix) -> float:
    """Raise the mean by the names in the queue whose running jobs are older than it already."""
    more = sum(weight * max(0.0, age - seconds) for weight, age in mix.running)
    return seconds + more / (mix.queued + FLOW_JOBS)


def _by_name(mix: Mix, else_seconds: float | None) -> Service | None:
    """Names of which nothing is known take as long as the queue does on average, where that is known.

    Else the rest speaks for them, if it is the greater part.
    """
    if mix.source is None or (else_seconds is None and mix.unknown > mix.known):
        return None
    seconds = mix.seconds
    if mix.unknown > 0 and else_seconds is not None:
        seconds = (mix.known * seconds + mix.unknown * else_seconds) / (mix.known + mix.unknown)
    plain = _plain(seconds, mix.source)
    return replace(plain, p95_seconds=mix.p95_seconds or plain.p95_seconds, p99_seconds=mix.p99_seconds)


def _plain(seconds: float, source: ServiceSource | None) -> Service:
    seconds = max(SHORTEST_SECONDS, seconds)
    return Service(seconds=seconds, p95_seconds=TAIL * seconds, source=source)
