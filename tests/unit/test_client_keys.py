from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker import keys
from queueworker.keys import MAX_PRIORITY, QueueKeys
from queueworker.options import MAX_DUE_MS

priorities = st.integers(1, MAX_PRIORITY)
counters = st.integers(0, 2**32 - 1)
dues = st.integers(0, MAX_DUE_MS)


@given(priorities, counters)
def test_a_priority_survives_the_score_even_as_a_double(priority: int, counter: int) -> None:
    score = keys.priority_score(priority, counter)
    assert keys.priority_of_score(float(score)) == priority
    assert score < keys.priority_score(priority + 1, 0)


@given(priorities, counters, priorities, counters)
def test_a_lower_priority_number_always_runs_first(a: int, a_counter: int, b: int, b_counter: int) -> None:
    first, second = keys.priority_score(a, a_counter), keys.priority_score(b, b_counter)
    assert ((a, a_counter) < (b, b_counter)) == (first < second)


@given(dues, st.integers(0, 4095))
def test_a_due_time_survives_the_score(due: int, sequence: int) -> None:
    score = due * keys.DELAYED_SHIFT + sequence
    assert keys.due_ms_of_score(float(score)) == due
    assert score <= keys.delayed_score_bound(due)
    assert score > keys.delayed_score_bound(due - 1)
    assert float(keys.delayed_score_bound(due)) == keys.delayed_score_bound(due)


def test_the_keys_of_a_queue() -> None:
    queue = QueueKeys("bull", "killmail")
    assert queue.of("wait") == "bull:killmail:wait"
    assert queue.job("7") == "bull:killmail:7"
    assert queue.lock("7") == "bull:killmail:7:lock"
    assert (queue.workers, queue.worker) == ("bull:killmail:qw:workers", "bull:killmail:qw:worker")
    assert queue.statistics == "bull:killmail:qw:stats"


@pytest.mark.parametrize(
    ("prefix", "tagged"),
    [("{bull}", True), ("a{b}c", True), ("bull", False), ("{}", False), ("}{", False), ("{b", False)],
)
def test_a_hash_tag_keeps_a_queue_in_one_slot(prefix: str, tagged: bool) -> None:
    assert QueueKeys(prefix, "q").has_hash_tag is tagged


def test_a_score_without_end_is_the_last_one() -> None:
    assert keys.due_ms_of_score(float("inf")) == MAX_DUE_MS + 1
    assert keys.whole_score(float("-inf")) == -keys.LAST_EXACT
    assert keys.whole_score(5.0) == 5
