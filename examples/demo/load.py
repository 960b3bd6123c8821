"""The jobs of the demo: a burst, some of it urgent, some of it for later, and old killmails on a queue of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from examples.demo.documents import Kill, kills
from examples.demo.ledger import Entry, JobKey

from queueworker import Priority
from queueworker.jobs import Job

SEED = 20_260_818
FIRST_ID = 130_000_001
LIVE, BACKFILL = "bull", "backfill"
SOON_MILLISECONDS = 6_000
LATER_MILLISECONDS, LATER_MILLISECONDS_PER_JOB = 14_000, 4
"""Late enough that the workers are at zero by then, and have to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A job to put in."""

    prefix: str
    job: Job
    entry: Entry


def plan(count: int) -> Iterator[Planned]:
    """Plan `count` jobs: of ten, one is urgent and one delayed by seconds, two are backfill; the last few come late."""
    late = max(1, count // 100)
    later = LATER_MILLISECONDS + LATER_MILLISECONDS_PER_JOB * count
    for number, kill in enumerate(kills(count, seed=SEED, first_id=FIRST_ID)):
        if number >= count - late:
            yield _planned(kill, LIVE, priority=Priority.NORMAL, delay=later)
        elif number % 10 == 3:
            yield _planned(kill, LIVE, priority=Priority.HIGH)
        elif number % 10 == 7:
            yield _planned(kill, LIVE, priority=Priority.NORMAL, delay=SOON_MILLISECONDS)
        elif number % 5 == 1:
            yield _planned(kill, BACKFILL, priority=Priority.LOW)
        else:
            yield _planned(kill, LIVE, priority=Priority.NORMAL)


def _planned(kill: Kill, prefix: str, **options: Any) -> Planned:
    # Every finished job is kept: the summary counts them one by one.
    kept = {"remove_on_complete": False, "remove_on_fail": False}
    job = Job.create("killmail", kill.payload, job_id=f"killmail-{kill.killmail_id}", **kept, **options)
    entry = Entry(
        key=JobKey(prefix, job.id),
        killmail_id=kill.killmail_id,
        cents=kill.cents,
        attackers=kill.attackers,
        items=kill.items,
    )
    return Planned(prefix=prefix, job=job, entry=entry)
