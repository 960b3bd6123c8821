"""What becomes of a job that ended (pure)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_worker_processor import Silent

from queueworker_worker import carried, frames
from queueworker_worker.engine.jobs import ActiveJob, Nothing, Taken, fetched_of, read
from queueworker_worker.engine.options import EngineOptions, Keep
from queueworker_worker.engine.outcome import (
    LONGEST_BACKOFF_MS,
    Delayed,
    Failed,
    RateLimited,
    Retried,
    backoff_ms,
    completed,
    failed,
    keep_of,
    postponed,
    reason_of,
)
from queueworker_worker.engine.packed import PackedOptions
from queueworker_worker.errors import DelayedError, RateLimitError, UnrecoverableError

OPTIONS = EngineOptions(queue="q", name="w")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def active(*, opts: dict[str, Any] | None = None, **fields: str) -> ActiveJob:
    stored = {"name": "n", "data": "{}", "opts": json.dumps(opts or {}), **fields}
    return read(Taken("1", stored), queue="q", prefix="bull", channel=Silent())


@pytest.mark.parametrize(
    ("backoff", "attempt", "delay"),
    [
        (None, 1, 0),
        (0, 1, 0),
        (250, 3, 250),
        ({"type": "fixed", "delay": 100}, 5, 100),
        ({"type": "exponential", "delay": 100}, 1, 100),
        ({"type": "exponential", "delay": 100}, 4, 800),
        ({"type": "exponential", "delay": 100, "jitter": 0.5}, 2, 150),
        ({"type": "fixed", "delay": 100, "jitter": 1}, 2, 50),
        ({"type": "exponential", "delay": 100}, 1_000, LONGEST_BACKOFF_MS),
        ({"type": "fixed", "delay": "soon"}, 1, 1_000),
    ],
)
def test_backoff_counts_as_bullmq_does(backoff: Any, attempt: int, delay: int) -> None:
    assert backoff_ms(backoff, attempt=attempt, uniform=lambda: 0.5) == (delay, None)


@given(backoff=JSON, attempt=st.integers(1, 10_000), uniform=st.floats(0, 1))
def test_no_backoff_option_breaks_the_delay(backoff: Any, attempt: int, uniform: float) -> None:
    delay, _ = backoff_ms(backoff, attempt=attempt, uniform=lambda: uniform)
    assert isinstance(delay, int)
    assert 0 <= delay <= LONGEST_BACKOFF_MS


@given(kind=st.text(), delay=JSON, jitter=JSON)
def test_unknown_backoff_is_exponential_and_said(kind: str, delay: Any, jitter: Any) -> None:
    known = kind in {"fixed", "exponential"}
    got, warning = backoff_ms({"type": kind, "delay": delay, "jitter": jitter}, attempt=3)
    assert 0 <= got <= LONGEST_BACKOFF_MS
    assert (warning is None) == known


@given(attempts=st.integers(0, 20), made=st.integers(0, 25))
def test_a_job_runs_as_often_as_its_attempts_say(attempts: int, made: int) -> None:
    job = active(opts={"attempts": attempts}, atm=str(made))
    verdict = failed(job, ValueError("x"), options=OPTIONS)
    assert isinstance(verdict, Failed) == (made + 1 >= max(1, attempts))
    assert isinstance(failed(job, UnrecoverableError("x"), options=OPTIONS), Failed)


def test_stack_traces_are_bounded_in_number_and_length() -> None:
    old = [f"trace {n}" for n in range(30)]
    verdict = failed(active(stacktrace=json.dumps(old)), ValueError("y" * 50_000), options=OPTIONS)
    traces = json.loads(verdict.stacktrace)
    assert len(traces) == 10
    assert traces[:-1] == old[-9:]
    assert "characters left out" in traces[-1]
    assert max(map(len, traces)) < 9_000
    assert len(verdict.reason) < 2_100
    for limit, kept in ((0, 0), (2, 2), (99, 10)):
        job = active(opts={"stackTraceLimit": limit}, stacktrace=json.dumps(old))
        assert len(json.loads(failed(job, ValueError(), options=OPTIONS).stacktrace)) == kept


def test_reasons_are_never_empty() -> None:
    class NastyError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(KeyError("name")) == "KeyError: 'name'"
    assert reason_of(NastyError()) == "NastyError"
    assert reason_of(SystemExit(3)) == "SystemExit: 3"
    assert reason_of(ExceptionGroup("two", [OSError("no disk"), ValueError()])) == (
        "two (2 sub-exceptions): OSError: no disk"
    )
    assert reason_of(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert reason_of(ValueError("half \ud800, raw \udcff, ä")) == "half \\ud800, raw \\udcff, ä"


@pytest.mark.parametrize(
    ("option", "kept"),
    [
        (True, {"count": 0}),
        (False, {"count": -1}),
        (5, {"count": 5}),
        ({"age": 60}, {"age": 60}),
        ({"age": 60, "count": 2, "limit": 9, "other": 1}, {"age": 60, "count": 2, "limit": 9}),
        ({}, {"count": 7, "age": 8}),
        (None, {"count": 7, "age": 8}),
        ("odd", {"count": 7, "age": 8}),
        (float("inf"), {"count": 7, "age": 8}),
        (2**70, {"count": 7, "age": 8}),
    ],
)
def test_keeping_finished_jobs(option: Any, kept: dict[str, int]) -> None:
    assert keep_of(option, Keep(count=7, age=8)) == kept


def test_results_are_compact_json() -> None:
    assert completed({"a": [1, None]}).value == '{"a":[1,null]}'
    for wrong in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            completed(wrong)


@given(fields=st.dictionaries(st.sampled_from(["name", "data", "opts", "stacktrace", "atm", "stc"]), st.text()))
def test_any_hash_is_read_without_an_error(fields: dict[str, str]) -> None:
    found = read(Taken("1", fields), queue="q", prefix="bull", channel=Silent())
    assert found.job.attempts >= 1
    if "name" not in fields or "data" not in fields or "opts" not in fields:
        assert found.unreadable
    assert isinstance(failed(found, ValueError("x"), options=OPTIONS), Failed | Retried)


def test_replies_of_the_fetching_scripts() -> None:
    assert fetched_of(0) == fetched_of(None) == fetched_of([0, 0, 0, 0]) == Nothing()
    assert fetched_of([0, 0, 250, 0]) == Nothing(limited_ms=250)
    assert fetched_of([0, 0, 0, "1700000000123.5"]) == Nothing(next_due_ms=1_700_000_000_123)
    taken = fetched_of([["name", "n", "data", "{}"], "42", 0, 0])
    assert taken == Taken("42", {"name": "n", "data": "{}"})


@given(option=JSON | st.integers(2**60, 2**70), flag=JSON)
def test_whatever_a_producer_wrote_can_be_sent_to_the_scripts(option: Any, flag: Any) -> None:
    opts = {"attempts": option, "removeOnComplete": option, "removeOnFail": {"age": option}, "fpof": flag}
    stored = {"name": "n", "data": "{}", "opts": json.dumps(opts), "atm": json.dumps(option)}
    job = read(Taken("1", stored), queue="q", prefix="bull", channel=Silent()).job
    packed = PackedOptions(OPTIONS)
    for target in ("completed", "failed"):
        assert packed.to_finish("t", target, attempts=(job.attempts, job.attempts_made), opts=job.opts)


def test_for_ever_in_javascript_is_a_number_of_attempts() -> None:
    stored = {"name": "n", "data": "{}", "opts": '{"attempts": 1.7976931348623157e308}'}
    assert read(Taken("1", stored), queue="q", prefix="bull", channel=Silent()).job.attempts == 2**53 - 1


@pytest.mark.parametrize("wrong", ["5", float("nan"), float("inf"), 2**60, True, [1]])
def test_times_that_the_scripts_cannot_take_are_refused(wrong: Any) -> None:
    for make in (
        lambda: DelayedError(delay_ms=wrong),
        lambda: DelayedError(until_ms=wrong),
        lambda: RateLimitError(wrong),
    ):
        with pytest.raises(ValueError, match=r"_ms must be a number of milliseconds, not "):
            make()


def test_times_become_whole_milliseconds() -> None:
    assert postponed(DelayedError(delay_ms=10.7), now_ms=1_000) == Delayed(1_010)
    assert postponed(DelayedError(until_ms=2_000.5), now_ms=1_000) == Delayed(2_000)
    assert postponed(RateLimitError(1.9), now_ms=1_000) == RateLimited(1)


def test_whatever_a_postponing_error_holds_crosses_to_the_worker() -> None:
    error = DelayedError(delay_ms=5)
    error.delay_ms = timedelta(seconds=5)  # type: ignore[assignment]
    carried_over = carried.decode(json.loads(frames.encode(carried.encode(error))[4:]))
    assert isinstance(carried_over, DelayedError)
    assert postponed(carried_over, now_ms=0) is None
    assert postponed(carried.decode(carried.encode(DelayedError(until_ms=7))), now_ms=0) == Delayed(7)


@pytest.mark.parametrize("kind", [DelayedError, RateLimitError])
def test_a_postponing_error_without_its_time_is_an_error_like_any_other(kind: type[Exception]) -> None:
    class OwnError(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            Exception.__init__(self, "mine")

    assert postponed(OwnError(), now_ms=0) is None
