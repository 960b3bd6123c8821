from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker.errors import InvalidJobError
from queueworker.options import MAX_DUE_MS
from queueworker.schedules import Schedule, ScheduleInfo, template

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_MS = 1_772_366_400_000


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        ({"cron": "0 * * * *"}, "name a time zone"),
        ({"cron": "0 * * * *", "tz": "Mars/Olympus"}, "IANA"),
        ({"cron": "0 * * * *", "tz": "../etc/passwd"}, "IANA"),
        ({"cron": "0 * * * *", "tz": 7}, "IANA"),
        ({"cron": "61 * * * *", "tz": "UTC"}, "cron pattern"),
        ({"cron": "* * * *", "tz": "UTC"}, "cron pattern"),
        ({"cron": "* * * * * * 2030", "tz": "UTC"}, "cron pattern"),
        ({"cron": 5, "tz": "UTC"}, "cron pattern"),
        ({"cron": "", "tz": "UTC"}, "cron pattern"),
        ({"cron": "0 * * * *", "tz": "UTC", "offset": 5}, "offset belongs to every"),
        ({}, "exactly one of cron and every"),
        ({"cron": "0 * * * *", "every": 1000, "tz": "UTC"}, "exactly one of cron and every"),
        ({"every": 0}, "every must be"),
        ({"every": -5}, "every must be"),
        ({"every": 1.5}, "every must be"),
        ({"every": True}, "every must be"),
        ({"every": MAX_DUE_MS + 1}, "every must be"),
        ({"every": 1000, "tz": "UTC"}, "tz belongs to cron"),
        ({"every": 1000, "limit": 0}, "limit must be"),
        ({"every": 1000, "limit": 1.0}, "limit must be"),
        ({"every": 1000, "offset": 1000}, "offset must be"),
        ({"every": 1000, "offset": 0}, "offset must be"),
        ({"every": 1000, "start": datetime(2026, 3, 1)}, "start has no time zone"),  # noqa: DTZ001
        ({"every": 1000, "end": datetime(2026, 3, 1)}, "end has no time zone"),  # noqa: DTZ001
        ({"every": 1000, "start": "2026-03-01"}, "start must be"),
        ({"every": 1000, "start": 1.5}, "start must be"),
        ({"every": 1000, "start": True}, "start must be"),
        ({"every": 1000, "start": -1}, "start must be"),
        ({"every": 1000, "end": MAX_DUE_MS + 1}, "end must be"),
        ({"every": 1000, "start": NOON, "end": NOON - timedelta(seconds=1)}, "end is before start"),
        ({"every": 1000, "start": NOON, "immediately": True}, "immediately and start"),
    ],
)
def test_what_cannot_be_is_named(plan: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidJobError, match=f"scheduler s: .*{match}"):
        Schedule(id="s", **plan)


@pytest.mark.parametrize("scheduler_id", ["", "a:b", "repeat:a:1", None, 5])
def test_ids(scheduler_id: Any) -> None:
    with pytest.raises(InvalidJobError, match="scheduler id"):
        Schedule(id=scheduler_id, every=1)


def test_the_repeat_options_bear_bullmqs_names() -> None:
    every = Schedule(id="s", every=60_000, limit=3, start=NOON, end=NOON_MS + 5, offset=7)
    assert every.repeat() == {"every": 60_000, "limit": 3, "startDate": NOON_MS, "endDate": NOON_MS + 5, "offset": 7}
    assert Schedule(id="s", cron="0 8 * * *", tz="UTC").repeat() == {"pattern": "0 8 * * *", "tz": "UTC"}


@pytest.mark.parametrize(
    ("plan", "due"),
    [
        ({"cron": "0 8 * * *", "tz": "UTC"}, datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ({"cron": "0 8 * * *", "tz": "America/New_York"}, datetime(2026, 3, 1, 13, tzinfo=UTC)),
        ({"cron": "30 0 12 * * *", "tz": "UTC"}, NOON + timedelta(seconds=30)),
        ({"cron": "0 12 * * *", "tz": "UTC"}, NOON + timedelta(days=1)),
        ({"cron": "0 8 * * *", "tz": "UTC", "start": NOON + timedelta(days=9)}, datetime(2026, 3, 11, 8, tzinfo=UTC)),
        ({"cron": "0 8 * * *", "tz": "UTC", "start": NOON - timedelta(days=9)}, datetime(2026, 3, 2, 8, tzinfo=UTC)),
        ({"cron": "0 8 * * *", "tz": "UTC", "immediately": True}, NOON),
        ({"every": 5000}, NOON),
    ],
)
def test_when_the_first_job_falls_due(plan: dict[str, Any], due: datetime) -> None:
    assert Schedule(id="s", **plan).next_ms(NOON_MS) == due.timestamp() * 1000


@pytest.mark.parametrize(
    ("plan", "match"),
    [
        ({"every": 5000, "end": NOON_MS - 1}, "end is in the past"),
        ({"cron": "0 8 * * *", "tz": "UTC", "end": NOON + timedelta(hours=1)}, "end comes before the first run"),
        ({"cron": "0 0 30 2 *", "tz": "UTC"}, "never fires"),
    ],
)
def test_a_scheduler_that_would_never_fire_is_refused(plan: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidJobError, match=match):
        Schedule(id="s", **plan).next_ms(NOON_MS)


@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2038, 1, 1)),  # noqa: DTZ001
    hours=st.integers(-12, 14),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)
def test_the_next_run_of_an_hourly_pattern_is_within_the_hour(now: datetime, hours: int, zone: str) -> None:
    now_ms = int(now.replace(tzinfo=timezone(timedelta(hours=hours))).timestamp() * 1000)
    due_ms = Schedule(id="s", cron="15 * * * *", tz=zone).next_ms(now_ms)
    # Half-hour zones and the changes of the clocks leave at most an hour more.
    assert now_ms < due_ms <= now_ms + 2 * 3_600_000


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"job_id": "x"}, "job_id"),
        ({"delay": 5}, "delay"),
        ({"deduplication": {"id": "d"}}, "deduplication"),
        ({"parent": {"id": "p", "queue": "bull:q"}}, "parent"),
        ({"fpof": True}, "failParentOnFailure"),
        ({"attempts": 0}, "attempts"),
    ],
)
def test_options_that_its_jobs_cannot_have(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJobError, match=named):
        template("s", options)


def test_the_template_is_what_a_job_gets() -> None:
    options = template("s", {"attempts": 7, "keep_logs": 5})
    assert (options["attempts"], options["kl"], options["priority"]) == (7, 5, 5)
    assert "delay" not in options


def test_what_is_stored_is_read_whole_and_what_is_broken_as_far_as_it_goes() -> None:
    stored = {
        **{"name": "n", "every": "1000", "limit": "3", "offset": "7", "ic": "2", "startDate": "5", "endDate": "1e3"},
        **{"data": '{"a":1}', "opts": '{"attempts":2}'},
    }
    info = ScheduleInfo.of("s", NOON_MS, stored)
    assert info == ScheduleInfo(
        **{"id": "s", "next_run_ms": NOON_MS, "name": "n", "every": 1000, "limit": 3, "offset": 7, "iterations": 2},
        **{"start_ms": 5, "end_ms": 1000, "data": {"a": 1}, "options": {"attempts": 2}},
    )
    assert info.next_run == NOON
    broken = ScheduleInfo.of("a:b:c", 1, {"every": "x", "opts": "[", "data": "["})
    assert (broken.every, broken.options, broken.data, broken.name) == (None, {}, "[", None)
