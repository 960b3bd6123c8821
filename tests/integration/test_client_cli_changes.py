"""The commands that change queues, as processes: who is asked, what is printed, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import pytest
import redis
from cli_process import PROGRAM, OnTerminal, clean_environment, run_cli, run_here
from valkeyserver import free_port, wait_until

from queueworker import ConnectionSettings


@pytest.fixture
def admin(redis_settings: ConnectionSettings) -> redis.Redis:
    client = redis.Redis(host=redis_settings.host or "", port=redis_settings.port, decode_responses=True)
    return client


def add_failed(admin: redis.Redis, count: int, *, queue: str = "q", first: int = 0, reason: str = "boom") -> None:
    seconds, _ = admin.time()
    pipe = admin.pipeline(transaction=False)
    pipe.hset(f"bull:{queue}:meta", "opts.maxLenEvents", 10_000)
    for i in range(first, first + count):
        at_ms = seconds * 1000 - 60_000 + i
        job = {"name": "n", "data": "{}", "opts": '{"attempts":3}', "timestamp": at_ms, "priority": 5, "atm": 3}
        pipe.hset(f"bull:{queue}:j{i}", mapping={**job, "finishedOn": at_ms, "failedReason": reason})
        pipe.zadd(f"bull:{queue}:failed", {f"j{i}": at_ms})
    pipe.execute()


def test_retry_without_a_terminal_needs_yes(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 3)
    refused = run_cli(redis_settings, "retry", "q")
    assert refused.returncode == 6
    assert "Retry 3 failed jobs of queue q?" in refused.stderr
    assert "add --yes" in refused.stderr
    assert refused.stdout == ""
    assert admin.zcard("bull:q:failed") == 3
    done = run_cli(redis_settings, "retry", "q", "--yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "retried 3 of 3\n", "")
    assert admin.zcard("bull:q:prioritized") == 3


@pytest.mark.parametrize(("answer", "code", "left"), [("y", 0, 0), ("", 6, 1200)])
def test_retry_on_a_terminal_asks(
    redis_settings: ConnectionSettings, admin: redis.Redis, answer: str, code: int, left: int
) -> None:
    add_failed(admin, 1200)
    terminal = OnTerminal(redis_settings, "retry", "q")
    terminal.wait_for("Retry 1 200 failed jobs of queue q? [y/N] ")
    terminal.type(answer)
    assert terminal.end() == (code, "retried 1 200 of 1 200\n" if code == 0 else "")
    assert admin.zcard("bull:q:failed") == left
    assert ("retried 500 of 1 200" in terminal.seen) == (code == 0), "progress is shown on a terminal"


def test_an_interrupt_at_the_question_changes_nothing(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 2)
    terminal = OnTerminal(redis_settings, "retry", "q")
    terminal.wait_for("[y/N]")
    terminal.interrupt()
    assert terminal.end()[0] == 130
    assert "Traceback" not in terminal.seen
    assert admin.zcard("bull:q:failed") == 2


def test_an_interrupt_finishes_the_batch_and_says_what_is_left(
    redis_settings: ConnectionSettings, admin: redis.Redis
) -> None:
    """The server is held in the first batch until the interrupt is heeded."""
    add_failed(admin, 2000)
    admin.client_pause(60_000, all=False)
    place = {"REDIS_HOST": redis_settings.host or "", "REDIS_PORT": str(redis_settings.port)}
    with subprocess.Popen(
        [PROGRAM, "retry", "q", "--yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean_environment(), **place},
    ) as process:
        assert process.stderr is not None
        try:
            wait_until(lambda: any("b" in one["flags"] for one in admin.client_list()))
            process.send_signal(signal.SIGINT)
            assert "finishing the batch" in process.stderr.readline()
            assert admin.zcard("bull:q:failed") == 2000
        finally:
            admin.client_unpause()
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "retried 500 of 2 000 (1 500 left, interrupted)\n"), errors
    assert admin.zcard("bull:q:failed") == 1500
    assert admin.zcard("bull:q:prioritized") == 500


def test_a_dry_run_prints_the_exact_count_and_changes_nothing(
    redis_settings: ConnectionSettings, admin: redis.Redis
) -> None:
    add_failed(admin, 1100, reason="timeout")
    add_failed(admin, 300, first=2000, reason="no such user")
    before = sorted(admin.keys("*"))
    said = {
        ("retry", "q", "--reason", "timeout"): "would retry 1 100 jobs of queue q\n",
        ("clear", "q", "--failed", "--name", "other"): "would remove 0 jobs of queue q\n",
        ("clear", "q", "--all"): "would remove 1 400 jobs of queue q\n",
        ("drain", "q", "--delayed"): "would remove 0 jobs of queue q\n",
        ("promote", "q"): "would promote 0 jobs of queue q\n",
        ("obliterate", "q"): "would remove 1 400 jobs of queue q\n",
        ("pause", "q"): "would pause queue q\n",
    }
    for arguments, line in said.items():
        result = run_here(redis_settings, *arguments, "--dry-run")
        assert (result.returncode, result.stdout, result.stderr) == (0, line, ""), arguments
    assert sorted(admin.keys("*")) == before


def test_the_json_has_exactly_the_fields_that_its_help_names(
    redis_settings: ConnectionSettings, admin: redis.Redis
) -> None:
    add_failed(admin, 2)
    result = run_here(redis_settings, "retry", "q", "--yes", "-o", "json")
    expected = {"action": "retry", "queue": "q", "prefix": "bull", "dry_run": False, "matched": 2, "done": 2}
    assert json.loads(result.stdout) == {**expected, "moved": 0, "left": 0, "interrupted": False}
    described = " ".join(run_here(None, "retry", "--help").stdout.split()).partition("JSON: ")[2]
    for name in json.loads(result.stdout):
        assert re.search(rf"\b{name}\b", described), name


@pytest.mark.parametrize("arguments", [("clear", "q", "--all"), ("obliterate", "q")])
def test_severe_commands_need_the_name_of_the_queue(
    redis_settings: ConnectionSettings, admin: redis.Redis, arguments: tuple[str, ...]
) -> None:
    add_failed(admin, 2)
    refused = run_here(redis_settings, *arguments)
    assert refused.returncode == 6
    assert "add --confirm=q" in refused.stderr
    wrong = run_here(redis_settings, *arguments, "--confirm", "p")
    assert wrong.returncode == 6
    assert "--confirm=p is not the queue's name q" in wrong.stderr
    assert admin.zcard("bull:q:failed") == 2
    terminal = OnTerminal(redis_settings, *arguments)
    terminal.wait_for("Type the queue's name (q) to go on: ")
    terminal.type("y")
    assert terminal.end()[0] == 6
    assert admin.zcard("bull:q:failed") == 2
    terminal = OnTerminal(redis_settings, *arguments)
    terminal.wait_for("to go on: ")
    terminal.type("q")
    assert terminal.end() == (0, "removed 2 of 2\n")
    assert not admin.exists("bull:q:failed")


def test_yes_is_not_enough_for_clear_all(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 1)
    assert run_here(redis_settings, "clear", "q", "--all", "--yes").returncode == 6
    assert run_here(redis_settings, "clear", "q", "--all", "--confirm=q").returncode == 0


def test_clear_takes_out_what_was_chosen(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 3)
    assert run_here(redis_settings, "add", "q", "n", "--job-id", "new").returncode == 0
    assert run_here(redis_settings, "clear", "q", "--failed", "--older-than", "1h", "-y").stdout == "removed 0 of 0\n"
    done = run_here(redis_settings, "clear", "q", "--failed", "--prioritized", "--yes", "--older-than", "30s")
    assert done.stdout == "removed 3 of 3\n"
    assert admin.zrange("bull:q:prioritized", 0, -1) == ["new"]
    assert run_here(redis_settings, "clear", "q", "--id", "new", "--yes").stdout == "removed 1 of 1\n"
    assert run_here(redis_settings, "clear", "q", "--id", "new", "--yes").returncode == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("clear", "q"),
        ("clear", "q", "--failed", "--all"),
        ("retry", "q", "--failed", "--completed"),
        ("retry", "q", "--id", "j0", "--reason", "x"),
        ("retry", "q", "--older-than", "soon"),
        ("jobs", "q", "--state", "nowhere"),
        ("add", "q", "n", "{"),
        ("add", "q", "n", "--priority", "0"),
        ("add", "q:r", "n"),
        ("add", "q", "n", "--option", "nonsense=1"),
    ],
)
def test_what_cannot_be_meant_is_code_2(
    redis_settings: ConnectionSettings, admin: redis.Redis, arguments: tuple[str, ...]
) -> None:
    add_failed(admin, 1)
    result = run_here(redis_settings, *arguments)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert "Traceback" not in result.stderr
    assert admin.zcard("bull:q:failed") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("retry", "nobody", "--yes"),
        ("clear", "nobody", "--failed", "--dry-run"),
        ("drain", "nobody", "--yes"),
        ("promote", "nobody", "--yes"),
        ("obliterate", "nobody", "--confirm=nobody"),
        ("pause", "nobody"),
        ("jobs", "nobody"),
        ("failed", "nobody"),
        ("schedulers", "nobody"),
        ("jobs", "q", "--id", "none"),
        ("retry", "q", "--id", "none"),
        ("promote", "q", "--id", "none"),
        ("schedulers", "q", "--remove", "none"),
    ],
)
def test_what_is_not_there_is_code_3(
    redis_settings: ConnectionSettings, admin: redis.Redis, arguments: tuple[str, ...]
) -> None:
    add_failed(admin, 1)
    before = sorted(admin.keys("*"))
    result = run_here(redis_settings, *arguments)
    assert result.returncode == 3, result.stderr
    assert re.search("never used|has no job none|has no scheduler none", result.stderr)
    assert sorted(admin.keys("*")) == before, "nothing is created"


def test_a_job_in_another_state_is_code_1_and_named(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 1)
    for arguments in (("promote", "q", "--id", "j0"), ("promote", "q", "--id", "j0", "--dry-run")):
        result = run_here(redis_settings, *arguments)
        assert result.returncode == 1
        assert "job j0 is failed" in result.stderr
    assert run_here(redis_settings, "retry", "q", "--id", "j0").stdout == "retried 1 of 1\n"


def test_jobs_that_moved_meanwhile_are_code_7(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 20)
    for i in range(5):
        admin.set(f"bull:q:j{i}:lock", "token")
    result = run_here(redis_settings, "clear", "q", "--failed", "--yes")
    assert (result.returncode, result.stdout) == (7, "removed 15 of 20 (5 moved meanwhile)\n")


def test_redis_away_is_code_4(redis_settings: ConnectionSettings) -> None:
    nowhere = ConnectionSettings(host="127.0.0.1", port=free_port())
    for arguments in (("retry", "q", "--yes"), ("jobs", "q"), ("pause", "q"), ("add", "q", "n"), ("schedulers", "q")):
        result = run_here(nowhere, *arguments)
        assert (result.returncode, result.stdout) == (4, ""), arguments
        assert result.stderr.startswith("error: Redis 127.0.0.1:")


def test_pause_and_resume(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 1)
    assert run_here(redis_settings, "pause", "q").stdout == "paused queue q\n"
    assert admin.hget("bull:q:meta", "paused") == "1"
    assert run_here(redis_settings, "pause", "q").stdout == "queue q is paused already\n"
    both = run_here(redis_settings, "resume", "q", "nobody", "-o", "json")
    assert both.returncode == 3
    assert json.loads(both.stdout) == [
        {"action": "resume", "queue": "q", "prefix": "bull", "dry_run": False, "paused": False, "changed": True}
    ]
    assert "queue nobody" in both.stderr


def test_drain_and_promote(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    for arguments in (("--lifo",), ("--priority", "high"), ("--delay", "1h", "--job-id", "later")):
        assert run_here(redis_settings, "add", "q", "n", *arguments).returncode == 0
    assert run_here(redis_settings, "drain", "q", "--yes").stdout == "removed 2 of 2\n"
    assert run_here(redis_settings, "promote", "q", "--yes").stdout == "promoted 1 of 1\n"
    assert admin.zrange("bull:q:prioritized", 0, -1) == ["later"]


def test_obliterate_refuses_a_queue_at_work(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 1)
    admin.lpush("bull:q:active", "x")
    result = run_here(redis_settings, "obliterate", "q", "--confirm=q")
    assert result.returncode == 1
    assert "1 active jobs" in result.stderr
    assert run_here(redis_settings, "obliterate", "q", "--confirm=q", "--force").returncode == 0
    assert admin.keys("*") == []


def test_escapes_in_what_others_wrote_do_not_reach_the_terminal(
    redis_settings: ConnectionSettings, admin: redis.Redis
) -> None:
    evil = "\x1b]0;owned\x07\x1b[31mred\x1b[0m\rback\u202eturned \x9b2J"
    add_failed(admin, 1, reason=evil)
    admin.hset("bull:q:j0", mapping={"name": evil, "data": json.dumps({"x": evil}), "stacktrace": json.dumps([evil])})
    admin.rpush("bull:q:j0:logs", evil)
    for arguments in (("jobs", "q"), ("failed", "q"), ("failed", "q", "--list"), ("jobs", "q", "--id", "j0")):
        result = run_here(redis_settings, *arguments)
        assert result.returncode == 0, result.stderr
        assert "red" in result.stdout
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", result.stdout + result.stderr), arguments
    found = json.loads(run_here(redis_settings, "jobs", "q", "--id", "j0", "-o", "json").stdout)
    assert found["failed_reason"] == evil, "JSON says it as it is"


def test_the_password_is_never_printed(redis_settings: ConnectionSettings) -> None:
    for arguments in (("retry", "q", "--yes"), ("jobs", "q"), ("doctor",)):
        result = run_here(redis_settings, *arguments, REDIS_PASSWORD="top-secret-word", REDIS_USERNAME="nobody")
        assert result.returncode in {1, 4}
        assert "top-secret-word" not in result.stdout + result.stderr


def test_a_closed_pipe_is_no_traceback(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    add_failed(admin, 1000)
    place = {"REDIS_HOST": redis_settings.host or "", "REDIS_PORT": str(redis_settings.port)}
    reading, writing = os.pipe()
    os.close(reading)
    command = [PROGRAM, "jobs", "q", "--limit", "1000", "-o", "json"]
    result = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, env={**clean_environment(), **place}, check=False
    )
    os.close(writing)
    assert "Traceback" not in result.stderr
