"""The optimum that knows the future: fewest pod-seconds whose p95 wait is no worse than ours.

It is the cheapest of several courses, each run through the same queues: our own and its rivals' job starts on pods that
are there exactly when needed, and plans that work off the jobs as evenly as an allowed wait permits (the taut string
between what has come and what must have been started), for the longest allowed wait that keeps p95, with and without a
ceiling, so that the peaks of the other 5 % may be cut off. Pods start ahead of need, even before the trace begins, take
the mean start-up time, and running jobs move to the pods that stay, for nothing. A run that costs less than that, by
luck with the start-up times that were drawn for it, stands for itself. So the optimum costs at most what ours costs; a
cleverer choice of which jobs may wait could cost a little less still. What no course can undercut that does all the
work is `floor`.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from queueworker_operator.simulation.figures import pod_seconds_of, quantile, wait_of
from queueworker_operator.simulation.jobs import SimulatedQueue
from queueworker_operator.simulation.levels import Interval, Step, cost, needed
from queueworker_operator.simulation.plant import Plant
from queueworker_operator.simulation.taut import taut_string
from queueworker_operator.simulation.trace import Trace, TracedJob
from queueworker_operator.simulation.world import World

_CELLS = 2400
_LEAST_CELL_SECONDS = 0.5
_TRIES = 12
_UNLIMITED = 1_000_000
_DUST = 1e-6
"""What the arithmetic of floats adds is no reason for one more pod."""
_CEILINGS = (0.85, 0.7, 0.55, 0.4, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The cheapest course that was found."""

    pod_seconds: float
    p95: float
    course: tuple[Step, ...]
    """How many pods it needs from when on."""
    floor: float
    """Pod-seconds below which nothing can get: the work on full slots, and one start-up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    pod_seconds: float
    p95: float
    steps: list[Step]


def optimum(trace: Trace, plant: Plant, *, p95: float, beside: Iterable[World]) -> Optimum:
    """Return the optimum among courses whose p95 wait is at most `p95` seconds; `beside` are runs of the same trace."""
    runs = list(beside)
    courses = [_of_run(world) for world in runs]
    if all(queue.limit is None for queue in plant.queues):
        courses.append(_at_once(trace, plant))
    courses += _planned(trace, plant, p95=p95)
    best = min((one for one in courses if one.p95 <= p95), key=lambda one: one.pod_seconds)
    least = floor(trace, plant, start_up=min([plant.mean_start_up, *(took for run in runs for took in _starts(run))]))
    return Optimum(pod_seconds=best.pod_seconds, p95=best.p95, course=tuple(best.steps), floor=least)


def floor(trace: Trace, plant: Plant, *, start_up: float) -> float:
    """Return the pod-seconds that nobody undercuts who does all the work: full slots, and one start
    where all begins at zero."""
    work = {queue.name: 0.0 for queue in plant.queues}
    for job in trace.jobs:
        work[job.queue] += job.service or 0.0
    least = max((work[queue.name] / queue.slots for queue in plant.queues), default=0.0)
    first = start_up if trace.jobs and plant.initial == 0 else 0.0
    return max(least + first, plant.initial * trace.seconds)


def _starts(world: World) -> Iterator[float]:
    """Yield how long the pods of a run took to start."""
    for pod in (*world.past_pods, *world.pods):
        if pod.ready_at is not None and not pod.initial:
            yield pod.ready_at - pod.created


def _of_run(world: World) -> _Course:
    """Return what a run needs at the least, which is never more than what it cost itself."""
    course = _course(world)
    return replace(course, pod_seconds=min(course.pod_seconds, pod_seconds_of(world)))


def _at_once(trace: Trace, plant: Plant) -> _Course:
    """Return the course in which no job waits at all."""
    intervals = [
        [(job.ready, job.ready + (job.service or 0.0)) for job in trace.jobs if job.queue == queue.name]
        for queue in plant.queues
    ]
    steps = needed(intervals, [queue.slots for queue in plant.queues])
    pod_seconds = cost(steps, start_up=plant.mean_start_up, minimum=plant.initial, end=trace.seconds)
    return _Course(pod_seconds=pod_seconds, p95=0.0, steps=steps)


def _planned(trace: Trace, plant: Plant, *, p95: float) -> Iterator[_Course]:
    arrivals = [_Work([job for job in trace.jobs if job.queue == queue.name]) for queue in plant.queues]
    at_once = replace(plant, start_up=lambda _: 0.0)

    def run(allowed: float, ceiling: int) -> _Course:
        steps = _plan(trace, plant, arrivals, allowed=allowed, ceiling=ceiling)
        return _course(World(trace, at_once, _Planned(steps)).run(), start_up=plant.mean_start_up)

    best: _Course | None = None
    peak = _UNLIMITED
    for share in (None, *_CEILINGS):
        found = list(_keeping(run, p95, ceiling=peak if share is None else max(1, int(share * peak))))
        if not found:
            return
        yield from found
        if best is None:
            best = min(found, key=lambda one: one.pod_seconds)
            peak = max((pods for _, pods in best.steps), default=1)


def _keeping(run: Callable[[float, int], _Course], p95: float, *, ceiling: int) -> Iterator[_Course]:
    """Yield the courses that keep p95, over allowed waits from none to twice as long."""
    longest = 2 * p95 + 1.0
    for step in range(_TRIES + 1):
        course = run(longest * step / _TRIES, ceiling)
        if course.p95 <= p95:
            yield course
        elif step == 0:
            return


class _Work:
    """Seconds of work that would be done by a time if every job ran as soon as it is ready."""

    def __init__(self, jobs: Sequence[TracedJob]) -> None:
        self._begins = sorted(job.ready for job in jobs)
        self._ends = sorted(job.ready + (job.service or 0.0) for job in jobs)
        self._begun = [0.0, *accumulate(self._begins)]
        self._ended = [0.0, *accumulate(self._ends)]

    @property
    def end(self) -> float:
        return self._ends[-1] if self._ends else 0.0

    def by(self, at: float) -> float:
        begun, ended = bisect_left(self._begins, at), bisect_left(self._ends, at)
        return (begun - ended) * at - self._begun[begun] + self._ended[ended]


def _plan(trace: Trace, plant: Plant, arrivals: Sequence[_Work], *, allowed: float, ceiling: int) -> list[Step]:
    """Return how many pods work off all queues as evenly as the allowed wait permits."""
    end = max([trace.seconds, *(work.end for work in arrivals)]) + allowed
    cell = max(_LEAST_CELL_SECONDS, end / _CELLS)
    cells = int(end / cell) + 2
    pods = [plant.initial] * (cells - 1)
    for work, queue in zip(arrivals, plant.queues, strict=True):
        upper = [work.by(i * cell) for i in range(cells)]
        lower = [work.by(i * cell - allowed) for i in range(cells)]
        line = taut_string(lower, upper)
        for i in range(cells - 1):
            rate = (line[i + 1] - line[i]) / cell
            pods[i] = max(pods[i], min(math.ceil(rate / queue.slots - _DUST), ceiling))
    return [(i * cell, count) for i, count in enumerate(pods) if i == 0 or count != pods[i - 1]]


class _Planned:
    """A scaler that follows a plan."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    def begin(self, world: World) -> None:
        for at, pods in self._steps:
            world.at(at, world.scale, pods)

    def job_came(self, queue: SimulatedQueue) -> None:
        pass

    def pods_changed(self) -> None:
        pass


def _course(world: World, *, start_up: float | None = None) -> _Course:
    """Return what the job starts of a run cost on pods that are there exactly when needed."""
    plant = world.plant
    intervals: list[list[Interval]] = [[] for _ in world.queues]
    index = {queue.name: queue.index for queue in world.queues}
    for job in world.jobs:
        if job.started is not None:
            intervals[index[job.job.queue]].append((job.taken, world.now if job.ended is None else job.ended))
    steps = needed(intervals, [queue.slots for queue in plant.queues])
    waits = sorted(wait_of(job, world.now) for job in world.jobs)
    pod_seconds = cost(
        steps,
        start_up=plant.mean_start_up if start_up is None else start_up,
        minimum=plant.initial,
        end=world.trace.seconds,
    )
    return _Course(pod_seconds=pod_seconds, p95=quantile(waits, 0.95), steps=steps)
