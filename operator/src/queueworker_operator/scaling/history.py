"""What a decision remembers, to and from the status, so that a restart forgets nothing that matters.

The status holds whole seconds. Times on their way out are rounded up and so never end a wait early; on their way back a
time in the future, beyond that rounding, comes from a broken clock and is dropped.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.scaling.decision import Change, History, Recommendation

MAX_CHANGES = 10
_ROUNDING_SECONDS = 1.0


def restore(
    status: api.QueueWorkerStatus | None,
    now: float,
    *,
    window: float | None = None,
    queues: Iterable[str] | None = None,
) -> History:
    """Return what the status remembers; empty where there is none.

    Peaks older than `window` seconds and queues that are not among `queues` are dropped, where these are given.
    """
    scaling = status.scaling if status is not None else None
    if scaling is None:
        return History()
    memory = scaling.memory or api.Memory()
    names = None if queues is None else frozenset(queues)
    missing = _known(memory.missing_queues, names)
    missing_since = _past(memory.missing_since, now)
    return History(
        recommendations=_recommendations(memory.recommendations or (), now, window),
        idle_since=_past(memory.idle_since, now),
        desired=memory.desired,
        reason=scaling.reason,
        seen_queues=_known(memory.seen_queues, names) | missing,
        missing_queues=missing if missing_since is not None else frozenset(),
        missing_since=missing_since if missing else None,
        not_consuming_since=_past(memory.not_consuming_since, now),
        last_scale_at=_past(scaling.last_scale_time, now),
        last_change_at=_past(scaling.last_decision_change_time, now),
        changes=tuple(_changes(scaling.history or (), now))[:MAX_CHANGES],
    )


def to_memory(history: History, previous: api.Memory | None = None) -> api.Memory:
    """Return the part of the status that `restore` reads; what others keep in `previous` is left as it is."""
    remembered = {
        "recommendations": [
            api.Recommendation(time=stamp(peak.at), replicas=peak.replicas) for peak in history.recommendations
        ]
        or None,
        "idle_since": optional_stamp(history.idle_since),
        "desired": history.desired,
        "seen_queues": sorted(history.seen_queues) or None,
        "missing_queues": sorted(history.missing_queues) or None,
        "missing_since": optional_stamp(history.missing_since),
        "not_consuming_since": optional_stamp(history.not_consuming_since),
    }
    return (previous or api.Memory()).model_copy(update=remembered)


def unwritten(after: History, before: History) -> History:
    """Return what is to be remembered of a decision that could not be carried out: all but the change."""
    return replace(
        after,
        desired=before.desired,
        last_scale_at=before.last_scale_at,
        last_change_at=before.last_change_at if after.reason is before.reason else after.last_change_at,
        changes=before.changes,
    )


def stamp(at: float) -> datetime:
    """Return Unix seconds as the status holds them, rounded up to a whole second."""
    return datetime.fromtimestamp(math.ceil(at), UTC)


def optional_stamp(at: float | None) -> datetime | None:
    """Return `stamp` of a time that may be none."""
    return None if at is None else stamp(at)


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _past(time: datetime | None, now: float) -> float | None:
    if time is None or (at := _seconds(time)) > now + _ROUNDING_SECONDS:
        return None
    return min(at, now)


def _known(names: Iterable[str] | None, among: frozenset[str] | None) -> frozenset[str]:
    known = frozenset(names or ())
    return known if among is None else known & among


def _recommendations(
    saved: Iterable[api.Recommendation], now: float, window: float | None
) -> tuple[Recommendation, ...]:
    """Keep the peaks alone, oldest first, whatever order and nonsense the status holds."""
    peaks: list[Recommendation] = []
    timed = [(at, entry.replicas) for entry in saved if (at := _past(entry.time, now)) is not None]
    for at, replicas in sorted(timed):
        if window is not None and now >= at + window:
            continue
        while peaks and peaks[-1].replicas <= replicas:
            peaks.pop()
        peaks.append(Recommendation(at=at, replicas=replicas))
    return tuple(peaks)


def _changes(saved: Iterable[api.Change], now: float) -> Iterable[Change]:
    for change in saved:
        at = _past(change.time, now)
        if at is not None:
            yield Change(at=at, before=change.from_, after=change.to, reason=change.reason, backlog=change.backlog)
