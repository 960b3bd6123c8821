"""The keys of a BullMQ queue and its two score encodings, as BullMQ's Lua scripts build them.

Sources: `includes/getPriorityScore.lua`, `includes/getDelayedScore.lua` and `queue_keys.py` of the bullmq package.
"""

from dataclasses import dataclass

PRIORITY_SHIFT = 2**32
DELAYED_SHIFT = 4096
MAX_PRIORITY = 2_097_151
LAST_EXACT = 2**53
"""The last whole number up to which a double, and so a score, holds every one."""
RATE_LIMIT_REACHED = LAST_EXACT - 1
"""What `Queue.rateLimit` of BullMQ writes to `limiter`: no counter of jobs gets there."""


@dataclass(frozen=True, slots=True)
class QueueKeys:
    """Every key of one queue."""

    prefix: str
    queue: str

    @property
    def base(self) -> str:
        """`prefix:queue:`, what the scripts call the key prefix; job ids follow it directly."""
        return f"{self.prefix}:{self.queue}:"

    def of(self, name: str) -> str:
        """Return the key of a part of the queue, `wait` or `meta` for example."""
        return self.base + name

    def job(self, job_id: str) -> str:
        """Return the key of a job's hash."""
        return self.base + job_id

    def lock(self, job_id: str) -> str:
        """Return the key of a job's lock."""
        return f"{self.base}{job_id}:lock"

    @property
    def has_hash_tag(self) -> bool:
        """Whether all keys of the queue lie in one slot of a Cluster."""
        return hash_tag(self.base) is not None

    @property
    def workers(self) -> str:
        """Our zset of live workers: member is the worker's name, score the ms of its last heartbeat."""
        return self.base + "qw:workers"

    @property
    def worker(self) -> str:
        """Our hash of what each worker says of itself: name to JSON of slots and maxStalledCount."""
        return self.base + "qw:worker"

    @property
    def statistics(self) -> str:
        """Our hash of jobs, milliseconds and durations per job name."""
        return self.base + "qw:stats"


def hash_tag(key: str) -> str | None:
    """Return the part of a key that alone settles its slot in a Cluster, None where the whole key does."""
    start = key.find("{")
    end = key.find("}", start) if start >= 0 else -1
    return key[start + 1 : end] if end > start + 1 else None


def missing_hash_tag(keys: QueueKeys) -> str:
    """Return what to say of a queue on a Cluster whose prefix has no hash tag."""
    return f"prefix {keys.prefix!r} has no hash tag: on a Cluster write {{{keys.prefix}}}"


def priority_score(priority: int, counter: int) -> int:
    """Return the score of a job in `prioritized`: lower runs first, the counter keeps the order within a priority."""
    return priority * PRIORITY_SHIFT + counter % PRIORITY_SHIFT


def whole_score(score: float) -> int:
    """Return a score as a whole number; an infinite one, which an infinite delay makes, as the last exact double."""
    return int(max(-LAST_EXACT, min(score, LAST_EXACT)))


def priority_of_score(score: float) -> int:
    """Return the priority that a score of `prioritized` encodes."""
    return whole_score(score) // PRIORITY_SHIFT


def due_ms_of_score(score: float) -> int:
    """Return when (Unix ms) a job of `delayed` is due."""
    return whole_score(score) // DELAYED_SHIFT


def delayed_score_bound(due_ms: int) -> int:
    """Return the highest score in `delayed` of a job that is due at `due_ms` or before."""
    return (due_ms + 1) * DELAYED_SHIFT - 1
