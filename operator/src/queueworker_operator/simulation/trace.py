"""What load is: which jobs come when, and how long each takes."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean

from queueworker_operator.simulation.randomness import Uniform, lognormal

SERVICE_SPREAD = 0.5
"""Sigma of service times that are drawn: a twentieth take more than twice the mean."""
DEFAULT_SERVICE_SECONDS = 1.0
LEAST_SERVICE_SECONDS = 0.001
"""No job takes no time; records in whole milliseconds say 0 of the shortest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedJob:
    """One job, or one attempt of it; times are seconds since the trace began."""

    queue: str
    name: str
    added: float
    due: float | None = None
    """When a delayed job falls due; None where it was not delayed."""
    priority: int = 0
    """BullMQ's priority: 0 goes to `wait`, others to `prioritized`, the lowest first."""
    service: float | None = None
    """How long it runs, in seconds; None where that is not known."""

    @property
    def ready(self) -> float:
        """When a free slot could take it."""
        return self.added if self.due is None else max(self.added, self.due)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Jobs in the order in which they were added, and how long was looked."""

    jobs: tuple[TracedJob, ...]
    seconds: float
    started: float | None = None
    """Unix seconds of its beginning; None where it was made up."""
    gaps: int = 0
    """Places where the recording missed events."""
    left_out: int = 0
    """Delayed jobs that fall due too late to be run."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that have jobs, by name."""
        return tuple(sorted({job.queue for job in self.jobs}))

    def cut(self, seconds: float) -> "Trace":
        """Return what was added within the first `seconds`."""
        jobs = tuple(job for job in self.jobs if job.added < seconds)
        return replace(self, jobs=jobs, seconds=min(seconds, self.seconds))

    def without_late(self, patience: float) -> "Trace":
        """Return it without the jobs that are ready later than so many seconds after its end."""
        jobs = tuple(job for job in self.jobs if job.ready <= self.seconds + patience)
        return replace(self, jobs=jobs, left_out=len(self.jobs) - len(jobs))


def trace_of(jobs: Iterable[TracedJob], *, seconds: float, started: float | None = None, gaps: int = 0) -> Trace:
    """Return a trace of jobs in any order."""
    return Trace(jobs=tuple(sorted(jobs, key=lambda job: job.added)), seconds=seconds, started=started, gaps=gaps)


def with_service_times(trace: Trace, uniform: Uniform, *, mean: float | None = None) -> Trace:
    """Return the trace with a service time for every job, at least 1 ms.

    What is not known is drawn around `mean` (seconds); without one around the mean of the jobs of that name, else of
    all, else 1 s.
    """
    if all(job.service is not None and job.service >= LEAST_SERVICE_SECONDS for job in trace.jobs):
        return trace
    mean_of = (lambda _: mean) if mean is not None else _means(trace.jobs)
    return replace(trace, jobs=tuple(_timed(job, uniform, mean_of(job)) for job in trace.jobs))


def _timed(job: TracedJob, uniform: Uniform, mean: float) -> TracedJob:
    service = lognormal(uniform, mean, spread=SERVICE_SPREAD) if job.service is None else job.service
    return replace(job, service=max(LEAST_SERVICE_SECONDS, service))


def _means(jobs: Iterable[TracedJob]) -> Callable[[TracedJob], float]:
    known: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for job in jobs:
        if job.service is not None:
            known[job.queue, job.name].append(job.service)
    means = {name: fmean(times) for name, times in known.items()}
    every = [time for times in known.values() for time in times]
    overall = fmean(every) if every else DEFAULT_SERVICE_SECONDS
    return lambda job: means.get((job.queue, job.name), overall)
