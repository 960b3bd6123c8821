from __future__ import annotations

import json
import string
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from queueworker.errors import InvalidJobError
from queueworker.jobs import Job
from queueworker.keys import MAX_PRIORITY, QueueKeys
from queueworker.names import usable_job_id, usable_queue_name
from queueworker.options import MAX_DUE_MS, JobOptions, Priority

KEYS = QueueKeys("bull", "q")
PARENT = {"id": "p", "queue": "bull:q"}


@pytest.mark.parametrize(
    ("given_id", "stored"),
    [
        ("character:90000001", "character-90000001"),
        ("fleet-arrival-7", "fleet-arrival-7"),
        ("a:b:c", "a:b:c"),
        ("-", "-"),
        ("007", "007"),
        ("1e3", "1e3"),
        ("waiting", "waiting"),
    ],
)
def test_ids_are_stored_as_node_can_read_them(given_id: str, stored: str) -> None:
    assert usable_job_id(given_id) == stored


@pytest.mark.parametrize(
    "job_id",
    ["", "0", "5", "-5", "12345", ":5", "0:1", "0:1:2", "a:b:c:d", "wait", "stalled-check", "metrics:failed:data"],
)
def test_ids_that_bullmq_refuses_or_that_hurt_the_queue_are_refused(job_id: str) -> None:
    with pytest.raises(InvalidJobError, match="job_id"):
        JobOptions.of(job_id=job_id)


@given(st.text(alphabet=string.ascii_letters + string.digits + ":-_.", max_size=12))
def test_an_id_that_passes_is_one_that_node_accepts(job_id: str) -> None:
    try:
        stored = usable_job_id(job_id)
    except ValueError:
        return
    assert stored
    assert stored.count(":") in {0, 2}
    assert not stored.startswith("0:")
    assert not stored.lstrip("-").isdigit() or str(int(stored)) != stored
    assert usable_job_id(stored) == stored


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"priority": 0}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"priority": MAX_PRIORITY + 1}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": "1"}, "priority"),
        ({"lifo": True, "priority": 5}, "lifo and priority exclude each other"),
        ({"delay": -1}, "delay"),
        ({"delay": 1.5}, "delay"),
        ({"attempts": 0}, "attempts"),
        ({"attempts": "3"}, "attempts"),
        ({"backoff": -1}, "backoff"),
        ({"backoff": {"type": "exponential", "jitter": 1.1}}, "backoff.jitter"),
        ({"backoff": {"delay": 5}}, "backoff.type"),
        ({"deduplication": {}}, "deduplication.id"),
        ({"deduplication": {"id": ""}}, "deduplication.id"),
        ({"deduplication": {"id": "x", "ttl": 0}}, "deduplication.ttl"),
        ({"removeOnComplete": {}}, "removeOnComplete"),
        ({"removeOnFail": {"age": -1}}, "removeOnFail"),
        ({"remove_on_fail": "yes"}, "remove_on_fail"),
        ({"repeat": {"every": 5}}, "repeat: there is no such option"),
        ({"timestamp": 5}, "timestamp: there is no such option"),
        ({"debounce": {"id": "d"}}, "debounce"),
        ({"sizeLimit": 0}, "sizeLimit"),
        ({"stack_trace_limit": -1}, "stack_trace_limit"),
        ({"keepLogs": 1.5}, "keepLogs"),
        ({"parent": {"id": "p"}}, "parent.queue"),
        ({"parent": {"id": "p", "queue": "children"}}, "write for example bull:children"),
        ({"parent": {"id": "p", "queue": "bull:"}}, "write for example bull:queue"),
        ({"parent": {"id": "", "queue": "bull:q"}}, "parent.id"),
        ({"parent": {"id": "a:b:c", "queue": "bull:q"}}, "parent.id.*must not contain ':'"),
        ({"parent": {"id": 5, "queue": "bull:q"}}, "parent.id"),
        ({"failParentOnFailure": 1}, "failParentOnFailure"),
        ({"fpof": True, "rdof": True}, "failParentOnFailure and removeDependencyOnFailure exclude each other"),
        ({"parent": PARENT, "deduplication": {"id": "d"}}, "deduplication and parent exclude each other"),
        ({"deduplication": {"id": "d", "ttl": 1.5}}, "deduplication.ttl"),
        ({"deduplication": {"id": "d", "reschedule": True}}, "reschedule: there is no such option"),
        ({"telemetry": {"metadata": 5}}, "telemetry.metadata"),
    ],
)
def test_an_option_that_cannot_be_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidJobError, match=named) as caught:
        JobOptions.of(**options)
    assert "\n" not in str(caught.value)


def test_the_defaults() -> None:
    assert JobOptions.of().encode() == {
        "priority": 5,
        "delay": 0,
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 1000},
        "removeOnComplete": {"age": 3600, "count": 1000},
        "removeOnFail": {"age": 604_800, "count": 5000},
    }


def test_names_in_both_spellings_and_the_short_ones_of_the_scripts() -> None:
    snake = JobOptions.of(job_id="a", keep_logs=5, deduplication={"id": "d", "keep_last_if_active": True}, backoff=7)
    camel = JobOptions.of(jobId="a", keepLogs=5, deduplication={"id": "d", "keepLastIfActive": True}, backoff=7)
    assert snake == camel
    encoded = snake.encode()
    assert encoded["kl"] == 5
    assert encoded["de"] == {"id": "d", "keepLastIfActive": True}
    assert encoded["backoff"] == {"type": "fixed", "delay": 7}
    assert not {"keepLogs", "deduplication"} & set(encoded)


def test_a_job_without_priority_is_lifo() -> None:
    assert JobOptions.of(lifo=True).encode().get("priority") is None
    assert JobOptions.of(lifo=True).encode()["lifo"] is True
    assert JobOptions.of(priority=Priority.HIGH).encode()["priority"] == 1


@given(
    priority=st.one_of(st.none(), st.integers(1, MAX_PRIORITY)),
    delay=st.integers(0, 10**9),
    attempts=st.integers(1, 100),
    keep=st.one_of(st.booleans(), st.integers(-1, 10**6)),
)
def test_options_travel_whole(priority: int | None, delay: int, attempts: int, keep: bool | int) -> None:
    job = Job.create("n", priority=priority, delay=delay, attempts=attempts, remove_on_complete=keep)
    call = job.call(KEYS, timestamp_ms=1_700_000_000_000)
    head, payload, packed = call[-3:]
    assert isinstance(head, bytes)
    assert isinstance(packed, bytes)
    options = msgpack.unpackb(packed)
    assert (options["priority"], options["delay"], options["attempts"]) == (priority or 5, delay, attempts)
    assert options["removeOnComplete"] is keep if isinstance(keep, bool) else options["removeOnComplete"] == keep
    assert options["jobId"] == job.id
    assert msgpack.unpackb(head)[:4] == ["bull:q:", job.id, "n", 1_700_000_000_000]
    assert payload == "{}"


def test_the_script_follows_the_options() -> None:
    assert Job.create("n").script.name == "addPrioritizedJob"
    assert Job.create("n", lifo=True).script.name == "addStandardJob"
    assert Job.create("n", delay=1).script.name == "addDelayedJob"
    for job in (Job.create("n"), Job.create("n", lifo=True), Job.create("n", delay=1)):
        call = job.call(KEYS, timestamp_ms=1)
        assert call[:3] == ("EVALSHA", job.script.sha1, job.script.number_of_keys)
        assert len(call) == 3 + job.script.number_of_keys + 3


def test_a_job_keeps_its_id_however_often_it_is_sent() -> None:
    job = Job.create("n")
    assert job.generated_id
    assert len(job.id) == 32
    assert job.call(KEYS, timestamp_ms=1) == job.call(KEYS, timestamp_ms=1)
    assert Job.create("n").id != job.id
    assert not Job.create("n", job_id="x-1").generated_id


def test_a_due_time_that_the_score_cannot_hold_is_refused() -> None:
    Job.create("n", delay=1).call(KEYS, timestamp_ms=MAX_DUE_MS - 1)
    with pytest.raises(InvalidJobError, match="2039"):
        Job.create("n", delay=1).call(KEYS, timestamp_ms=MAX_DUE_MS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_data_travels_whole(data: Any) -> None:
    expected = {} if data is None else data
    assert json.loads(Job.create("n", data).payload) == expected


def test_data_that_json_cannot_hold_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for data in (float("nan"), float("inf"), {1, 2}, object(), b"bytes", loop, {(1, 2): 3}):
        with pytest.raises(InvalidJobError, match="cannot be written as JSON"):
            Job.create("n", data)


@pytest.mark.parametrize("name", ["", "a:b"])
def test_queue_names(name: str) -> None:
    with pytest.raises(InvalidJobError, match="queue name"):
        usable_queue_name(name)
    assert usable_queue_name("killmail") == "killmail"


def test_what_a_child_does_to_its_parent_in_all_spellings() -> None:
    snake = JobOptions.of(parent=PARENT, ignore_dependency_on_failure=True, continue_parent_on_failure=False)
    camel = JobOptions.of(parent=PARENT, ignoreDependencyOnFailure=True, continueParentOnFailure=False)
    short = JobOptions.of(parent=PARENT, idof=True, cpof=False)
    assert snake == camel == short
    assert snake.on_failure == ["ignoreDependencyOnFailure"]
    encoded = snake.encode()
    assert (encoded["idof"], encoded["cpof"], encoded["parent"]) == (True, False, PARENT)


@pytest.mark.parametrize(("given_id", "stored"), [("order:7", "order-7"), ("12", "12"), ("a-b", "a-b")])
def test_the_id_of_a_parent_is_mapped_as_it_was_when_it_was_added(given_id: str, stored: str) -> None:
    job = Job.create("n", parent={"id": given_id, "queue": "bull:parents"}, fail_parent_on_failure=True)
    head = msgpack.unpackb(job.call(KEYS, timestamp_ms=1)[-3])
    key = f"bull:parents:{stored}"
    assert head[4:7] == [key, f"{key}:dependencies", {"id": stored, "queueKey": "bull:parents", "fpof": True}]


def test_what_is_to_happen_to_a_parent_needs_one() -> None:
    with pytest.raises(InvalidJobError, match="job n: option removeDependencyOnFailure: needs a parent"):
        Job.create("n", rdof=True).call(KEYS, timestamp_ms=1)


def test_telemetry_travels_under_its_short_names() -> None:
    encoded = JobOptions.of(telemetry={"metadata": "00-abc", "omit_context": True}).encode()
    assert (encoded["tm"], encoded["omc"]) == ("00-abc", True)
    assert "telemetry" not in encoded


@given(st.text(max_size=20), st.integers(1, 60))
def test_the_size_of_data_is_limited_as_node_counts_it(text: str, limit: int) -> None:
    size = len(json.dumps({"t": text}, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size <= limit:
        assert Job.create("n", {"t": text}, size_limit=limit).options.encode()["sizeLimit"] == limit
    else:
        with pytest.raises(InvalidJobError, match=f"has {size} bytes, the limit is {limit}"):
            Job.create("n", {"t": text}, size_limit=limit)


@pytest.mark.parametrize("options", [{"job_id": "\ud800"}, {"attempts": 2**70}, {"telemetry": {"metadata": "\ud800"}}])
def test_what_cannot_be_packed_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobError, match="cannot be sent"):
        Job.create("n", **options).call(KEYS, timestamp_ms=1)


def test_a_model_that_cannot_be_written_as_json_is_refused() -> None:
    class Payload(BaseModel):
        value: Any

    with pytest.raises(InvalidJobError, match="job n: its data cannot be written as JSON"):
        Job.create("n", Payload(value=object()))


def test_an_option_given_under_both_its_names_is_refused() -> None:
    with pytest.raises(InvalidJobError, match="job_id"):
        JobOptions.of(job_id="a", jobId="b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"remove_on_complete": -5}, "option remove_on_complete: Input should be greater than or equal to -1"),
        (
            {"remove_on_complete": "x"},
            "option remove_on_complete: Input should be a valid boolean or integer or dictionary",
        ),
        ({"remove_on_fail": {"age": -1}}, "option remove_on_fail.age: Input should be greater than or equal to 0"),
        ({"remove_on_fail": {}}, "option remove_on_fail: age or count is needed"),
        ({"backoff": {"type": "fixed", "jitter": 2}}, "option backoff.jitter: Input should be less than or equal to 1"),
        ({"parent": {"id": "a:b:c", "queue": "bull:q"}}, "option parent.id: the id of a parent must not be empty"),
    ],
)
def test_an_error_names_the_option_and_what_it_may_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        JobOptions.of(**options)
    assert str(caught.value).startswith(said)
