"""Probes, log lines and the patience with a Redis that refuses."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker.errors import SettingsError
from queueworker_worker.engine.link import (
    Backoff,
    DeniedError,
    LinkLostError,
    MemoryFullError,
    NoScriptError,
    RefusedError,
    ReplyError,
    error_of,
)
from queueworker_worker.engine.trouble import Contact
from queueworker_worker.errors import AccessRefusedError
from queueworker_worker.health import Health, HealthServer
from queueworker_worker.logs import LineFormatter


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Served:
    queue: str = "mail"
    ready: bool = True
    last_look: float | None = None


def test_liveness_is_the_loops_own_heartbeat() -> None:
    clock = Clock()
    health, worker = Health(stale_seconds=60, clock=clock), Served(ready=False)
    health.workers = [worker]
    assert health.alive() == (200, "alive")
    clock.now += 61
    assert health.alive() == (503, "the event loop stands still since 61 s")
    health.beat()
    worker.last_look = clock.now - 59
    assert health.alive()[0] == 200
    worker.last_look = clock.now - 61
    assert health.alive() == (503, "queue mail: no look for jobs since 61 s")
    worker.last_look = None
    assert health.alive()[0] == 200
    health.end("mail")
    assert health.alive() == (503, "ended: mail")


def test_readiness_names_the_queues_that_are_not() -> None:
    health = Health(stale_seconds=60)
    assert health.ready() == (503, "not ready: starting")
    health.workers = [Served("a"), Served("b", ready=False)]
    assert health.ready() == (503, "not ready: b")
    health.workers = [Served("a")]
    assert health.ready() == (200, "ready")


def test_probes_over_http() -> None:
    health = Health(stale_seconds=60)
    with HealthServer(health, "127.0.0.1", 0) as server:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=30) as answer:
            assert answer.read() == b"alive\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/readyz", timeout=30)
        with refused.value as answered:
            assert (answered.code, answered.read()) == (503, b"not ready: starting\n")
        with pytest.raises(SettingsError, match="QUEUEWORKER_HEALTH_HOST/PORT: cannot listen"):
            HealthServer(health, "127.0.0.1", server.port)


@given(st.text())
def test_a_log_line_is_one_line_without_control_characters(text: str) -> None:
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "job %s", (text,), None)
    line = LineFormatter().format(record)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    line.encode()


def test_log_lines_carry_time_and_level() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "a\x1b[31m\nb", (), None)
    record.created, record.msecs = 0.25, 250.0
    assert LineFormatter().format(record) == "1970-01-01T00:00:00.250Z INFO a\\x1b[31m\\nb"


def test_refusals_are_borne_for_a_while_and_outages_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    contact = Contact("mail", patience=60, clock=clock)
    for _ in range(100):
        contact.failed(LinkLostError("gone"))
        clock.now += 10
    contact.failed(RefusedError("WRONGPASS"))
    clock.now += 59
    contact.failed(RefusedError("WRONGPASS"))
    contact.ok()
    assert contact.connected
    clock.now += 10
    contact.failed(RefusedError("WRONGPASS"))
    clock.now += 60
    with pytest.raises(AccessRefusedError, match="queue mail: refused for 60 s: WRONGPASS"):
        contact.failed(RefusedError("WRONGPASS"))
    assert 30 < len(caplog.records) < 45
    assert not contact.connected


def test_kinds_of_trouble_that_take_turns_are_each_said_once_in_thirty_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    contact = Contact("mail", patience=1_000, clock=clock)
    for _ in range(290):
        contact.failed(LinkLostError("gone"))
        contact.failed(RefusedError("READONLY"))
        clock.now += 0.1
    assert len(caplog.records) == 2
    clock.now += 2
    contact.failed(RefusedError("READONLY"))
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("NOSCRIPT No matching script.", NoScriptError),
        ("NOPERM User x has no permissions to run the 'get' command", DeniedError),
        ("WRONGPASS invalid username-password pair", RefusedError),
        ("READONLY You can't write against a read only replica.", RefusedError),
        ("ERR Error running script: @user_script:5: -READONLY You can't write", RefusedError),
        ("ERR ACL failure in script: no key permission", DeniedError),
        ("UNBLOCKED force unblock from blocking operation", LinkLostError),
        ("LOADING Redis is loading the dataset in memory", LinkLostError),
        ("WRONGTYPE Operation against a key", ReplyError),
    ],
)
def test_errors_of_the_server_are_sorted_by_what_to_do(message: str, kind: type[Exception]) -> None:
    error = error_of(message, address="redis:6379/0")
    assert type(error) is kind
    assert str(error) == f"Redis redis:6379/0: {message}"


def test_a_server_that_repeats_the_words_of_a_command_is_cut_short() -> None:
    error = error_of("ERR unknown command 'AUTH', with args beginning with: 'secret' ", address="redis:6379/0")
    assert str(error) == "Redis redis:6379/0: ERR unknown command 'AUTH'"


def test_probes_listen_without_asking_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(name: str = "") -> str:
        pytest.fail(f"asked for the name of {name}")

    monkeypatch.setattr("socket.getfqdn", no_answer)
    with HealthServer(Health(stale_seconds=1), "127.0.0.1", 0) as server:
        assert server.port


def test_pauses_double_up_to_their_cap_and_are_spread() -> None:
    backoff = Backoff(first=0.1, cap=0.5)
    pauses = [backoff.pause() for _ in range(6)]
    for pause, longest in zip(pauses, [0.1, 0.2, 0.4, 0.5, 0.5, 0.5], strict=True):
        assert longest / 2 <= pause <= longest, json.dumps(pauses)
    backoff.reset()
    assert backoff.pause() <= 0.1


def test_full_memory_is_named_with_what_to_do() -> None:
    error = error_of("OOM command not allowed when used memory > 'maxmemory'.", address="redis:6379/0")
    assert type(error) is MemoryFullError
    assert str(error).startswith("Redis redis:6379/0: RedisMemoryFull: its memory is full")
