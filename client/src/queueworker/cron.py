"""The next time of a cron pattern in a time zone, as BullMQ for Node reckons it (pure).

croniter walks over the clock on the wall, and what the changes of the clocks make of that is settled here: croniter 2
itself is an hour off for the first time after a change. As in cron-parser, which BullMQ for Node uses, a time that the
clock leaps over comes that much later; of an hour that comes twice only the first one counts, unless the pattern names
every hour of the day.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo

from croniter import CroniterBadDateError, croniter

# The names that cron-parser knows; croniter does not know all of them.
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@minutely": "* * * * *",
    "@secondly": "* * * * * *",
    "@weekdays": "0 0 * * 1-5",
    "@weekends": "0 0 * * 0,6",
}

_LAST_WEEKDAY = re.compile(r"\b([0-7])[lL]\b")


def next_ms(pattern: str, *, tz: tzinfo, after_ms: int) -> int:
    """Return the first moment (Unix ms) after another one that a pattern of 5 fields, or 6 with seconds first, names.

    Raises ValueError for what is no pattern and for one that never comes.
    """
    pattern = _for_croniter(pattern)
    after = datetime.fromtimestamp(after_ms / 1000, tz)
    wall = after.replace(tzinfo=None, microsecond=0, fold=0)
    every_hour = _names_every_hour(pattern)
    found = next(
        moment
        for step in _steps(pattern, wall)
        for moment in ([_moment(step, tz), _moment(step, tz, fold=1)] if every_hour else [_moment(step, tz)])
        if moment > after_ms
    )
    if every_hour and not after.fold:
        return min([found, *_second_pass(pattern, wall, tz)])
    return found


def is_pattern(text: str) -> bool:
    """Tell whether a text is a cron pattern, or a name for one such as `@daily`."""
    pattern = _for_croniter(text)
    return len(pattern.split()) in {5, 6} and croniter.is_valid(pattern, second_at_beginning=True)


def _for_croniter(pattern: str) -> str:
    """Return a pattern of cron-parser as croniter understands it: `5L`, the last Friday, is its `L5`."""
    fields = _NAMED.get(pattern.strip().lower(), pattern).split()
    return " ".join([*fields[:-1], *(_LAST_WEEKDAY.sub(r"L\1", field) for field in fields[-1:])])


def _second_pass(pattern: str, wall: datetime, tz: tzinfo) -> Iterator[int]:
    """Yield the first moment of the second pass of the hour in which the clock is, where that hour comes twice."""
    back = timedelta(milliseconds=_moment(wall, tz, fold=1) - _moment(wall, tz))
    if back <= timedelta():
        return
    for step in _steps(pattern, wall - back):
        if step > wall + back:
            return
        if (moment := _moment(step, tz, fold=1)) > _moment(step, tz):
            yield moment
            return


def _steps(pattern: str, wall: datetime) -> Iterator[datetime]:
    steps = croniter(pattern, wall, second_at_beginning=True, ret_type=datetime)
    while True:
        try:
            yield steps.get_next()
        except CroniterBadDateError:
            raise ValueError(f"{pattern!r} never comes") from None


@functools.lru_cache
def _names_every_hour(pattern: str) -> bool:
    hours = croniter(pattern, second_at_beginning=True).expanded[1]
    return hours == ["*"] or len(hours) == 24


def _moment(wall: datetime, tz: tzinfo, *, fold: int = 0) -> int:
    """Return when (Unix ms) the clock shows a time: in a leap that much later, else the first or the second time."""
    return round(wall.replace(tzinfo=tz, fold=fold).timestamp() * 1000)
