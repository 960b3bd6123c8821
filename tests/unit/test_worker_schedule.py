"""The next job of a scheduler (pure)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from test_worker_processor import Silent

from queueworker_worker.engine.schedule import next_of
from queueworker_worker.job import Job

NOW = int(datetime(2026, 3, 29, 0, 30, tzinfo=UTC).timestamp() * 1000)


def job_of(repeat: Any, **opts: Any) -> Job:
    options = {"repeat": repeat, "priority": 3, "repeatJobKey": "s", **opts}
    return Job(id="x", queue="q", name="n", data={}, opts=options, timestamp=0, scheduler_id="s", channel=Silent())


def next_in(repeat: Any, **opts: Any) -> tuple[datetime, dict[str, Any]] | None:
    found = next_of(job_of(repeat, **opts), now_ms=NOW)
    if found is None:
        return None
    return datetime.fromtimestamp(found[0] / 1000, tz=UTC), msgpack.unpackb(found[1])


def test_pattern_is_read_in_its_time_zone() -> None:
    """02:30 does not exist in Berlin on that day."""
    found = next_in({"pattern": "30 3 * * *", "tz": "Europe/Berlin", "count": 4})
    assert found is not None
    moment, opts = found
    assert moment == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert opts["repeat"] == {"pattern": "30 3 * * *", "tz": "Europe/Berlin", "count": 5}
    assert (opts["priority"], opts["delay"], opts["prevMillis"]) == (3, 3_600_000, NOW + 3_600_000)


def test_six_fields_begin_with_the_seconds() -> None:
    found = next_in({"pattern": "15 * * * * *"})
    assert found is not None
    assert found[0] == datetime(2026, 3, 29, 0, 30, 15, tzinfo=UTC)


def test_next_is_after_the_one_before_though_the_clock_is_behind() -> None:
    previous = NOW + 90_000
    found = next_in({"pattern": "* * * * *"}, prevMillis=previous)
    assert found is not None
    assert found[0] == datetime(2026, 3, 29, 0, 32, tzinfo=UTC)


def test_limit_and_end_date_end_the_schedule() -> None:
    assert next_in({"every": 1000, "limit": 3, "count": 3}) is None
    assert next_in({"every": 1000, "limit": 3, "count": 2}) is not None
    assert next_in({"pattern": "* * * * *", "endDate": "2026-03-29T00:29:00Z"}) is None
    assert next_in({"pattern": "0 * * * *", "endDate": "2026-03-29T00:59:59Z"}) is None, "the next would be too late"
    found = next_in({"pattern": "* * * * *", "endDate": "2026-03-29T00:41:00Z", "startDate": NOW + 600_000})
    assert found is not None
    assert found[0] == datetime(2026, 3, 29, 0, 41, tzinfo=UTC)
    assert found[1]["repeat"]["endDate"] == NOW + 660_000


@pytest.mark.parametrize("repeat", [None, {}, {"limit": 1}, {"pattern": "not a pattern"}])
def test_what_cannot_be_repeated_is_a_value_error(repeat: Any) -> None:
    with pytest.raises(ValueError, match=r"pattern|expression|columns"):
        next_of(job_of(repeat), now_ms=NOW)
