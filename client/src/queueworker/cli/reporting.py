"""What a change of many jobs prints: progress while it runs, one line or one JSON object at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from queueworker.cli import codes, output
from queueworker.cli.values import grouped, jobs_of

if TYPE_CHECKING:
    from queueworker.changes import Change

CHANGE_HELP = (
    "JSON: action, queue, prefix, dry_run; matched (jobs that it concerned, counted before), done, moved (not changed, "
    "because they were moved, taken or removed meanwhile, or a worker holds them), left (not tried), interrupted.\n\n"
    "Exit code 3 for a queue never used or a job not found, 6 if nobody confirmed, 7 if not all were changed, 130 if "
    "interrupted: the batch under way is finished then, and what is left is said."
)
"""The end of the help of such commands."""


@dataclass(frozen=True, slots=True)
class Verb:
    """How an action is called: `retry` and `retried`."""

    name: str
    past: str


def watcher(verb: Verb) -> Callable[[Change], None] | None:
    """Return what shows progress on a terminal, None where stderr is none."""
    if not sys.stderr.isatty():
        return None

    def show(change: Change) -> None:
        sys.stderr.write(f"\r\x1b[K{verb.past} {grouped(change.done)} of {grouped(change.matched)}")
        sys.stderr.flush()

    return show


def end_watching() -> None:
    """Take the progress away: what follows begins on a line of its own."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def summary(verb: Verb, change: Change) -> str:
    """Return the line that says what became of the jobs: `retried 950 of 1 200 (250 moved meanwhile)`."""
    rest = []
    if change.moved:
        rest.append(f"{grouped(change.moved)} moved meanwhile")
    if change.left:
        rest.append(f"{grouped(change.left)} left")
    if change.interrupted:
        rest.append("interrupted")
    text = f"{verb.past} {grouped(change.done)} of {grouped(change.matched)}"
    return f"{text} ({', '.join(rest)})" if rest else text


def report(
    verb: Verb, change: Change, *, queue: str, prefix: str, output_format: output.Format, dry_run: bool = False
) -> int:
    """Print what became of the jobs and return the exit code."""
    if output_format is output.Format.JSON:
        where = {"action": verb.name, "queue": queue, "prefix": prefix, "dry_run": dry_run}
        output.print_json({**where, **as_json(change)})
    elif dry_run:
        output.line(f"would {verb.name} {jobs_of(change.matched)} of queue {queue}")
    else:
        output.line(summary(verb, change))
    if dry_run:
        return 0
    if change.interrupted:
        return codes.INTERRUPTED
    return codes.PARTLY if change.done < change.matched else 0


def as_json(change: Change) -> dict[str, Any]:
    """Return the counts of a change."""
    counts = {"matched": change.matched, "done": change.done, "moved": change.moved, "left": change.left}
    return {**counts, "interrupted": change.interrupted}
