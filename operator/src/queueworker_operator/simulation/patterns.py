"""Made-up load: five shapes that autoscalers meet, and a noisy one. The same seed makes the same jobs."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.simulation.ceilings import allowed_rate
from queueworker_operator.simulation.randomness import Uniform, exponential, lognormal
from queueworker_operator.simulation.trace import SERVICE_SPREAD, Trace, TracedJob, trace_of

_HIGHEST_RATE = 50.0


class Pattern(StrEnum):
    """The shapes."""

    BURST = "burst"
    """A thousand jobs at once, four times, and nothing between."""
    RAMP = "ramp"
    """From almost nothing to the peak in a straight line, then down."""
    DAILY = "daily"
    """A day and a night, compressed."""
    SPIKY = "spiky"
    """A steady load with short peaks of ten times as much."""
    DELAYED = "delayed"
    """Jobs that are delayed to a few moments, and a trickle that is not."""
    NOISY = "noisy"
    """A steady load with noise and no trend."""


DEFAULT_SECONDS = {
    Pattern.BURST: 3600.0,
    Pattern.RAMP: 3600.0,
    Pattern.DAILY: 7200.0,
    Pattern.SPIKY: 3600.0,
    Pattern.DELAYED: 3600.0,
    Pattern.NOISY: 3600.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a pattern is made of."""

    queues: tuple[str, ...]
    """Each gets the load, moved by a part of its length, so that they do not peak together."""
    service: float = 0.5
    """Mean service time in seconds."""
    seconds: float
    jobs_per_second: float = 10.0
    """The scale of the load, per queue: the peak of most patterns is about five times this."""


def make(pattern: Pattern, shape: Shape, uniform: Uniform) -> Trace:
    """Return the load of a pattern on all queues of the shape."""
    jobs: list[TracedJob] = []
    for index, queue in enumerate(shape.queues):
        moved = shape.seconds * index / (3 * len(shape.queues))
        for added, due in _MAKERS[pattern](shape, uniform):
            if added + moved < shape.seconds:
                later = None if due is None else due + moved
                jobs.append(_job(queue, added + moved, later, lognormal(uniform, shape.service, spread=SERVICE_SPREAD)))
    return trace_of(jobs, seconds=shape.seconds)


_Moments = Iterator[tuple[float, float | None]]


def _job(queue: str, added: float, due: float | None, service: float) -> TracedJob:
    return TracedJob(queue=queue, name="job", added=added, due=due, service=service)


def _burst(shape: Shape, uniform: Uniform) -> _Moments:
    size = round(100 * shape.jobs_per_second)
    for begin in (60.0, shape.seconds * 0.25, shape.seconds * 0.5, shape.seconds * 0.75):
        for number in range(size):
            # A producer adds about two thousand a second.
            yield begin + number / 2000, None


def _ramp(shape: Shape, uniform: Uniform) -> _Moments:
    def rate(at: float) -> float:
        share = at / shape.seconds
        up = min(1.0, share / 0.6) if share < 0.7 else max(0.0, 1 - (share - 0.7) / 0.15)
        return 5 * shape.jobs_per_second * up

    return _poisson(shape, uniform, rate, most=5 * shape.jobs_per_second)


def _daily(shape: Shape, uniform: Uniform) -> _Moments:
    def rate(at: float) -> float:
        hour = 24 * at / shape.seconds
        day = max(0.0, math.sin((hour - 6) / 14 * math.pi)) if 6 <= hour <= 20 else 0.0
        return shape.jobs_per_second * (0.02 + 4 * day * day)

    return _poisson(shape, uniform, rate, most=4.02 * shape.jobs_per_second)


def _spiky(shape: Shape, uniform: Uniform) -> _Moments:
    peaks = sorted(shape.seconds * (0.05 + 0.9 * uniform()) for _ in range(8))

    def rate(at: float) -> float:
        peak = any(begin <= at < begin + 20 for begin in peaks)
        return shape.jobs_per_second * (10.0 if peak else 1.0)

    return _poisson(shape, uniform, rate, most=10 * shape.jobs_per_second)


def _delayed(shape: Shape, uniform: Uniform) -> _Moments:
    size = round(50 * shape.jobs_per_second)
    for share in (0.15, 0.4, 0.6, 0.85):
        due = shape.seconds * share
        for _ in range(size):
            yield uniform() * due * 0.9, due + 20 * uniform()
    yield from _poisson(shape, uniform, lambda _: 0.02 * shape.jobs_per_second, most=0.02 * shape.jobs_per_second)


def _noisy(shape: Shape, uniform: Uniform) -> _Moments:
    levels = [0.7 + 0.6 * uniform() for _ in range(math.ceil(shape.seconds / 20) + 1)]
    top = 2 * shape.jobs_per_second

    return _poisson(shape, uniform, lambda at: top * levels[int(at / 20)], most=1.3 * top)


def _poisson(shape: Shape, uniform: Uniform, rate: Callable[[float], float], *, most: float) -> _Moments:
    """Yield moments of a Poisson process whose rate changes, by thinning one of the rate `most`."""
    at = exponential(uniform, 1 / most)
    while at < shape.seconds:
        if uniform() * most < rate(at):
            yield at, None
        at += exponential(uniform, 1 / most)


_MAKERS: dict[Pattern, Callable[[Shape, Uniform], _Moments]] = {
    Pattern.BURST: _burst,
    Pattern.RAMP: _ramp,
    Pattern.DAILY: _daily,
    Pattern.SPIKY: _spiky,
    Pattern.DELAYED: _delayed,
    Pattern.NOISY: _noisy,
}


def fitting_rate(spec: QueueWorkerSpec, service: float) -> float:
    """Return the peak (jobs per second and queue) that uses 60 % of maxReplicas and of the limits; at most 50.

    `service` is the mean service time in seconds.
    """
    most = spec.autoscaling.max_replicas if spec.autoscaling is not None else 1
    slots = min(queue.concurrency for queue in spec.queues)
    return min(_HIGHEST_RATE, 0.6 * min(most * slots / service, allowed_rate(spec)))
