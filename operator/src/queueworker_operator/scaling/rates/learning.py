"""What is remembered of one queue between two looks, for the next one to compare with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from queueworker_operator.scaling.rates.measured import ServiceSource

MIN_WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The counters of one reading; `at_ms` is Redis' own clock."""

    at_ms: int
    in_system: int
    """Jobs ready or active."""
    completed: int | None
    failed: int | None
    active: int
    backlog: int
    attempts: bool = False
    """Whether `completed` are attempts that our workers counted, because no counter tells of jobs."""
    watched_seconds: float = 0.0
    """How long readings followed one another closely enough to know how many jobs ran, summed up,"""
    active_seconds: float = 0.0
    """and meanwhile: the time that jobs ran, summed over the jobs,"""
    ended: int = 0
    """and the jobs that ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameTime:
    """How long the jobs of one name take; `at` is Unix seconds."""

    at: float
    seconds: float
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    source: ServiceSource


@dataclass(frozen=True, slots=True, kw_only=True)
class NameCounts:
    """What our workers counted of one name: as it stood at the last reading, and lately, where older jobs fade."""

    jobs: int
    milliseconds: int
    histogram: Mapping[int, int]
    recent_jobs: float
    recent_milliseconds: float
    recent_histogram: Mapping[int, float]
    flow: float
    """Jobs that ended lately: unlike `recent_jobs` it may fade to nothing."""
    changed_ms: int
    """When a job of the name was last counted, by Redis' clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """How long the jobs take that wait and run, each name weighed by how many there are."""

    known: float = 0.0
    """Weight of the names whose time is known."""
    unknown: float = 0.0
    seconds: float = 0.0
    """The mean of those known."""
    p95_seconds: float | None = None
    p99_seconds: float | None = None
    """As measured: what 99 of 100 jobs stayed below, at the least."""
    source: ServiceSource | None = None
    queued: float = 0.0
    """Jobs looked at in the queue."""
    running: tuple[tuple[float, float], ...] = ()
    """Of each name that waits and runs: the jobs of it among those looked at, and the mean age of those that run."""
    mean_age_seconds: float | None = None
    """Mean age of all jobs that run under a live lock,"""
    oldest_age_seconds: float | None = None
    """and that of the oldest."""
    running_p95_seconds: float | None = None
    """What 95 of 100 jobs stay below of the name among them whose jobs take longest; None where none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who ran what when the details were read."""

    looked_at: int = 0
    total: int = 0
    owned: Mapping[str, int] = field(default_factory=dict)
    """Active jobs by owner."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Those with a live lock."""
    unowned: int = 0
    """Jobs with a live lock that names no owner."""
    orphans: int = 0
    stall_limited: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """Of one queue."""

    samples: tuple[Sample, ...] = ()
    """Over the window of the rates, oldest first, thinned."""
    names: Mapping[str, NameTime] = field(default_factory=dict)
    """By job name, as `shorten` makes it fit into the status."""
    overall: NameTime | None = None
    """What Little's law last said of all names together."""
    counts: Mapping[str, NameCounts] = field(default_factory=dict)
    mix: Mix = field(default_factory=Mix)
    roster: Roster = field(default_factory=Roster)
    window_seconds: float = MIN_WINDOW_SECONDS
    read_ms: int | None = None
    """Redis' clock in the last snapshot that was learned from,"""
    read_at: float = 0.0
    """and the Unix seconds of ours then."""
    lost: bool = False
    """Whether the queue was read before and could not be read since."""
    readable_since: float | None = None
    """Unix seconds of ours when it could be read again; None where it was never lost."""
    details_ms: int | None = None
    """Redis' clock in the last details that were learned from."""
    concurrency: int = 0
    """What the spec said when the slots were learned."""
    slots_reported: int | None = None
    """What our workers said last."""
    slots_seen: int = 0
    """The highest number of jobs per ready pod that was seen to last."""
    ready: int = 0
    ready_since: float = 0.0
    shrunk_at: float | None = None
    """When fewer pods were ready than before."""
    saturated_since: float | None = None
    saturated_backlog: int = 0
    """The backlog at that time."""
