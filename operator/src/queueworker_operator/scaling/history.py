"""What a decision remembers, to and from the status, so that a restart forgets nothing that matters.

The status holds whole seconds. Times on their way out are rounded up and so never end a wait early; on their way back a
time in the future, beyond that rounding, comes from a broken clock and is dropped.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.scaling.decision import Change, History, Recommendation, ScaleEvent
from queueworker_operator.scaling.rates import remember_service, remember_starts, restore_service, restore_starts

MAX_CHANGES = 10
MAX_SCALE_EVENTS = 64
POLICY_SECONDS = 1800.0
"""The longest period that a policy of behavior may have."""
_ROUNDING_SECONDS = 1.0


def restore(
    status: api.QueueWorkerStatus | None,
    now: float,
    *,
    window: float | None = None,
    scale_up_window: float | None = None,
    queues: Iterable[str] | None = None,
    policy_seconds: float = POLICY_SECONDS,
) -> History:
    """Return what the status remembers; empty where there is none.

    Peaks older than `window` seconds, lows older than `scale_up_window` and queues that are not among `queues` are
    dropped, where these are given, and changes that no policy of `policy_seconds` counts any more.
    """
    scaling = status.scaling if status is not None else None
    if scaling is None:
        return History()
    memory = scaling.memory or api.Memory()
    names = None if queues is None else frozenset(queues)
    missing = _known(memory.missing_queues, names)
    missing_since = _past(memory.missing_since, now)
    return History(
        recommendations=_recommendations(memory.recommendations or (), now, window, sign=1),
        lows=_recommendations(memory.low_recommendations or (), now, scale_up_window, sign=-1),
        idle_since=_past(memory.idle_since, now),
        desired=memory.desired,
        reason=scaling.reason,
        seen_queues=_known(memory.seen_queues, names) | missing,
        missing_queues=missing if missing_since is not None else frozenset(),
        missing_since=missing_since if missing else None,
        not_consuming_since=_past(memory.not_consuming_since, now),
        unknown_since=_past(memory.unknown_since, now),
        lost_since=_past(memory.lost_since, now),
        learned=restore_service(memory.service_times, now=now, queues=_named(memory) if names is None else names),
        starts=restore_starts(memory.starts, now),
        scale_events=tuple(_scale_events(memory.scale_events or (), now, policy_seconds)),
        last_scale_at=_past(scaling.last_scale_time, now),
        last_change_at=_past(scaling.last_decision_change_time, now),
        changes=tuple(_changes(scaling.history or (), now))[:MAX_CHANGES],
    )


def to_memory(history: History, previous: api.Memory | None = None) -> api.Memory:
    """Return the part of the status that `restore` reads; what others keep in `previous` is left as it is."""
    remembered = {
        "recommendations": _remembered(history.recommendations),
        "low_recommendations": _remembered(history.lows),
        "idle_since": optional_stamp(history.idle_since),
        "desired": history.desired,
        "seen_queues": sorted(history.seen_queues) or None,
        "missing_queues": sorted(history.missing_queues) or None,
        "missing_since": optional_stamp(history.missing_since),
        "not_consuming_since": optional_stamp(history.not_consuming_since),
        "unknown_since": optional_stamp(history.unknown_since),
        "lost_since": optional_stamp(history.lost_since),
        "service_times": remember_service(history.learned) or None,
        "starts": remember_starts(history.starts) or None,
        "scale_events": [
            api.ScaleEvent(time=stamp(event.at), change=event.change)
            for event in history.scale_events[-MAX_SCALE_EVENTS:]
        ]
        or None,
    }
    return (previous or api.Memory()).model_copy(update=remembered)


def unwritten(after: History, before: History) -> History:
    """Return what is to be remembered of a decision that could not be carried out: all but the change."""
    return replace(
        after,
        desired=before.desired,
        scale_events=before.scale_events,
        last_growth_at=before.last_growth_at,
        last_growth_completions=before.last_growth_completions,
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


def _remembered(recommendations: Iterable[Recommendation]) -> list[api.Recommendation] | None:
    return [api.Recommendation(time=stamp(one.at), replicas=one.replicas) for one in recommendations] or None


def _recommendations(
    saved: Iterable[api.Recommendation], now: float, window: float | None, *, sign: int
) -> tuple[Recommendation, ...]:
    """Keep the peaks alone, with the sign -1 the lows, oldest first, whatever order and nonsense the status holds."""
    peaks: list[Recommendation] = []
    timed = [(at, entry.replicas) for entry in saved if (at := _past(entry.time, now)) is not None]
    for at, replicas in sorted(timed):
        if window is not None and now >= at + window:
            continue
        while peaks and sign * peaks[-1].replicas <= sign * replicas:
            peaks.pop()
        peaks.append(Recommendation(at=at, replicas=replicas))
    return tuple(peaks)


def _named(memory: api.Memory) -> frozenset[str]:
    return frozenset(time.queue for time in memory.service_times or ())


def _scale_events(saved: Iterable[api.ScaleEvent], now: float, period: float) -> Iterable[ScaleEvent]:
    """Oldest first, those alone that a policy may still count."""
    timed = [(at, event.change) for event in saved if (at := _past(event.time, now)) is not None]
    for at, change in sorted(timed):
        if now < at + period:
            yield ScaleEvent(at=at, change=change)


def _changes(saved: Iterable[api.Change], now: float) -> Iterable[Change]:
    for change in saved:
        at = _past(change.time, now)
        if at is not None:
            yield Change(at=at, before=change.from_, after=change.to, reason=change.reason, backlog=change.backlog)
