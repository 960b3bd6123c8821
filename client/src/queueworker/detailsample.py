"""The list of values that one reading of a queue's details brings, and the details that it stands for.

Both ways of reading, the script and the plain commands, bring the same list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from queueworker import scripts
from queueworker.decoding import whole_number
from queueworker.details import ActiveJob, FinishedJob, QueueDetails
from queueworker.keys import QueueKeys
from queueworker.workers import WorkerRecord, decode_statistics, decode_worker

PARTS = ("active", "wait", "prioritized", "completed", "qw:stats", "qw:workers", "qw:worker")
ACTIVE = 2_000
ENDS = 20
FINISHED = 50
WORKERS = 1_000
STATISTICS = 512
"""Fields returned whole; of more only those of `NAMES` names that are met in the queue."""
NAMES = 16
HISTOGRAM_CLASSES = 40
LONGEST = 128
"""Bytes of a name; a job whose name is longer counts as one of `OTHER`, an owner whose name is longer is not told."""
OTHER = "(other)"
"""Where our workers count the names that they do not tell apart, too."""


@cache
def script() -> scripts.Script:
    """Return the read-only script that reads one queue's details."""
    source = (Path(__file__).parent / "lua" / f"details-{len(PARTS)}.lua").read_text(encoding="utf-8")
    return scripts.script_of("details", source, number_of_keys=len(PARTS))


def script_arguments(keys: QueueKeys) -> list[str | int]:
    """Return what EVALSHA takes after the script's SHA-1: the number of keys, the keys, the arguments."""
    bounds = (ACTIVE, ENDS, FINISHED, WORKERS, STATISTICS, NAMES, HISTOGRAM_CLASSES, LONGEST)
    return [len(PARTS), *map(keys.of, PARTS), keys.base, *bounds, OTHER]


def at_the_end(waiting: int, prioritized: int) -> tuple[int, int]:
    """Return of how many jobs at the head of `wait` and at the end of `prioritized` the names are looked at.

    Each in proportion to its length, and at least one of what is not empty.
    """
    behind = min(prioritized, max(1, ENDS * prioritized // (waiting + prioritized))) if prioritized else 0
    return ENDS - behind, behind


def short(text: str | None) -> str | None:
    """Return a text that is not too long, else None."""
    if text is None or len(text) * 4 <= LONGEST or len(text.encode(errors="surrogateescape")) <= LONGEST:
        return text
    return None


def name_of(text: str | None) -> str | None:
    """Return the name that a job counts under; None where the job is gone."""
    return None if text is None else short(text) or (OTHER if text else text)


def owner_of(worker: str | None, token: str | None) -> str | None:
    """Return who holds a job, from its field `pb` and its lock's token."""
    return short(worker or (token or "").rpartition(":")[0] or None)


def is_field(text: str) -> bool:
    """Tell whether a field of `qw:stats` is short enough to be that of a name."""
    return len(text.encode(errors="surrogateescape")) <= LONGEST + 10


def statistics_fields(name: str) -> list[str]:
    """Return the fields of a name in `qw:stats`."""
    return [f"{name}:jobs", f"{name}:ms", *(f"{name}:h{number}" for number in range(HISTOGRAM_CLASSES))]


def names_met(values: Sequence[Any]) -> list[str]:
    """Return the first names that are met in the four lists of jobs: the next ones, the last, active, finished."""
    active, following, last, finished = values
    met = dict.fromkeys([*following, *last, *active[::5], *finished[::3]])
    return [name for name in met if name is not None][:NAMES]


def details_of(keys: QueueKeys, values: Sequence[Any]) -> QueueDetails:
    """Return the details of one list of values; raises ValueError if it is not whole."""
    now_ms, active_total, active, next_names, last_names, finished, statistics, workers = values
    return QueueDetails(
        prefix=keys.prefix,
        queue=keys.queue,
        now_ms=int(now_ms),
        # The list is filled from its head.
        active=tuple(_active_job(*job) for job in _rows(active, 5))[::-1],
        active_total=int(active_total),
        next_names=_counted(next_names),
        last_names=_counted(last_names),
        finished=tuple(_finished_jobs(finished)),
        statistics=tuple(decode_statistics(dict(_rows(statistics, 2)))),
        workers=tuple(_workers(workers, now_ms=int(now_ms))),
    )


def _rows(flat: Sequence[Any], width: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * width, strict=True)


def _counted(names: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(name for name in names if name is not None))


def _active_job(
    name: str | None, owner: str | None, started: str | None, stalled: str | None, locked: int
) -> ActiveJob:
    return ActiveJob(
        name=name or "",
        owner=owner,
        locked=bool(locked),
        started_ms=whole_number(started),
        stalled_count=max(0, whole_number(stalled) or 0),
    )


def _finished_jobs(finished: Sequence[Any]) -> Iterator[FinishedJob]:
    for name, processed, ended in _rows(finished, 3):
        processed_ms, finished_ms = whole_number(processed), whole_number(ended)
        if name is not None and processed_ms is not None and finished_ms is not None:
            yield FinishedJob(name=name, processed_ms=processed_ms, finished_ms=finished_ms)


def _workers(workers: Sequence[Any], *, now_ms: int) -> Iterator[WorkerRecord]:
    for name, beat, about in _rows(workers, 3):
        yield decode_worker(name, float(beat), about, now_ms=now_ms)
