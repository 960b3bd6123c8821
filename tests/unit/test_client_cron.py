"""Cron patterns: what the changes of the clocks make of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueworker.cron import is_pattern, next_ms


def after(pattern: str, tz: str, moment: str) -> str:
    """The next time after a moment, both as the clock of the zone shows them."""
    start = datetime.fromisoformat(moment)
    assert start.utcoffset() is not None
    found = next_ms(pattern, tz=ZoneInfo(tz), after_ms=round(start.timestamp() * 1000))
    return datetime.fromtimestamp(found / 1000, ZoneInfo(tz)).isoformat()


@pytest.mark.parametrize(
    ("pattern", "tz", "moment", "following"),
    [
        # Over a change: the time of day stays.
        ("0 12 * * 1-5", "Europe/Berlin", "2026-03-27T12:00:00+01:00", "2026-03-30T12:00:00+02:00"),
        ("0 12 * * 1-5", "Europe/Berlin", "2026-10-23T12:00:00+02:00", "2026-10-26T12:00:00+01:00"),
        ("0 0 1 * *", "America/New_York", "2026-03-01T00:00:00-05:00", "2026-04-01T00:00:00-04:00"),
        # Leapt over: that much later, once.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"),
        ("15 1,2,3 * * *", "Europe/Berlin", "2026-03-29T01:15:00+01:00", "2026-03-29T03:15:00+02:00"),
        ("15 1,2,3 * * *", "Europe/Berlin", "2026-03-29T03:15:00+02:00", "2026-03-30T01:15:00+02:00"),
        ("0 0 * * *", "America/Havana", "2026-03-07T00:00:00-05:00", "2026-03-08T01:00:00-04:00"),
        ("30 2 * * *", "Australia/Lord_Howe", "2026-10-03T02:30:00+10:30", "2026-10-04T02:30:00+11:00"),
        # Twice: only the first one counts for an hour that is named, both for every hour.
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"),
        ("*/20 * * * *", "Europe/Berlin", "2026-10-25T02:50:00+02:00", "2026-10-25T02:00:00+01:00"),
        ("*/20 * * * *", "Europe/Berlin", "2026-10-25T02:40:00+01:00", "2026-10-25T03:00:00+01:00"),
        # As cron-parser writes it.
        ("0 9 * * 5L", "UTC", "2026-01-01T00:00:00+00:00", "2026-01-30T09:00:00+00:00"),
        ("0 0 L 2 *", "UTC", "2027-03-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("@weekdays", "UTC", "2026-01-02T00:00:00+00:00", "2026-01-05T00:00:00+00:00"),
    ],
)
def test_times_around_changes_of_the_clocks(pattern: str, tz: str, moment: str, following: str) -> None:
    assert after(pattern, tz, moment) == following


def test_it_is_strictly_after_and_takes_no_notice_of_parts_of_a_second() -> None:
    assert next_ms("* * * * * *", tz=UTC, after_ms=5_000) == 6_000
    assert next_ms("* * * * * *", tz=UTC, after_ms=5_999) == 6_000


@settings(max_examples=40)
@given(
    start=st.integers(1_700_000_000_000, 1_900_000_000_000),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Havana"]),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
)
def test_a_daily_job_runs_once_each_day(start: int, tz: str, hour: int, minute: int) -> None:
    zone, runs = ZoneInfo(tz), [start]
    for _ in range(3):
        runs.append(next_ms(f"{minute} {hour} * * *", tz=zone, after_ms=runs[-1]))
    days = [datetime.fromtimestamp(ms / 1000, zone).date() for ms in runs[1:]]
    assert days == [days[0] + timedelta(days=n) for n in range(3)]


@given(start=st.integers(1_700_000_000_000, 1_900_000_000_000), tz=st.sampled_from(["Europe/Berlin", "Asia/Kolkata"]))
def test_an_hourly_job_runs_every_hour_that_passes(start: int, tz: str) -> None:
    first = next_ms("30 * * * *", tz=ZoneInfo(tz), after_ms=start)
    assert next_ms("30 * * * *", tz=ZoneInfo(tz), after_ms=first) - first == 3_600_000


@pytest.mark.parametrize("text", ["", "* * * *", "61 * * * *", "@never", "* * * * * * *", "not a pattern at all"])
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)
    with pytest.raises(ValueError, match=r"."):
        next_ms(text, tz=UTC, after_ms=0)


def test_a_pattern_that_never_comes() -> None:
    assert is_pattern("0 0 30 2 *")
    with pytest.raises(ValueError, match="never"):
        next_ms("0 0 30 2 *", tz=UTC, after_ms=0)
