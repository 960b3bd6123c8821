"""Traces as files: JSON lines, a header first, as docs/simulate.md describes; data and ids of jobs are not in it.

{"trace": "queueworker", "version": 1, "startedMs": 1767268800000, "queues": ["mail"]}
{"queue": "mail", "name": "send", "at": 12, "service": 250}
{"queue": "mail", "name": "digest", "at": 40, "due": 60040, "priority": 5}
{"gap": 70000}
{"end": 90000}
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from queueworker_operator.simulation.trace import Trace, TracedJob, trace_of

VERSION = 1
MOST_DAYS = 31
"""How long a trace may be, and a job may take."""
MOST_JOBS = 1_000_000
MOST_LINES = 5_000_000
MOST_CHARACTERS = 65_536
"""Of a line."""
_KIND = "queueworker"
_DAY_MS = 86_400_000
_MOST_MS = MOST_DAYS * _DAY_MS
_LATEST_DUE_MS = 15_000 * _DAY_MS
"""Jobs may be delayed for very long, and still not until a moment that was counted from 1970."""
_LATEST_START_MS = 10**14
_MOST_DIGITS = 100


class TraceError(ValueError):
    """A file is no trace, or one of another version; the message says where and why."""


def header(*, started_ms: int | None, queues: Iterable[str]) -> str:
    """Return the first line; `started_ms` is Unix milliseconds by the server's clock."""
    return _line({"trace": _KIND, "version": VERSION, "startedMs": started_ms, "queues": sorted(queues)})


def job_line(job: TracedJob) -> str:
    """Return the line of a job; times are whole milliseconds since the start."""
    values: dict[str, Any] = {"queue": job.queue, "name": job.name, "at": _ms(job.added)}
    if job.due is not None:
        values["due"] = _ms(job.due)
    if job.priority:
        values["priority"] = job.priority
    if job.service is not None:
        values["service"] = _ms(job.service)
    return _line(values)


def gap_line(at: float) -> str:
    """Return the line that says that events may be missing around this moment (seconds since the start)."""
    return _line({"gap": _ms(at)})


def end_line(at: float) -> str:
    """Return the last line: until when was recorded. A file without it was cut off, and is read all the same."""
    return _line({"end": _ms(at)})


def dump(trace: Trace) -> Iterator[str]:
    """Yield the lines of a trace."""
    started = None if trace.started is None else round(trace.started * 1000)
    yield header(started_ms=started, queues=trace.queues)
    for job in trace.jobs:
        yield job_line(job)
    yield end_line(trace.seconds)


def lines_of(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file; one that is too long comes as it begins, so that no file fills the memory."""
    while line := file.readline(MOST_CHARACTERS + 1):
        yield line


def load(lines: Iterable[str], *, within: float = float("inf")) -> Trace:
    """Return the trace of some lines, the jobs that were added `within` so many seconds.

    Raises TraceError with the number of the line at fault.
    """
    numbered = enumerate(lines, start=1)
    started_ms = _header(next(numbered, (1, ""))[1])
    found = _Found(within)
    for number, line in numbered:
        if line.strip():
            try:
                found.add(_object(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise TraceError(f"line {number}: {_why(error)}") from None
        if number > MOST_LINES:
            raise TraceError(
                f"line {number}: a trace has at most {_grouped(MOST_LINES)} lines: record for a shorter time"
            )
    started = None if started_ms is None else started_ms / 1000
    return trace_of(found.jobs, seconds=found.seconds, started=started, gaps=found.gaps)


@dataclass(slots=True)
class _Found:
    within: float
    jobs: list[TracedJob] = field(default_factory=list)
    gaps: int = 0
    end: float | None = None

    @property
    def seconds(self) -> float:
        last = max((job.added for job in self.jobs), default=0.0)
        return max(last, self.end or 0.0)

    def add(self, values: Mapping[str, Any]) -> None:
        if "end" in values:
            self.end = _seconds(values, "end", beyond=_LATEST_DUE_MS)
            self._require_short(min(self.end, self.within), "end")
        elif "gap" in values:
            self.gaps += 1
        else:
            self._take(_job(values))

    def _take(self, job: TracedJob) -> None:
        if job.added >= self.within:
            return
        self._require_short(job.added, "at")
        if len(self.jobs) >= MOST_JOBS:
            raise ValueError(f"there are more than {_grouped(MOST_JOBS)} jobs: take a part of them by --duration")
        self.jobs.append(job)

    def _require_short(self, seconds: float, name: str) -> None:
        if seconds * 1000 > _MOST_MS:
            raise ValueError(
                f"{name} lies more than {MOST_DAYS} days after the start, and no more is read: take a part by "
                f"--duration {MOST_DAYS}d"
            )


def _header(line: str) -> int | None:
    try:
        values = _object(line)
    except (ValueError, TypeError, RecursionError):
        values = {}
    if values.get("trace") != _KIND:
        raise TraceError('line 1: is no header of a trace: {"trace": "queueworker", "version": 1, …}')
    if values.get("version") != VERSION:
        raise TraceError(f"line 1: version {values.get('version')} of traces is not known here, only {VERSION}")
    started = values.get("startedMs")
    if started is not None and not (_is_whole(started) and started < _LATEST_START_MS):
        raise TraceError("line 1: startedMs is no whole number of milliseconds since 1970")
    return started


def _job(values: Mapping[str, Any]) -> TracedJob:
    queue, name, priority = values["queue"], values["name"], values.get("priority", 0)
    if not isinstance(queue, str) or not isinstance(name, str):
        raise TypeError("queue and name are texts")
    if not _is_whole(priority):
        raise TypeError("priority is a whole number, at least 0")
    return TracedJob(
        queue=queue,
        name=name,
        added=_seconds(values, "at", beyond=_LATEST_DUE_MS),
        due=_seconds(values, "due", most=_LATEST_DUE_MS) if values.get("due") is not None else None,
        priority=priority,
        service=_seconds(values, "service") if values.get("service") is not None else None,
    )


def _object(line: str) -> dict[str, Any]:
    if len(line) > MOST_CHARACTERS:
        raise ValueError(f"has more than {_grouped(MOST_CHARACTERS)} characters: is this a trace?")
    values = json.loads(line, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_integer)
    if not isinstance(values, dict):
        raise TypeError("is no JSON object")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} is given twice")
    return values


def _integer(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number has more than {_MOST_DIGITS} digits")
    return int(text)


def _no_constant(text: str) -> None:
    raise ValueError(f"is no JSON: {text} is no number")


def _seconds(values: Mapping[str, Any], name: str, *, most: int = _MOST_MS, beyond: int | None = None) -> float:
    """Return what is written as milliseconds. More than `most` is refused here only `beyond` another limit."""
    value = values[name]
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise TypeError(f"{name} is a number of milliseconds, at least 0")
    if value > (beyond or most):
        days = f"{_grouped(most // _DAY_MS)} days"
        if name == "service":
            raise ValueError(f"service is more than {days}: write it in milliseconds")
        raise ValueError(f"{name} lies more than {days} after the start: write milliseconds since then, not since 1970")
    return float(value) / 1000


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"a job has queue, name and at; {error.args[0]} is missing"
    if isinstance(error, json.JSONDecodeError):
        return f"is no JSON: {error.msg}"
    if isinstance(error, RecursionError):
        return "is nested too deeply for a trace"
    return str(error)
