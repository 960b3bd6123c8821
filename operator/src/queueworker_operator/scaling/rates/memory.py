"""What the status keeps of the rates, so that a restart of the operator does not have to measure anew.

The status holds whole milliseconds and seconds. What is from the future, beyond the rounding of its time, comes from a
broken clock; what is older than a day tells nothing of today. Both are dropped.
"""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import zip_longest

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.scaling.rates.learning import Learning, NameTime
from queueworker_operator.scaling.rates.measured import ServiceSource
from queueworker_operator.scaling.rates.names import shorten
from queueworker_operator.scaling.rates.starts import MOST_STARTS, Start, Starts

MOST_SERVICE_TIMES = 128
_OLDEST_SECONDS = 86_400.0
_ROUNDING_SECONDS = 1.0
_OVERALL = ""
"""Stands for all names together; a job that bears it for a name is not remembered by itself."""
_MOST_MILLISECONDS = 2**53


def remember_service(learned: Mapping[str, Learning]) -> list[api.ServiceTime]:
    """Return how long jobs take, by queue and name: of each queue the names with most jobs first, 128 in all."""
    by_queue = [_service_times(shorten(queue), learning) for queue, learning in sorted(learned.items())]
    in_turn = (time for row in zip_longest(*by_queue) for time in row if time is not None)
    return [time for time, _ in zip(in_turn, range(MOST_SERVICE_TIMES), strict=False)]


def restore_service(
    saved: Iterable[api.ServiceTime] | None, *, now: float, queues: Iterable[str]
) -> dict[str, Learning]:
    """Return what the status remembers of these queues, by queue; `now` is in Unix seconds."""
    full_names = {shorten(queue): queue for queue in queues}
    names: dict[str, dict[str, NameTime]] = {}
    overall: dict[str, NameTime] = {}
    for entry in list(saved or ())[:MOST_SERVICE_TIMES]:
        queue, at = full_names.get(entry.queue), _past(entry.time, now)
        if queue is None or at is None:
            continue
        if entry.name == _OVERALL:
            overall[queue] = _name_time(entry, at, ServiceSource.COUNTERS)
        else:
            names.setdefault(queue, {})[entry.name] = _name_time(entry, at, ServiceSource.REMEMBERED)
    return {
        queue: Learning(names=names.get(queue, {}), overall=overall.get(queue)) for queue in sorted({*names, *overall})
    }


def remember_starts(starts: Starts) -> list[api.Start]:
    """Return the last starts as the status holds them."""
    return [api.Start(time=_stamp(one.at), seconds=round(one.seconds)) for one in starts.known[-MOST_STARTS:]]


def restore_starts(saved: Iterable[api.Start] | None, now: float) -> Starts:
    """Return the starts that the status remembers; `now` is in Unix seconds."""
    known = [
        Start(at=at, seconds=float(one.seconds)) for one in saved or () if (at := _past(one.time, now)) is not None
    ]
    return Starts(known=tuple(sorted(known, key=lambda start: start.at)[-MOST_STARTS:]))


def _service_times(queue: str, learning: Learning) -> list[api.ServiceTime]:
    named = {name: time for name, time in learning.names.items() if name != _OVERALL}
    every = {_OVERALL: learning.overall, **named} if learning.overall is not None else named
    return [_service_time(queue, name, time) for name, time in every.items() if time is not None]


def _service_time(queue: str, name: str, time: NameTime) -> api.ServiceTime:
    p95 = None if time.p95_seconds is None else _milliseconds(time.p95_seconds)
    return api.ServiceTime(
        queue=queue, name=name, milliseconds=_milliseconds(time.seconds), p95_milliseconds=p95, time=_stamp(time.at)
    )


def _milliseconds(seconds: float) -> int:
    return min(_MOST_MILLISECONDS, max(1, round(seconds * 1000)))


def _name_time(entry: api.ServiceTime, at: float, source: ServiceSource) -> NameTime:
    p95 = None if entry.p95_milliseconds is None else entry.p95_milliseconds / 1000
    return NameTime(at=at, seconds=max(1, entry.milliseconds) / 1000, p95_seconds=p95, source=source)


def _stamp(at: float) -> datetime:
    return datetime.fromtimestamp(math.ceil(at), UTC)


def _past(time: datetime, now: float) -> float | None:
    at = (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()
    return None if at > now + _ROUNDING_SECONDS or at <= now - _OLDEST_SECONDS else min(at, now)
