"""What the environment and the command line tell a worker."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from queueworker.errors import SettingsError
from queueworker_worker.engine.options import EngineOptions, Keep, Limiter
from queueworker_worker.settings import ProcessSettings, WorkerSettings


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


def test_options_of_bullmq_by_their_names_for_one_queue_and_for_all() -> None:
    queue = {
        "name": "a",
        "lockDuration": 30_000,
        "lockRenewTime": 10_000,
        "stalledInterval": 20_000,
        "maxStalledCount": 1,
        "drainDelay": 2,
        "removeOnComplete": True,
        "removeOnFail": {"count": 7, "age": 60},
        "metrics": {"maxDataPoints": 60},
        "skipStalledCheck": True,
        "skipLockRenewal": True,
        "limiter": {"max": 3, "duration": 500},
    }
    found = settings(
        {
            "QUEUEWORKER_QUEUES": json.dumps([queue, {"name": "b", "maxStalledCount": 9}]),
            "QUEUEWORKER_LOCK_DURATION_MS": "5000",
            "QUEUEWORKER_MAX_STALLED_COUNT": "2",
            "QUEUEWORKER_REMOVE_ON_COMPLETE": "100",
            "QUEUEWORKER_REMOVE_ON_FAIL": "false",
            "QUEUEWORKER_MAX_DATA_POINTS": "0",
            "QUEUEWORKER_SKIP_STALLED_CHECK": "true",
        }
    )
    first, second = (found.engine_options(one) for one in found.queues)
    assert (first.lock_duration_ms, first.lock_renew_time_ms, first.stalled_interval_ms) == (30_000, 10_000, 20_000)
    assert (first.max_stalled_count, first.drain_delay_seconds, first.max_data_points) == (1, 2, 60)
    assert (first.remove_on_complete.count, first.remove_on_fail) == (0, Keep(count=7, age=60))
    assert (first.skip_stalled_check, first.skip_lock_renewal) == (True, True)
    assert first.limiter == Limiter(max=3, duration_ms=500)
    assert (second.lock_duration_ms, second.lock_renew_time_ms, second.max_stalled_count) == (5_000, None, 9)
    assert (second.remove_on_complete.count, second.remove_on_fail.count) == (100, -1)
    assert second.remove_on_fail.age > 1_000_000_000
    assert (second.max_data_points, second.skip_stalled_check, second.skip_lock_renewal) == (0, True, False)


def test_what_is_not_said_is_the_engines_default() -> None:
    found = settings(discovered=("a",))
    assert found.engine_options(found.queues[0]) == EngineOptions(queue="a", name=found.name)


def test_the_wait_for_jobs_stays_below_the_age_that_liveness_allows() -> None:
    found = settings({"QUEUEWORKER_HEALTH_STALE_SECONDS": "3", "QUEUEWORKER_DRAIN_DELAY_SECONDS": "10"}, queues=["a"])
    assert found.engine_options(found.queues[0]).drain_delay_seconds == 1.5


def test_the_supervisor_reads_the_process_alone() -> None:
    environment = {"QUEUEWORKER_NAME": "mail", "QUEUEWORKER_HEALTH_PORT": "8080", "QUEUEWORKER_PREFIX": "p"}
    found = ProcessSettings.of_process(environment)
    assert (found.name, found.health_port, found.drain_timeout_seconds) == ("mail", 8080, 60)
    with pytest.raises(SettingsError, match="QUEUEWORKER_HEALTH_PORT: Input should be less"):
        ProcessSettings.of_process({"QUEUEWORKER_HEALTH_PORT": "70000"})


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
        (
            {"QUEUEWORKER_LOCK_MILLISECONDS": "1"},
            {"queues": ["a"]},
            "QUEUEWORKER_LOCK_MILLISECONDS is called QUEUEWORKER_LOCK_DURATION_MS now: rename the variable",
        ),
        ({"QUEUEWORKER_REMOVE_ON_FAIL": "secret"}, {"queues": ["a"]}, "QUEUEWORKER_REMOVE_ON_FAIL: Invalid JSON"),
        ({"QUEUEWORKER_LOCK_DURATION_MS": "5"}, {"queues": ["a"]}, "QUEUEWORKER_LOCK_DURATION_MS: Input should be"),
        (
            {"QUEUEWORKER_QUEUES": '[{"name":"a","limiter":{"max":1}}]'},
            {},
            "QUEUEWORKER_QUEUES: 0.limiter.durationMilliseconds: Field required",
        ),
        ({}, {"queues": ["a"], "concurrency": 0}, "queue 'a': concurrency: Input should be greater"),
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
