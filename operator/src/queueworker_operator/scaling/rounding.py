"""Numbers as the status shows them: rounded so that noise writes no status."""

from bisect import bisect_right

_HOUR, _DAY = 3600, 86_400
_AGES = (0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)


def coarse_age(seconds: float) -> int:
    """Round an age down: 1, 2, 5, 10, 20, 30 s, 1, 2, 5, 10, 20, 30 min, then whole hours, from one day on whole days.

    An age grows by itself; on these steps a backlog that nothing else changes costs a dozen status writes in its first
    hour instead of one each second.
    """
    whole = max(0, int(seconds))
    if whole >= _HOUR:
        step = _DAY if whole >= _DAY else _HOUR
        return whole // step * step
    return _AGES[bisect_right(_AGES, whole) - 1]


def two_digits(number: float) -> int:
    """Round to an integer of two significant digits: a measured mean moves by less than that from look to look."""
    whole = round(number)
    if whole < 100:
        return whole
    step = int(10 ** (len(str(whole)) - 2))
    return int(whole / step + 0.5) * step


def milliseconds(seconds: float | None) -> int | None:
    """Return seconds as milliseconds of two digits, at least 1."""
    return None if seconds is None else max(1, two_digits(seconds * 1000))


def per_minute(per_second: float | None) -> int | None:
    """Return a rate as jobs per minute of two digits; 0 only where nothing came at all."""
    if per_second is None:
        return None
    return two_digits(per_second * 60) or int(per_second > 0)
