"""What became of a job that was to be added, told from the replies to the commands around its script."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from queueworker.command import Command
from queueworker.errors import JobRefusedError
from queueworker.jobs import Job
from queueworker.keys import QueueKeys

MISSING_PARENT = -5
OTHER_PARENT = -7


class Outcome(enum.StrEnum):
    """What became of a job; `duplicated` and `deduplicated` are the events that BullMQ tells of them."""

    ADDED = "added"
    DUPLICATED = "duplicated"
    """A job of this id is there, finished ones too while they are kept."""
    DEDUPLICATED = "deduplicated"
    """Another job stands for it, by the deduplication id."""
    KEPT = "kept"
    """Another job of the deduplication id is running; this one is added under its own id when that one ends.

    Or a later one in its place: only the last one is kept (`keep_last_if_active`).
    """


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What became of a job: the id of the job that stands for it in Redis, which is its own where it was added."""

    id: str
    outcome: Outcome

    @property
    def added(self) -> bool:
        """Whether this very job is there now; False for a duplicate of any kind."""
        return self.outcome is Outcome.ADDED


@dataclass(frozen=True, slots=True)
class Attempt:
    """One job in one request: its call, between commands that tell an id that was there from one that is new.

    BullMQ's scripts answer both with the id. At the first sending the id must not exist; later it may, if it came by
    our own request whose answer was lost, which its timestamp shows.
    """

    job: Job
    call: Command
    keys: QueueKeys
    timestamp_ms: int
    resent: bool

    @property
    def _probe(self) -> Command | None:
        """What tells an id that was there from one that is new; nobody else can have a generated id."""
        key = self.keys.job(self.job.id)
        if self.resent:
            return ("HGET", key, "timestamp")
        return None if self.job.generated_id else ("EXISTS", key)

    @property
    def commands(self) -> list[Command]:
        """What to send: a probe, the call, and another probe if the job has a deduplication id."""
        sent = [self.call] if self._probe is None else [self._probe, self.call]
        deduplication = self.job.options.deduplication
        if deduplication is None:
            return sent
        if deduplication.keep_last_if_active:
            return [*sent, ("HGET", self.keys.of(f"dn:{deduplication.id}"), "jid")]
        return [*sent, ("HGET", self.keys.job(self.job.id), "timestamp")]

    def outcome(self, replies: Sequence[Any]) -> Enqueued:
        """Return what the replies to `commands` say; raises JobRefusedError."""
        before, reply, *after = replies if self._probe is not None else (None, *replies)
        if isinstance(reply, int) and reply < 0:
            raise refusal(self.job, reply, queue=self.keys.queue)
        stands = str(reply)
        own = str(self.timestamp_ms)
        deduplication = self.job.options.deduplication
        keeps_last = deduplication is not None and bool(deduplication.keep_last_if_active)
        if stands != self.job.id:
            return Enqueued(stands, Outcome.KEPT if keeps_last and after == [self.job.id] else Outcome.DEDUPLICATED)
        if self.job.generated_id:
            return Enqueued(stands, Outcome.ADDED)
        if before not in (0, None, own):
            return Enqueued(stands, Outcome.DUPLICATED)
        # The deduplication id may outlive its job, and then names this very id though nothing was added.
        is_stale = deduplication is not None and not keeps_last and after != [own]
        return Enqueued(stands, Outcome.DEDUPLICATED if is_stale else Outcome.ADDED)


def is_ours(job: Job, stored_timestamp: Any, timestamp_ms: int) -> bool:
    """Tell by the timestamp of the job that is stored under its id whether our own request put it there."""
    if stored_timestamp is None:
        return False
    # Nobody else can know a generated id.
    return job.generated_id or stored_timestamp == str(timestamp_ms)


def refusal(job: Job, code: int, *, queue: str) -> JobRefusedError:
    """Return the error for the negative answer of a script that adds a job."""
    parent = job.options.parent
    where = "" if parent is None else f" {parent.key}"
    if code == MISSING_PARENT:
        what = f"its parent{where} does not exist (any more)"
    elif code == OTHER_PARENT:
        what = f"it is there already as the child of another job than{where}, which cannot be replaced"
    else:
        what = f"BullMQ answered with the code {code}"
    return JobRefusedError(f"queue {queue}: job {job.name} ({job.id}) was not added: {what}", job_id=job.id, code=code)
