"""`autoscaling.schedules`: which minimum is in force, and until when."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from zoneinfo import ZoneInfo

from queueworker import cron
from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.api.v1alpha1.autoscaling import Schedule

_Key = tuple[str, str, int]
_MAX_KNOWN = 8192
_WINDOWS: dict[_Key, tuple[float, float]] = {}
"""Of each schedule the last answer: from which moment on it holds, and the start that it names. It only saves work:
within its time the same answer would be computed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum:
    """The minimum that is in force."""

    replicas: int
    scheduled: bool = False
    """Whether a schedule says it, not minReplicas."""
    until: float | None = None
    """Unix seconds when a schedule begins or ends next."""


def in_force(autoscaling: Autoscaling, now: float) -> Minimum:
    """Return the minimum at a moment: the highest of the schedules in force, else minReplicas.

    A schedule that cannot be read (see `faults`) is passed over.
    """
    if not autoscaling.schedules:
        return Minimum(replicas=autoscaling.min_replicas)
    replicas: list[int] = []
    edges: list[float] = []
    for schedule in autoscaling.schedules:
        start = _start(schedule, now)
        if start is None:
            continue
        edges.append(start if start > now else start + schedule.duration_seconds)
        if start <= now:
            replicas.append(schedule.min_replicas)
    until = min(edges, default=None)
    if not replicas:
        return Minimum(replicas=autoscaling.min_replicas, until=until)
    return Minimum(replicas=max(replicas), scheduled=True, until=until)


def faults(autoscaling: Autoscaling) -> Iterator[str]:
    """Yield what is wrong with the schedules, a line for each field: a cron that never comes, an unknown zone."""
    for index, schedule in enumerate(autoscaling.schedules or ()):
        path = f"spec.autoscaling.schedules[{index}]"
        if _zone(schedule.time_zone) is None:
            yield f"{path}.timeZone: {schedule.time_zone} is no time zone; name one such as Europe/Berlin"
        elif not _comes(schedule.cron):
            yield (
                f"{path}.cron: {schedule.cron!r} is no time that comes; give minute, hour, day of month, month and "
                "day of week, such as '0 8 * * 1-5'"
            )


def _start(schedule: Schedule, now: float) -> float | None:
    """Return when the schedule began that is in force, else when it begins next; None where that cannot be said."""
    key = (schedule.cron, schedule.time_zone, schedule.duration_seconds)
    known = _WINDOWS.get(key)
    if known is not None and known[0] <= now < known[1] + schedule.duration_seconds:
        return known[1]
    zone = _zone(schedule.time_zone)
    if zone is None or not _comes(schedule.cron):
        return None
    try:
        start = cron.next_ms(schedule.cron, tz=zone, after_ms=int((now - schedule.duration_seconds) * 1000)) / 1000
    except (ValueError, OverflowError, OSError):
        return None
    if len(_WINDOWS) >= _MAX_KNOWN:
        _WINDOWS.clear()
    _WINDOWS[key] = (now, start)
    return start


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return None


@lru_cache(maxsize=1024)
def _comes(pattern: str) -> bool:
    try:
        return cron.is_pattern(pattern) and cron.next_ms(pattern, tz=UTC, after_ms=0) > 0
    except (ValueError, OverflowError):
        return False
