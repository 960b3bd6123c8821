"""One simulated queue, in BullMQ's order: `wait`, then `prioritized`; delayed jobs join when a worker fetches."""

from bisect import bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from queueworker.workers import JobStatistics
from queueworker_operator.simulation.pods import SimulatedPod
from queueworker_operator.simulation.trace import TracedJob


@dataclass(slots=True, eq=False)
class SimulatedJob:
    """A job on its way; times are seconds since the run began."""

    job: TracedJob
    number: int
    ready: float
    service: float
    started: float | None = None
    """When it was first started,"""
    taken: float = 0.0
    """and when last."""
    ended: float | None = None
    pod: SimulatedPod | None = None
    attempts: int = 0


@dataclass(slots=True, kw_only=True)
class Limiter:
    """BullMQ's rate limit: a counter that begins with the first job of a window."""

    max: int
    seconds: float
    count: int = 0
    until: float = 0.0

    def blocked_until(self, now: float) -> float | None:
        """Return when a job may be taken again; None where one may be taken now."""
        return self.until if now < self.until and self.count >= self.max else None

    def take(self, now: float) -> None:
        """Count a job that is taken."""
        if now >= self.until:
            self.count, self.until = 0, now + self.seconds
        self.count += 1


@dataclass(slots=True)
class Tally:
    """What our workers count of one job name."""

    jobs: int = 0
    milliseconds: int = 0
    histogram: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, seconds: float) -> None:
        """Count an attempt that ended."""
        milliseconds = round(seconds * 1000)
        self.jobs += 1
        self.milliseconds += milliseconds
        self.histogram[milliseconds.bit_length()] += 1


_MOST_NAMES = 100
_OTHER = "(other)"
"""Our workers tell so many job names apart, and count the others together."""


@dataclass(slots=True, kw_only=True, eq=False)
class SimulatedQueue:
    """What Redis holds of one queue, and which pods wait for its jobs."""

    name: str
    index: int
    slots: int
    limiter: Limiter | None = None
    wait: deque[SimulatedJob] = field(default_factory=deque)
    prioritized: dict[int, deque[SimulatedJob]] = field(default_factory=dict)
    delayed: list[tuple[float, int, SimulatedJob]] = field(default_factory=list)
    active: dict[int, SimulatedJob] = field(default_factory=dict)
    woken_at: float = -1.0
    """Until when the rate limit was last waited for."""
    free: deque[SimulatedPod] = field(default_factory=deque)
    """Pods with free slots, who has waited longest first: so BZPOPMIN serves those who block on it."""
    added: int = 0
    completed: int = 0
    tallies: defaultdict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    statistics: tuple[JobStatistics, ...] = ()
    """What the workers wrote at their last heartbeat."""

    def add(self, job: SimulatedJob, now: float) -> None:
        """Put a job where BullMQ puts it."""
        self.added += 1
        if job.ready > now:
            insort(self.delayed, (job.ready, job.number, job))
        else:
            self._queue(job)

    def give_back(self, job: SimulatedJob) -> None:
        """Return a job that was not ended to the place from which it is taken next."""
        del self.active[job.number]
        if job.job.priority:
            self.prioritized.setdefault(job.job.priority, deque()).appendleft(job)
        else:
            self.wait.appendleft(job)

    def take(self, now: float) -> SimulatedJob | None:
        """Promote what is due and return the job that is next, None where there is none."""
        if self.delayed and self.delayed[0][0] <= now:
            self._promote(now)
        if self.wait:
            return self.wait.popleft()
        if not self.prioritized:
            return None
        first = min(self.prioritized)
        jobs = self.prioritized[first]
        job = jobs.popleft()
        if not jobs:
            del self.prioritized[first]
        return job

    def due_within(self, until: float) -> int:
        """Return how many delayed jobs are due at that time."""
        return bisect_right(self.delayed, until, key=_due)

    def waiting(self) -> Iterator[deque[SimulatedJob]]:
        """Yield the lists from which jobs are taken, in that order."""
        if self.wait:
            yield self.wait
        for priority in sorted(self.prioritized):
            yield self.prioritized[priority]

    @property
    def backlog(self) -> int:
        """Jobs that are ready, but for delayed ones that are due."""
        return len(self.wait) + sum(map(len, self.prioritized.values()))

    def count(self, job: SimulatedJob) -> None:
        """Count an attempt that ended, as the workers do."""
        self.completed += 1
        name = job.job.name
        known = name in self.tallies or len(self.tallies) < _MOST_NAMES
        self.tallies[name if known else _OTHER].add(job.service)

    def write_statistics(self) -> None:
        """Write down what the workers counted, as their heartbeat does."""
        self.statistics = tuple(
            JobStatistics(name, tally.jobs, tally.milliseconds, dict(tally.histogram))
            for name, tally in self.tallies.items()
        )

    def _promote(self, now: float) -> None:
        due = self.due_within(now)
        for _, _, job in self.delayed[:due]:
            self._queue(job)
        del self.delayed[:due]

    def _queue(self, job: SimulatedJob) -> None:
        if job.job.priority:
            self.prioritized.setdefault(job.job.priority, deque()).append(job)
        else:
            self.wait.append(job)


def _due(entry: tuple[float, int, SimulatedJob]) -> float:
    return entry[0]
