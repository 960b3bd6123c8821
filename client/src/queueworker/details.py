"""What one queue tells beyond its counts: who runs what, how long jobs take, which names come next (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass

from queueworker.workers import JobStatistics, WorkerRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveJob:
    """A job in `active`."""

    name: str
    """Empty where the job is gone: only its id is left in the list."""
    owner: str | None
    """Who holds it: field `pb` (a worker that has a name), else the lock token up to its last colon. Our workers begin
    their tokens with their own name, which is the pod's; what other workers write there names no pod."""
    locked: bool
    """Whether its lock is alive: without one it waits for a worker to find it stalled."""
    started_ms: int | None
    """Unix ms of its last start (`processedOn`)."""
    stalled_count: int
    """How often it was found stalled (`stc`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedJob:
    """A completed job that is kept."""

    name: str
    processed_ms: int
    finished_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDetails:
    """One reading of the parts of a queue that are read less often than its counts; all lists are bounded.

    Times are Unix milliseconds of the Redis server's own clock, but for those that workers wrote.
    """

    prefix: str
    queue: str
    now_ms: int
    active: tuple[ActiveJob, ...] = ()
    active_total: int = 0
    """Length of `active`; above that of the tuple where not all were looked at, those taken first then."""
    next_names: Mapping[str, int]
    """Names of the jobs that will be taken next, and how many of each are among those looked at."""
    last_names: Mapping[str, int]
    """The same of those at the other end: at the head of `wait` and at the end of `prioritized`, each in proportion to
    its length."""
    finished: tuple[FinishedJob, ...] = ()
    """The newest of the completed jobs that are kept."""
    statistics: tuple[JobStatistics, ...] = ()
    """What our workers counted, by job name, over the life of the queue; of very many names only those met here."""
    workers: tuple[WorkerRecord, ...] = ()
    """Our workers that are on record, the dead ones too: look at `alive`."""
