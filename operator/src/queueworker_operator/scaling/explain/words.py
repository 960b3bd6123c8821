"""The words that sentences are made of. Times are UTC; numbers that tremble are rounded to two digits."""

from collections.abc import Sequence
from datetime import UTC, datetime

from queueworker_operator.scaling.rounding import two_digits

MAX_LENGTH = 1024
_NAMED = 3
_DAY = 86_400
_LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def clip(text: str) -> str:
    """Shorten a message to what the API allows."""
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def without_head(message: str) -> str:
    """Return the sentence without the number that it begins with, for a text that has said it already."""
    return message.partition(": ")[2] or message


def clock(at: float) -> str:
    """Return a time of day, hh:mm:ss in UTC."""
    return datetime.fromtimestamp(min(at, _LAST_DAY), UTC).strftime("%H:%M:%S")


def moment(at: float, now: float) -> str:
    """Return the moment itself: counted from now it would tremble, and each tremor cost a write."""
    if at - now < _DAY:
        return f"at {clock(at)}"
    return datetime.fromtimestamp(min(at, _LAST_DAY), UTC).strftime("on %Y-%m-%d")


def count(number: int, noun: str) -> str:
    """Return `1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def queues_are(names: Sequence[str], *, one: str, many: str) -> str:
    """Return `queue a is ...` or `queues a, b are ...`."""
    return f"queue{'' if len(names) == 1 else 's'} {listed(names)} {one if len(names) == 1 else many}"


def seconds(milliseconds: int) -> str:
    """Return how long something takes, to two digits: `20 ms`, `0.40 s`, `45 s`."""
    if milliseconds < 100:
        return f"{milliseconds} ms"
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.{2 if milliseconds < 1000 else 1}f} s"
    return f"{two_digits(milliseconds / 1000)} s"


def jobs_per_time(per_minute: int) -> str:
    """Return how many jobs come: `no job`, `12 jobs a minute`, `20 jobs/s`."""
    if per_minute == 0:
        return "no job"
    if per_minute < 120:
        return f"{count(per_minute, 'job')} a minute"
    per_second = per_minute / 60
    return f"{per_second:.1f} jobs/s" if per_second < 10 else f"{two_digits(per_second)} jobs/s"
