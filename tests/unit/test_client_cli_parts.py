from __future__ import annotations

import errno
import inspect
import re
from importlib.metadata import EntryPoint

import pytest
import typer

from queueworker.cli import app, output, records, schedulers
from queueworker.cli.session import with_address
from queueworker.errors import InvalidJobError, QueueWorkerError, RedisReadError, RedisWriteError, SettingsError
from queueworker.records import FIELDS, Children, Logs, decode
from queueworker.schedules import ScheduleInfo


def boom(_: typer.Typer) -> None:
    raise RuntimeError("no\nluck")


def entry(value: str) -> EntryPoint:
    return EntryPoint(name=value, value=value, group=app.GROUP)


def test_a_broken_plugin_costs_one_line_and_its_own_commands(capsys: pytest.CaptureFixture[str]) -> None:
    built = app.build([entry("no.such:register"), entry(f"{__name__}:boom"), entry("queueworker.cli.queues:register")])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("warning: the commands of ") for line in lines)
    assert [command.name for command in built.registered_commands][:2] == ["stats", "jobs"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RedisReadError("x"), 4),
        (RedisWriteError("x"), 4),
        (SettingsError("x"), 2),
        (InvalidJobError("x"), 2),
        (QueueWorkerError("x"), 1),
    ],
)
def test_exit_codes(error: QueueWorkerError, code: int) -> None:
    assert app.exit_code(error) == code


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/usr/bin/queueworker", "queueworker"),
        ("/usr/bin/kubectl-queueworker", "kubectl queueworker"),
        ("__main__.py", "queueworker"),
    ],
)
def test_the_program_is_named_as_it_was_called(path: str, name: str) -> None:
    assert app.program_name(path) == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, None), (0, "0ms"), (0.85, "850ms"), (12, "12s"), (600, "10m"), (7200, "2h"), (172_800, "2d")],
)
def test_durations(seconds: float | None, text: str | None) -> None:
    assert output.duration(seconds) == text


def test_a_table_aligns_numbers_right_and_texts_left(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("NAME", "N"), [("a", 5), ("long-name", 1234), ("none", None)])
    assert capsys.readouterr().out == "NAME          N\na             5\nlong-name  1234\nnone          -\n"


def test_a_message_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.message("one\n  two")
    assert capsys.readouterr() == ("", "one two\n")


def test_an_address_option_replaces_the_topology_and_keeps_the_rest() -> None:
    environment = {"QUEUEWORKER_REDIS_SENTINEL_MASTER": "m", "QUEUEWORKER_REDIS_PASSWORD": "p", "REDIS_HOST": "other"}
    assert with_address(environment, "a", 7) == {
        "QUEUEWORKER_REDIS_PASSWORD": "p",
        "QUEUEWORKER_REDIS_HOST": "a",
        "QUEUEWORKER_REDIS_PORT": "7",
        "REDIS_HOST": "other",
    }
    assert with_address({}, None, 7) == {"REDIS_PORT": "7"}


def test_an_empty_host_is_no_localhost() -> None:
    with pytest.raises(SettingsError, match="--redis-host is empty"):
        with_address({"REDIS_HOST": "other"}, "", None)


def test_the_list_of_commands_shows_whole_sentences() -> None:
    built = app.build([entry("queueworker.cli.queues:register")])
    for command in built.registered_commands:
        first = (inspect.getdoc(command.callback) or "").split("\n")[0]
        assert 10 < len(first) <= 64, f"{command.name}: {first!r} is cut off on a terminal of 80 columns"


def test_what_is_not_known_of_a_job_is_not_shown_as_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    stored = {"name": "n", "atm": "many", "ats": "x", "priority": "high", "opts": "{}"}
    job = decode("a", [stored.get(name) for name in FIELDS], queue="q", state="waiting")
    assert records.row(job, now_ms=0)[4] == "?/1"
    records.print_whole(job, Logs((), 0), Children((), {}, {}, ()), now_ms=0)
    shown = capsys.readouterr().out
    assert "? of 1 made, ? begun" in shown
    assert re.search(r"^priority: +\?$", shown, re.MULTILINE), shown
    assert "None" not in shown


def test_repeatable_jobs_of_old_show_no_interval() -> None:
    assert schedulers._row(ScheduleInfo(id="a", next_run_ms=5000), now_ms=0)[2] is None
    assert schedulers._row(ScheduleInfo(id="a", next_run_ms=5000, every=60_000), now_ms=0)[2] == "every 60s"


def test_a_table_knows_how_wide_characters_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("NAME", "N"), [("\u65e5\u672c", 1), ("e\u0301", 22), ("abcde", 3)])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME    N", "\u65e5\u672c    1", "e\u0301      22", "abcde   3"]


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("queueworker.cli.queues.stats", full)
    monkeypatch.setattr(app, "entry_points", lambda group: [entry("queueworker.cli.queues:register")])
    assert app.run(["queueworker", "stats"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: [Errno 28] No space left on device"
