"""From the events of a live queue to the jobs of a trace.

BullMQ tells of a job by `added`, `waiting`, `delayed`, `active`, `completed` and `failed`; only `added` has the name.
Each attempt becomes a job of the trace: a retry is load like any other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from queueworker.eventrecords import QueueEvent
from queueworker_operator.simulation.trace import TracedJob

UNKNOWN_NAME = "unknown"
"""Of a job that was gone before anybody could look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """One attempt under way; times are Unix milliseconds by the server's clock."""

    name: str | None
    priority: int = 0
    at: int
    due: int | None = None
    started: int | None = None
    parked: bool = False
    """It waits for its children, and so is no load yet."""


@dataclass(slots=True)
class Recording:
    """What happens on one queue, from `started_ms` (Unix milliseconds by the server's clock) on.

    Ids of jobs are kept here only, as long as the jobs live; no line of the trace holds one.
    """

    queue: str
    started_ms: int
    _under_way: dict[str, _Attempt] = field(default_factory=dict)
    _wanted: set[str] = field(default_factory=set)
    _ended: list[tuple[str, _Attempt, int | None]] = field(default_factory=list)

    def hear(self, event: QueueEvent) -> None:
        """Take note of an event."""
        job_id, at = event.job_id, event.timestamp
        if job_id is None:
            return
        match event.name:
            case "added":
                name = event.fields.get("name")
                self._begin(job_id, _Attempt(name=name if isinstance(name, str) else None, at=at))
            case "delayed":
                self._delayed(job_id, at, event.fields.get("delay"))
            case "waiting":
                self._waiting(job_id, at, event.fields.get("prev"))
            case "waiting-children":
                self._begin(job_id, replace(self._again(job_id, at), parked=True))
            case "active":
                attempt = self._under_way.get(job_id) or self._earlier(None)
                self._begin(job_id, replace(attempt, started=at, parked=False))
            case "completed" | "failed":
                self._end(job_id, at)
            case "removed":
                self._under_way.pop(job_id, None)

    def take_wanted(self) -> list[str]:
        """Return the ids of jobs whose name and priority are to be looked up, once."""
        wanted = sorted(self._wanted)
        self._wanted.clear()
        return wanted

    def want_again(self, job_ids: Iterable[str]) -> None:
        """Give back ids that could not be looked up."""
        self._wanted.update(job_ids)

    def describe(self, found: Mapping[str, tuple[str | None, int]]) -> None:
        """Take note of names and priorities that were looked up; a name is None where the job is gone."""
        for job_id in found.keys() & self._under_way.keys():
            self._under_way[job_id] = _described(self._under_way[job_id], *found[job_id])
        self._ended = [
            (one, _described(attempt, *found[one]) if one in found else attempt, end)
            for one, attempt, end in self._ended
        ]

    def take_ended(self) -> list[TracedJob]:
        """Return the attempts that ended since the last call."""
        ended, self._ended = self._ended, []
        return [self._traced(attempt, end) for _, attempt, end in ended]

    def take_rest(self) -> list[TracedJob]:
        """Return the attempts that are still under way, how long they take not being known."""
        rest = [attempt for attempt in self._under_way.values() if not attempt.parked]
        self._under_way.clear()
        return [self._traced(attempt, None) for attempt in rest]

    def _begin(self, job_id: str, attempt: _Attempt) -> None:
        if job_id not in self._under_way:
            self._wanted.add(job_id)
        self._under_way[job_id] = attempt

    def _delayed(self, job_id: str, at: int, due: object) -> None:
        attempt = self._again(job_id, at)
        self._begin(job_id, replace(attempt, due=due if isinstance(due, int) else None))

    def _waiting(self, job_id: str, at: int, before: object) -> None:
        known = self._under_way.get(job_id)
        if known is None:
            self._begin(job_id, self._earlier(at) if before == "delayed" else _Attempt(name=None, at=at))
        elif known.started is not None or known.parked:
            self._begin(job_id, self._again(job_id, at))

    def _again(self, job_id: str, at: int) -> _Attempt:
        """Return the attempt that is meant: the one that waits, else a new one after the one that ran."""
        known = self._under_way.get(job_id)
        if known is None:
            return _Attempt(name=None, at=at)
        if known.started is None and not known.parked:
            return known
        if known.started is not None:
            self._ended.append((job_id, known, at))
        return _Attempt(name=known.name, priority=known.priority, at=at)

    def _earlier(self, due: int | None) -> _Attempt:
        """Return an attempt that was there before the recording began."""
        return _Attempt(name=None, at=self.started_ms, due=due)

    def _end(self, job_id: str, at: int) -> None:
        attempt = self._under_way.pop(job_id, None)
        if attempt is not None and attempt.started is not None:
            self._ended.append((job_id, attempt, at))

    def _traced(self, attempt: _Attempt, end: int | None) -> TracedJob:
        service = None if end is None or attempt.started is None else max(0, end - attempt.started) / 1000
        return TracedJob(
            queue=self.queue,
            name=attempt.name or UNKNOWN_NAME,
            added=self._since(attempt.at),
            due=None if attempt.due is None else self._since(attempt.due),
            priority=attempt.priority,
            service=service,
        )

    def _since(self, at: int) -> float:
        return max(0, at - self.started_ms) / 1000


def _described(attempt: _Attempt, name: str | None, priority: int) -> _Attempt:
    return replace(attempt, name=attempt.name or name, priority=priority)
