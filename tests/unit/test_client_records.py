"""Decoding what is stored: nothing that stands in Redis makes it raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker import eventrecords, records
from queueworker.eventrecords import QueueEvent, StreamId
from queueworker.records import JobRecord

anything = st.one_of(
    st.none(),
    st.text(),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["{}", "[]", "null", "1e400", "NaN", '{"de":{"id":"x"}}', "[" * 5000, "9" * 5000, "\udcff\udcfe"]),
)


def record(**fields: str | None) -> JobRecord:
    stored = [fields.get(name) for name in records.FIELDS]
    return records.decode("one", stored, queue="q", state="waiting")


@given(st.lists(anything, min_size=len(records.FIELDS), max_size=len(records.FIELDS)))
def test_decoding_never_raises_and_tells_what_it_could_not_read(stored: list[str | None]) -> None:
    found = records.decode("one", stored, queue="q", state="waiting")
    for name, value in (
        ("timestamp", found.timestamp),
        ("processedOn", found.processed_on),
        ("stc", found.stalled_count),
    ):
        was = stored[records.FIELDS.index(name)]
        assert (value is None) == (name in found.unreadable or (was is None and name != "stc"))
    assert all("\n" not in line and len(line) < 500 for line in found.unreadable.values())


def test_absent_is_not_unreadable() -> None:
    assert record().unreadable == {}
    assert record().timestamp is None
    assert (record().delay, record().attempts_made, record().stalled_count) == (0, 0, 0)
    assert record().attempts == 1


def test_numbers_that_lua_wrote() -> None:
    assert record(timestamp="1.7e+12").timestamp == 1_700_000_000_000
    assert record(delay="100.0").delay == 100
    bad = record(timestamp="soon", priority="")
    assert (bad.timestamp, bad.priority) == (None, None)
    assert bad.unreadable == {"timestamp": "not a number: 'soon'", "priority": "not a number: ''"}


def test_attempts_under_the_name_of_bullmq_4() -> None:
    assert record(attemptsMade="3").attempts_made == 3
    assert record(attemptsMade="3", atm="4").attempts_made == 4


def test_options_have_their_full_names() -> None:
    opts = {"de": {"id": "d"}, "kl": 5, "fpof": True, "tm": "trace", "omc": True, "attempts": 4}
    found = record(opts=json.dumps(opts))
    assert found.opts == {
        "deduplication": {"id": "d"},
        "keepLogs": 5,
        "failParentOnFailure": True,
        "attempts": 4,
        "telemetry": {"metadata": "trace", "omitContext": True},
    }
    assert found.attempts == 4


def test_what_is_no_json_survives_as_text() -> None:
    found = record(data="\udcff no json", returnvalue="done", opts="[1]", stacktrace="{}", progress="50")
    assert found.data == "\udcff no json"
    assert found.data.encode("utf-8", "surrogateescape") == b"\xff no json"
    assert found.return_value == "done"
    assert (found.opts, found.stacktrace, found.progress) == ({}, (), 50)
    assert found.unreadable == {
        "data": "not JSON: '\\udcff no json'",
        "returnvalue": "not JSON: 'done'",
        "opts": "not a JSON object: '[1]'",
    }


def test_an_event_is_decoded_by_its_name() -> None:
    fields = ["event", "completed", "jobId", "7", "returnvalue", '{"a": 1}', "prev", "active"]
    assert eventrecords.decode("5-1", fields) == QueueEvent(
        "5-1", "completed", "7", {"returnvalue": {"a": 1}, "prev": "active"}
    )
    failed = eventrecords.decode("5-1", ["event", "failed", "jobId", "7", "failedReason", "42"])
    assert failed.fields == {"failedReason": "42"}, "a reason is a text, whatever it looks like"
    assert eventrecords.decode("5-1", ["event", "delayed", "delay", "1700"]).fields == {"delay": 1700}
    assert eventrecords.decode("1700-1", ["event", "drained"]).job_id is None
    assert eventrecords.decode("1700-1", ["event", "drained"]).timestamp == 1700


@given(st.lists(st.text(), max_size=9))
def test_an_event_of_any_form_is_decoded(fields: list[str]) -> None:
    assert isinstance(eventrecords.decode("5-1", fields), QueueEvent)


@given(st.integers(0, 2**63), st.integers(0, 2**64 - 1))
def test_ids_of_the_stream(ms: int, sequence: int) -> None:
    one = StreamId(ms, sequence)
    assert StreamId.parse(str(one)) == one
    if one > (0, 0):
        assert one.predecessor < one
    assert StreamId.before_ms(ms) < StreamId(ms, 0)
    assert StreamId.before_ms(ms) >= StreamId(ms - 1, sequence)


@pytest.mark.parametrize("text", ["", "now", "5-", "-5", "5-1-1", " 5"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write \$ for now"):
        StreamId.parse(text)
