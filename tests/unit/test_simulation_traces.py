"""Traces: the file that holds them, and how the events of a queue become one."""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation_world import job, trace, uniform

from queueworker.eventrecords import QueueEvent
from queueworker_operator.simulation import tracefile
from queueworker_operator.simulation.recording import UNKNOWN_NAME, Recording
from queueworker_operator.simulation.trace import trace_of, with_service_times

milliseconds = st.integers(min_value=0, max_value=10_000_000).map(lambda ms: ms / 1000)
traced = st.builds(
    job,
    milliseconds,
    service=st.none() | milliseconds,
    queue=st.text(min_size=1, max_size=8),
    name=st.text(max_size=8),
    due=st.none() | milliseconds,
    priority=st.integers(min_value=0, max_value=2_097_151),
)


@settings(max_examples=50)
@given(st.lists(traced, max_size=10), st.none() | milliseconds)
def test_what_is_written_is_read_again(jobs, started):
    last = max((one.added for one in jobs), default=0.0)
    before = trace_of(jobs, seconds=round(last + 1, 3), started=started)
    assert tracefile.load(tracefile.dump(before)) == before


def test_a_trace_that_was_cut_off_is_read_to_its_last_job():
    lines = list(tracefile.dump(trace(job(1), job(5), seconds=60)))[:-1]
    assert tracefile.load(lines).seconds == 5
    assert len(tracefile.load([*lines, tracefile.gap_line(3)]).jobs) == 2
    assert tracefile.load([*lines, tracefile.gap_line(3)]).gaps == 1


HEADER = tracefile.header(started_ms=0, queues=["q"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], 'line 1: is no header of a trace: {"trace": "queueworker", "version": 1, …}'),
        (["nonsense"], 'line 1: is no header of a trace: {"trace": "queueworker", "version": 1, …}'),
        (["[1]"], 'line 1: is no header of a trace: {"trace": "queueworker", "version": 1, …}'),
        (
            ['{"trace": "queueworker", "version": 2}'],
            "line 1: version 2 of traces is not known here, only 1",
        ),
        (
            ['{"trace": "queueworker", "version": 1, "startedMs": "now"}'],
            "line 1: startedMs is no whole number of milliseconds since 1970",
        ),
        (
            ['{"trace": "queueworker", "version": 1, "startedMs": 1%s}' % ("0" * 14)],
            "line 1: startedMs is no whole number of milliseconds since 1970",
        ),
        (["[" * 60_000], 'line 1: is no header of a trace: {"trace": "queueworker", "version": 1, …}'),
        ([HEADER, '{"queue": "q"}'], "line 2: a job has queue, name and at; name is missing"),
        ([HEADER, "", '{"queue": "q", "name": 1, "at": 0}'], "line 3: queue and name are texts"),
        (
            [HEADER, '{"queue": "q", "name": "n", "at": -1}'],
            "line 2: at is a number of milliseconds, at least 0",
        ),
        (
            [HEADER, '{"queue": "q", "name": "n", "at": 0, "priority": -1}'],
            "line 2: priority is a whole number, at least 0",
        ),
        ([HEADER, '{"queue": "q", "name": "n", "at": NaN}'], "line 2: is no JSON: NaN is no number"),
        ([HEADER, '{"queue": "q", "name": "n", "at": 1, "at": 2}'], "line 2: at is given twice"),
        ([HEADER, '{"gap": 1%s}' % ("0" * 5000)], "line 2: a number has more than 100 digits"),
        ([HEADER, "[" * 60_000], "line 2: is nested too deeply for a trace"),
        ([HEADER, "x" * 65_537], "line 2: has more than 65 536 characters: is this a trace?"),
        (
            [HEADER, '{"queue": "q", "name": "n", "at": 1767268800000}'],
            "line 2: at lies more than 31 days after the start: write milliseconds since then, not since 1970",
        ),
        (
            [HEADER, '{"end": 1e14}'],
            "line 2: end lies more than 31 days after the start: write milliseconds since then, not since 1970",
        ),
        (
            [HEADER, '{"queue": "q", "name": "n", "at": 0, "due": 1767268800000}'],
            "line 2: due lies more than 15 000 days after the start: write milliseconds since then, not since 1970",
        ),
        (
            [HEADER, '{"queue": "q", "name": "n", "at": 0, "service": 1e300}'],
            "line 2: service is more than 31 days: write it in milliseconds",
        ),
        ([HEADER, "7"], "line 2: is no JSON object"),
        ([HEADER, "{"], "line 2: is no JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(lines, message):
    with pytest.raises(tracefile.TraceError) as error:
        tracefile.load(lines)
    assert str(error.value) == message


def test_of_a_trace_that_is_too_long_a_part_is_read():
    day = 86_400
    lines = [HEADER, tracefile.job_line(job(30 * day)), tracefile.job_line(job(32 * day)), tracefile.end_line(40 * day)]
    for within in (float("inf"), 33 * day):
        with pytest.raises(tracefile.TraceError) as error:
            tracefile.load(lines, within=within)
        assert str(error.value) == (
            "line 3: at lies more than 31 days after the start, and no more is read: take a part by --duration 31d"
        )
    with pytest.raises(tracefile.TraceError, match=r"line 3: end lies more than 31 days .*--duration 31d"):
        tracefile.load([*lines[:2], lines[-1]])
    found = tracefile.load(lines, within=31 * day)
    assert [one.added for one in found.cut(31 * day).jobs] == [30 * day]
    assert found.cut(31 * day).seconds == 31 * day


def test_no_file_fills_the_memory(monkeypatch):
    class Endless(io.StringIO):
        def readline(self, size=-1, /):
            assert 0 < size < 100_000
            return "x" * size

    assert len(next(tracefile.lines_of(Endless()))) == tracefile.MOST_CHARACTERS + 1
    monkeypatch.setattr(tracefile, "MOST_JOBS", 2)
    lines = [HEADER, *(tracefile.job_line(job(at)) for at in (0, 5, 7))]
    with pytest.raises(tracefile.TraceError, match="line 4: there are more than 2 jobs: take a part of them"):
        tracefile.load(lines)
    assert len(tracefile.load(lines, within=6).jobs) == 2
    monkeypatch.setattr(tracefile, "MOST_LINES", 3)
    with pytest.raises(tracefile.TraceError, match="line 4: a trace has at most 3 lines"):
        tracefile.load([HEADER, "", "", ""])


def test_jobs_that_fall_due_long_after_the_end_are_left_out_and_counted():
    load = trace(job(1), job(2, due=4200), job(3, due=4201), seconds=600).without_late(3600)
    assert ([one.added for one in load.jobs], load.left_out) == ([1, 2], 1)


def test_no_job_takes_no_time():
    [one] = with_service_times(trace(job(0, service=0)), uniform().random).jobs
    assert one.service == 0.001


def test_jobs_without_a_service_time_take_about_as_long_as_their_name_does():
    known = [job(i, name="mail", service=2.0) for i in range(10)] + [
        job(i, name="video", service=60.0) for i in range(10)
    ]
    unknown = [job(20, name=name, service=None) for name in ("mail", "video", "other") for _ in range(200)]
    found = with_service_times(trace(*known, *unknown), uniform().random)
    mean = {
        name: sum(one.service for one in found.jobs[20:] if one.name == name) / 200
        for name in ("mail", "video", "other")
    }
    assert mean["mail"] == pytest.approx(2, rel=0.2)
    assert mean["video"] == pytest.approx(60, rel=0.2)
    assert mean["other"] == pytest.approx(31, rel=0.2)
    given = with_service_times(trace(*unknown), uniform().random, mean=5.0)
    assert sum(one.service for one in given.jobs) / 600 == pytest.approx(5, rel=0.1)


START = 1_000_000


def event(at: int, kind: str, job_id: str | None = "1", /, **fields: object) -> QueueEvent:
    return QueueEvent(f"{START + at}-0", kind, job_id, fields)


def heard(*events: QueueEvent, describe: dict | None = None) -> list:
    recording = Recording("q", START)
    for one in events:
        recording.hear(one)
    recording.describe(describe or {})
    return [*recording.take_ended(), *recording.take_rest()]


def test_a_job_is_added_waits_runs_and_ends():
    events = [event(5, "added", name="mail"), event(5, "waiting"), event(100, "active"), event(350, "completed")]
    assert heard(*events) == [job(0.005, name="mail", service=0.25)]


def test_a_delayed_job_has_the_moment_at_which_it_falls_due():
    events = [
        event(5, "added", name="mail"),
        event(5, "delayed", delay=START + 7000),
        event(7000, "waiting", prev="delayed"),
    ]
    assert heard(*events, event(7001, "active"), event(7101, "failed")) == [
        job(0.005, name="mail", due=7.0, service=0.1)
    ]


def test_every_attempt_is_load():
    first = [event(0, "added", name="mail"), event(0, "waiting"), event(10, "active")]
    backoff = [event(60, "delayed", delay=START + 1060), event(1060, "waiting", prev="delayed"), event(1070, "active")]
    at_once = [event(1100, "waiting", prev="active"), event(1200, "active"), event(1300, "completed")]
    assert heard(*first, *backoff, *at_once) == [
        job(0, name="mail", service=0.05),
        job(0.06, name="mail", due=1.06, service=0.03),
        job(1.1, name="mail", service=0.1),
    ]


def test_a_job_from_before_the_recording_is_looked_up():
    recording = Recording("q", START)
    recording.hear(event(10, "active", "7"))
    assert recording.take_wanted() == ["7"]
    assert recording.take_wanted() == []
    recording.hear(event(60, "completed", "7"))
    recording.describe({"7": ("mail", 3)})
    assert recording.take_ended() == [job(0, name="mail", priority=3, service=0.05)]
    assert heard(event(10, "active"), event(20, "completed")) == [job(0, name=UNKNOWN_NAME, service=0.01)]


def test_a_job_that_falls_due_during_the_recording_was_there_from_its_beginning():
    assert heard(event(500, "waiting", prev="delayed")) == [job(0, name=UNKNOWN_NAME, due=0.5, service=None)]


def test_a_parent_is_load_when_its_children_are_done():
    parent = [event(0, "added", name="report"), event(0, "waiting-children")]
    assert heard(*parent) == []
    after = [event(900, "waiting", prev="waiting-children"), event(950, "active"), event(1000, "completed")]
    assert heard(*parent, *after) == [job(0.9, name="report", service=0.05)]


def test_a_job_that_is_removed_or_fails_before_it_runs_is_no_load():
    assert heard(event(0, "added", name="mail"), event(0, "waiting"), event(9, "removed")) == []
    assert heard(event(0, "added", name="mail"), event(0, "waiting"), event(9, "failed")) == []


def test_events_of_the_whole_queue_and_of_duplicates_are_no_load():
    assert (
        heard(event(0, "paused", None), event(1, "drained", None), event(2, "duplicated"), event(3, "progress")) == []
    )


def test_no_line_of_a_trace_holds_an_id():
    [found] = heard(event(0, "added", "id-of-mine", name="mail"))
    assert json.loads(tracefile.job_line(found)) == {"queue": "q", "name": "mail", "at": 0}
