"""`why` as text: a short waterfall (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from queueworker.cli.output import clean, duration
from queueworker_operator.cli.explanation import Explanation, Pods
from queueworker_operator.cli.rows import since
from queueworker_operator.scaling.explain import Line

_INPUTS, _DESIRED = "inputs", "desired"
_MAX_CHANGES = 5


def as_text(found: Explanation) -> str:
    """Return the explanation, a paragraph for each of its parts that has something to say."""
    paragraphs = (
        _head(found),
        _titled("READ", [_read(line) for line in found.lines if line.label == _INPUTS]),
        _titled("ASKED FOR", _columns([_vote(line) for line in found.lines if _is_vote(line)])),
        _titled("CHANGED BY", _columns([_limit(line) for line in found.lines if line.before is not None])),
        _titled("WRONG", [clean(problem) for problem in found.row.problems if problem != found.message]),
        _titled("NEXT", list(_next(found))),
        _titled("BEFORE", _columns([*_history(found)])),
        _titled("TO", _columns([[verb, command] for verb, command in found.commands])),
    )
    return "\n\n".join("\n".join(paragraph) for paragraph in paragraphs if paragraph)


def _head(found: Explanation) -> list[str]:
    row = found.row
    lines = [f"{row.namespace}/{row.name}: {row.reason or 'not decided'}", clean(found.message)]
    if found.pods is not None:
        lines.append(_pods(found.pods))
    return lines


def _pods(pods: Pods) -> str:
    parts = [f"{pods.ready} ready", f"{pods.starting} starting", f"{pods.draining} draining"]
    return "pods: " + ", ".join(part for part in parts if part == parts[0] or not part.startswith("0 "))


def _titled(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []


def _read(line: Line) -> str:
    return clean(f"{line.queue}: {line.detail}" if line.queue else line.detail)


def _is_vote(line: Line) -> bool:
    return line.before is None and line.label not in (_INPUTS, _DESIRED)


def _vote(line: Line) -> list[str]:
    return [str(line.after), str(line.label), line.queue or "", clean(line.detail)]


def _limit(line: Line) -> list[str]:
    return [f"{line.before} → {line.after}", str(line.label), line.queue or "", clean(line.detail)]


def _next(found: Explanation) -> Iterator[str]:
    if found.upcoming is not None:
        at = found.upcoming.at.astimezone(UTC)
        left = duration((at - found.now).total_seconds())
        yield f"at {at:%H:%M:%S} UTC (in {left}): {found.upcoming.text}"
    if found.would_change is not None:
        yield f"otherwise: {found.would_change}" if found.upcoming is not None else found.would_change


def _history(found: Explanation) -> Iterator[list[str]]:
    for change in found.history[:_MAX_CHANGES]:
        backlog = "" if change.backlog is None else f"backlog {change.backlog}"
        yield [f"{_ago(change.time, found.now)} ago", f"{change.from_} → {change.to}", str(change.reason), backlog]


def _ago(time: datetime, now: datetime) -> str:
    return since(time if time.tzinfo is not None else time.replace(tzinfo=UTC), now) or "0s"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their columns below one another; those that are empty everywhere are left out."""
    if not rows:
        return []
    used = [index for index in range(len(rows[0])) if any(row[index] for row in rows)]
    widths = {index: max(len(row[index]) for row in rows) for index in used}
    return ["  ".join(row[index].ljust(widths[index]) for index in used).rstrip() for row in rows]
