"""Whether every job was done, once, and right: what was put in, against what Redis and the database hold. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

SHOWN_IDS = 5


class State(StrEnum):
    """Where a job is at the end."""

    COMPLETED = "completed"
    FAILED = "failed"
    OPEN = "open"
    """Anywhere else: waiting, delayed, active, …"""


class JobKey(NamedTuple):
    """Which job."""

    prefix: str
    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job that was put in, and what must be stored for it."""

    key: JobKey
    killmail_id: int
    cents: int
    attackers: int
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as Redis holds it at the end."""

    state: State
    starts: int
    """How often BullMQ handed it to a worker: the job's `ats`, counted by the script that fetches."""
    outcome: str | None
    """What the processor said that it did; "exists" means that an earlier run had stored the killmail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKill:
    """A killmail as the database holds it; attackers and items are rows counted."""

    cents: int
    attackers: int
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What came of all jobs. The ids in the tuples are those of the jobs that spoil it."""

    jobs_in: int
    jobs_done: int
    lost: tuple[str, ...]
    """Unknown to Redis, or completed without a row."""
    unfinished: tuple[str, ...]
    """Still in the queue when the time was up."""
    failed: tuple[str, ...]
    twice: tuple[str, ...]
    """Handed to a worker more than once, or done again after it was done."""
    wrong: tuple[str, ...]
    """Stored, but not as the document says: value, attackers or items differ."""
    strangers: int
    """Killmails in the database that nobody put in."""
    cents: int
    expected_cents: int

    @property
    def right(self) -> bool:
        """Whether everything was done once and right."""
        spoiled = (self.lost, self.unfinished, self.failed, self.twice, self.wrong)
        complete = self.jobs_in > 0 and self.jobs_done == self.jobs_in
        return complete and not any(spoiled) and not self.strangers and self.cents == self.expected_cents

    def lines(self) -> list[str]:
        """Return the summary for people, one fact a line."""
        total = f"ISK total      {isk(self.cents)}"
        if self.cents != self.expected_cents:
            total += f" (must be {isk(self.expected_cents)})"
        lines = [f"jobs in        {self.jobs_in}", f"jobs done      {self.jobs_done}"]
        for title, ids in (("lost", self.lost), ("done twice", self.twice), ("failed", self.failed)):
            lines.append(f"{title:<14} {_counted(ids)}")
        if self.unfinished:
            lines.append(f"unfinished     {_counted(self.unfinished)}")
        if self.wrong:
            lines.append(f"stored wrongly {_counted(self.wrong)}")
        if self.strangers:
            lines.append(f"not put in     {self.strangers}")
        return [*lines, total]


def judge(entries: Iterable[Entry], jobs: Mapping[JobKey, JobRecord], stored: Mapping[int, StoredKill]) -> Summary:
    """Compare what was put in with what there is."""
    entries = list(entries)
    lost, unfinished, failed, twice, wrong = [], [], [], [], []
    for entry in entries:
        job, kill = jobs.get(entry.key), stored.get(entry.killmail_id)
        name = entry.key.job_id
        if job is None or (job.state is State.COMPLETED and kill is None):
            lost.append(name)
        elif job.state is State.OPEN:
            unfinished.append(name)
        elif job.state is State.FAILED:
            failed.append(name)
        if job is not None and (job.starts > 1 or job.outcome == "exists"):
            twice.append(name)
        if kill is not None and (kill.cents, kill.attackers, kill.items) != (entry.cents, entry.attackers, entry.items):
            wrong.append(name)
    return Summary(
        jobs_in=len(entries),
        jobs_done=len(entries) - len(lost) - len(unfinished) - len(failed),
        lost=tuple(lost),
        unfinished=tuple(unfinished),
        failed=tuple(failed),
        twice=tuple(twice),
        wrong=tuple(wrong),
        strangers=len(stored.keys() - {entry.killmail_id for entry in entries}),
        cents=sum(kill.cents for kill in stored.values()),
        expected_cents=sum(entry.cents for entry in entries),
    )


def isk(cents: int) -> str:
    """Write an amount of cents as ISK."""
    return f"{cents // 100:,}.{cents % 100:02d}"


def _counted(ids: tuple[str, ...]) -> str:
    if not ids:
        return "0"
    more = ", …" if len(ids) > SHOWN_IDS else ""
    return f"{len(ids)} ({', '.join(ids[:SHOWN_IDS])}{more})"
