"""What is known of one queue at one moment, as the votes use it."""

from dataclasses import dataclass
from enum import StrEnum


class ServiceSource(StrEnum):
    """Where a service time comes from, the best first."""

    STATISTICS = "statistics"
    """What our workers count per job name."""
    COUNTERS = "counters"
    """Little's law: jobs in work over jobs that ended per second."""
    FINISHED = "finished"
    """`processedOn` and `finishedOn` of the jobs that are kept."""
    REMEMBERED = "remembered"
    """What the status remembers from before the operator was started."""
    ACTIVE = "active"
    """The age of jobs that run, doubled."""
    EXPECTED = "expected"
    """`target.expectedJobMilliseconds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRates:
    """What was measured of one queue. None is unknown, never zero."""

    slots: int
    """c: jobs that one pod runs at a time, at least 1."""
    service_seconds: float | None = None
    """S: how long a job takes on average, at least 1 ms, names weighed as they come."""
    service_p95_seconds: float | None = None
    """What 95 of 100 jobs stay below; 3·S where only the mean is known."""
    service_p99_seconds: float | None = None
    """What 99 of 100 stayed below as measured; None where nothing was."""
    service_source: ServiceSource | None = None
    arrivals_per_second: float | None = None
    """λ: jobs that became ready per second; exactly 0 where none did."""
    completions_per_second: float | None = None
    failures_per_second: float | None = None
    oldest_running_seconds: float | None = None
    """For how long the oldest job has run of those looked at, or would if it still does where nobody can look: where
    long jobs are rare, p95 does not tell of them."""
    running_p95_seconds: float | None = None
    """What 95 of 100 jobs stay below of the name whose jobs take longest, of those that run or, where nobody can look,
    were seen last: rare as they may be, they run on the pods that a scale-in would take."""
    active: int = 0
    """a: jobs that run, those on terminating pods left out."""
    orphans: int = 0
    """Active jobs of those looked at that have no live lock."""
    busy_pods: frozenset[str] = frozenset()
    """Pods that hold a live lock, terminating ones left out; owners as they are where the pods were not listed."""
    unattributed: int = 0
    """Active jobs with a live lock whose pod is not known, and active jobs that were not looked at."""
    stall_limited_pods: frozenset[str] = frozenset()
    """Pods with a job that may not stall once more."""
    saturated_since: float | None = None
    """Since when (Unix seconds) nearly all slots are taken and the backlog does not fall."""
