"""What the environment and the command line tell a worker."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from queueworker.errors import SettingsError
from queueworker_worker.settings import WorkerSettings


def settings(environment: dict[str, str] | None = None, **arguments: Any) -> WorkerSettings:
    return WorkerSettings.from_environment(environment or {}, **arguments)


def test_contract_with_the_operator() -> None:
    limiter = '"limiter":{"max":5,"durationMilliseconds":1000}'
    found = settings(
        {
            "QUEUEWORKER_QUEUES": f'[{{"name":"a","concurrency":10,{limiter}}},{{"name":"b"}}]',
            "QUEUEWORKER_PREFIX": "{team}",
            "QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "90",
            "QUEUEWORKER_NAME": "mail-7f9c",
            "QUEUEWORKER_HEALTH_HOST": "10.0.0.7",
            "QUEUEWORKER_HEALTH_PORT": "8080",
            "QUEUEWORKER_REDIS_PASSWORD": "not ours to read",
        },
        discovered=("a", "c"),
    )
    first, second = (found.engine_options(queue) for queue in found.queues)
    assert (first.queue, first.concurrency, first.prefix, first.name) == ("a", 10, "{team}", "mail-7f9c")
    assert first.limiter is not None
    assert (first.limiter.max, first.limiter.duration_ms) == (5, 1000)
    assert (second.concurrency, second.limiter) == (1, None)
    assert (found.drain_timeout_seconds, found.health_host, found.health_port) == (90, "10.0.0.7", 8080)
    assert (first.lock_duration_ms, first.stalled_interval_ms, first.max_stalled_count) == (15_000, 5_000, 3)


def test_defaults() -> None:
    found = settings(discovered=("b", "a"))
    assert [queue.name for queue in found.queues] == ["b", "a"]
    assert found.name == f"{socket.gethostname()}-{os.getpid()}"
    assert (found.prefix, found.health_port, found.drain_timeout_seconds) == ("bull", None, 60)


def test_arguments_win_and_keep_what_the_environment_says_of_a_queue() -> None:
    environment = {"QUEUEWORKER_QUEUES": '[{"name":"a","concurrency":4},{"name":"b"}]', "QUEUEWORKER_PREFIX": "p"}
    found = settings(environment, queues=["a", "c"], discovered=("a", "b", "c"))
    assert [(queue.name, queue.concurrency) for queue in found.queues] == [("a", 4), ("c", 1)]
    found = settings(environment, concurrency=7, prefix="q")
    assert [(queue.name, queue.concurrency) for queue in found.queues] == [("a", 7), ("b", 7)]
    assert found.prefix == "q"


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({}, {}, "no queue to serve"),
        ({}, {"queues": ["a", "a"]}, "named twice: a, a"),
        ({}, {"queues": ["a:b"]}, "queue 'a:b': name: a queue name must not be empty and must not contain ':'"),
        ({"QUEUEWORKER_QUEUES": '[{"name":""}]'}, {}, "QUEUEWORKER_QUEUES: 0.name: a queue name must not be empty"),
        ({"QUEUEWORKER_NAME": "secret\n"}, {"queues": ["a"]}, "QUEUEWORKER_NAME: a worker's name is printable ASCII"),
        ({"QUEUEWORKER_NAME": "\udcff"}, {"queues": ["a"]}, "QUEUEWORKER_NAME: Input should be a valid string"),
        ({"QUEUEWORKER_QUEUES": "secret"}, {}, "QUEUEWORKER_QUEUES: value: Invalid JSON"),
        ({"QUEUEWORKER_QUEUES": '[{"name":"a","slots":1}]'}, {}, "QUEUEWORKER_QUEUES: 0.slots: Extra inputs"),
        ({"QUEUEWORKER_QUEUES": "[]"}, {}, "QUEUEWORKER_QUEUES"),
        (
            {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "secret"},
            {"queues": ["a"]},
            "DRAIN_TIMEOUT_SECONDS: Input",
        ),
        ({"QUEUEWORKER_HEALTH_PORT": "70000"}, {"queues": ["a"]}, "QUEUEWORKER_HEALTH_PORT: Input should be less"),
    ],
)
def test_errors_are_one_line_that_names_the_variable(
    environment: dict[str, str], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as wrong:
        settings(environment, **arguments)
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert "secret" not in str(wrong.value)
