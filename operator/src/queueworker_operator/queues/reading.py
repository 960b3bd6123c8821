"""What is known of one queue, and what of it is news (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.observation import Problem

NOT_YET_READ = Problem(reason=ConditionReason.NOT_YET_READ, message="The queue has not been read yet.")

_decides = attrgetter(
    *("exists", "waiting", "prioritized", "delayed", "delayed_due", "delayed_due_soon", "next_delayed_ms", "active"),
    *("waiting_children", "legacy_paused", "paused", "global_concurrency", "rate_limit_max", "rate_limit_duration_ms"),
    *("next_scheduler_ms", "delayed_due_quarter", "delayed_due_half"),
)
_counts_on = attrgetter("completed", "failed", "completed_count", "failed_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known of one queue; all times are seconds of the reader's clock."""

    snapshot: QueueSnapshot | None = None
    """The last good reading, also while `problem` says that it is no longer known to hold."""
    read_at: float | None = None
    details: QueueDetails | None = None
    """What was last read beyond the counts: of a busy queue every few seconds, of a quiet one once."""
    details_at: float | None = None
    problem: Problem | None = NOT_YET_READ
    """Why the last read of the counts failed."""
    failures: int = 0
    """Failed reads in a row."""
    failing_since: float | None = None
    """When the first of them ended."""
    event_at: float | None = None
    """The moment of the event, or else of the read, that brought the last news."""

    @property
    def tried(self) -> bool:
        """Whether it was read, with or without success."""
        return self.read_at is not None or self.failures > 0

    @property
    def busy(self) -> bool:
        """Whether the last good reading found jobs ready or active."""
        return self.snapshot is not None and self.snapshot.backlog + self.snapshot.active > 0

    def after(self, result: QueueSnapshot | RedisReadError | None, *, now: float) -> Reading:
        """Return what is known after a read of the counts that ended `now`."""
        if isinstance(result, QueueSnapshot):
            return Reading(
                snapshot=result,
                read_at=now,
                details=self.details,
                details_at=self.details_at,
                problem=None,
                event_at=self.event_at,
            )
        error = result or RedisReadError("The reader gave no answer for this queue.")
        return self.failed(Problem(reason=reason_of(error), message=str(error)), now=now)

    def failed(self, problem: Problem, *, now: float) -> Reading:
        """Return what is known after a read that failed."""
        return replace(
            self,
            problem=problem,
            failures=self.failures + 1,
            failing_since=now if self.failing_since is None else self.failing_since,
        )


def reason_of(error: RedisReadError) -> ConditionReason:
    """Return the reason of a failed read as the conditions know it."""
    try:
        return ConditionReason(error.reason)
    except ValueError:
        return ConditionReason.REDIS_UNREACHABLE


def is_news(told: Reading, new: Reading, *, unreachable_after: int) -> bool:
    """Whether something that decides differs from what was told last.

    A queue that cannot be read is news at its first failure and once more at that from which it counts as unreachable.
    """
    if new.problem is not None:
        return told.problem is None or told.problem.reason != new.problem.reason or new.failures == unreachable_after
    if told.problem is not None or told.snapshot is None or new.snapshot is None:
        return told.problem is not None or told.snapshot is not new.snapshot
    return bool(_decides(told.snapshot) != _decides(new.snapshot))


def is_progress(told: Reading, new: Reading) -> bool:
    """Whether rates or ages may differ though no number that decides does: worth a look now and then."""
    if new.problem is not None or told.snapshot is None or new.snapshot is None:
        return False
    return new.busy or _counts_on(told.snapshot) != _counts_on(new.snapshot)
