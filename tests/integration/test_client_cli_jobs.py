"""The commands that show jobs, put them on a queue and keep schedulers."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
from cli_process import PROGRAM, OnTerminal, clean_environment, run_cli, run_here

from queueworker import ConnectionSettings, Queue


@pytest.fixture
def admin(redis_settings: ConnectionSettings) -> redis.Redis:
    return redis.Redis(host=redis_settings.host or "", port=redis_settings.port, decode_responses=True)


def fail(admin: redis.Redis, reasons: list[str]) -> None:
    seconds, _ = admin.time()
    for i, reason in enumerate(reasons):
        at_ms = (seconds - 100 + i) * 1000
        job = {"name": f"n{i % 2}", "data": '{"i":1}', "opts": '{"attempts":3}', "timestamp": at_ms, "atm": 3}
        admin.hset(f"bull:q:j{i}", mapping={**job, "finishedOn": at_ms, "failedReason": reason})
        admin.zadd("bull:q:failed", {f"j{i}": at_ms})
    admin.hset("bull:q:meta", "opts.maxLenEvents", 10_000)


def described(command: str) -> str:
    return " ".join(run_here(None, command, "--help").stdout.split()).partition("JSON: ")[2]


def assert_described(command: str, names: Any) -> None:
    text = described(command)
    for name in names:
        assert re.search(rf"\b{name}\b", text), f"{command} --help does not name {name}"


def test_jobs_by_state_and_page(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    fail(admin, ["boom"] * 5)
    for i in range(3):
        run_here(redis_settings, "add", "q", "mail", "--job-id", f"w{i}", "--priority", "high")
    run_here(redis_settings, "add", "q", "mail", "--job-id", "later", "--delay", "3h")
    table = run_here(redis_settings, "jobs", "q")
    rows = [line.split() for line in table.stdout.splitlines()]
    assert rows[0][:4] == ["ID", "NAME", "STATE", "PRIORITY"]
    assert [row[0] for row in rows[1:]] == ["w0", "w1", "w2", "later", "j0", "j1", "j2", "j3", "j4"]
    assert "due in 3h" in table.stdout
    assert "q: 3 of 3 prioritized, 1 of 1 delayed, 5 of 5 failed" in table.stderr
    page = json.loads(
        run_here(redis_settings, "jobs", "q", "--state", "failed", "--offset", "1", "--limit", "2", "-o", "json").stdout
    )
    assert (page["queue"], page["prefix"], page["counts"]) == ("q", "bull", {"failed": 5})
    assert [job["id"] for job in page["jobs"]] == ["j1", "j2"]
    newest = run_here(redis_settings, "jobs", "q", "--state", "failed", "--newest-first", "--limit", "1", "-o", "json")
    assert [job["id"] for job in json.loads(newest.stdout)["jobs"]] == ["j4"]
    assert_described("jobs", [*page, *page["jobs"][0]])


def test_one_job_whole(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    fail(admin, ["boom\nsecond line"])
    admin.hset("bull:q:j0", mapping={"stacktrace": json.dumps(["Traceback:\n  line 1"]), "pb": "pod-1", "priority": 5})
    admin.rpush("bull:q:j0:logs", "one", "two")
    text = run_here(redis_settings, "jobs", "q", "--id", "j0").stdout
    for piece in ("id:                 j0", "state:              failed", "worker:             pod-1", '  "i": 1'):
        assert piece in text
    assert "--- stack trace 1\nTraceback:\n  line 1\n" in text
    assert "--- log, 2 of 2 lines\none\ntwo\n" in text
    found = json.loads(run_here(redis_settings, "jobs", "q", "--id", "j0", "-o", "json").stdout)
    assert (found["id"], found["logs"], found["logs_total"], found["data"]) == ("j0", ["one", "two"], 2, {"i": 1})
    assert_described("jobs", found)


def test_failed_jobs_by_reason(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    fail(
        admin, [*(f"timeout after {i} ms" for i in range(6)), "no user 1f2e3d4c5b6a79880", "no user 00aa11bb22cc33dd4"]
    )
    text = run_here(redis_settings, "failed", "q")
    rows = text.stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["COUNT", "6", "2"]
    assert rows[1].endswith("j5       timeout after 5 ms"), "the newest is the example"
    assert "q: 8 failed, 2 reasons" in text.stderr
    found = json.loads(run_here(redis_settings, "failed", "q", "--reason", "timeout", "-o", "json").stdout)
    assert found["matched"] == 6
    (group,) = found["reasons"]
    assert (group["count"], group["names"], group["example_id"]) == (6, {"n1": 3, "n0": 3}, "j5")
    assert group["newest_ms"] - group["oldest_ms"] == 5000
    assert_described("failed", [*found, *group])
    listed = json.loads(run_here(redis_settings, "failed", "q", "--list", "--limit", "2", "-o", "json").stdout)
    assert [job["id"] for job in listed["jobs"]] == ["j7", "j6"]
    assert listed["matched"] == 8
    retried = run_here(redis_settings, "retry", "q", "--reason", "timeout", "--dry-run")
    assert retried.stdout == "would retry 6 jobs of queue q\n", "what failed shows is what retry takes"


def test_add_takes_data_from_everywhere(redis_settings: ConnectionSettings, admin: redis.Redis, tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text('{"from": "file"}')
    assert run_here(redis_settings, "add", "q", "n", '{"from":"argument"}', "--job-id", "a").returncode == 0
    assert run_here(redis_settings, "add", "q", "n", "--file", str(file), "--job-id", "f").returncode == 0
    assert run_cli(redis_settings, "add", "q", "n", "-", "--job-id", "s", stdin='{"from":"stdin"}').returncode == 0
    assert run_here(redis_settings, "add", "q", "n", "--job-id", "e").returncode == 0
    stored = {one: json.loads(admin.hget(f"bull:q:{one}", "data") or "") for one in "afse"}
    assert stored == {"a": {"from": "argument"}, "f": {"from": "file"}, "s": {"from": "stdin"}, "e": {}}
    missing = run_here(redis_settings, "add", "q", "n", "--file", str(tmp_path / "none"))
    assert (missing.returncode, missing.stdout) == (2, "")


def test_add_many_lines(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    lines = "".join(f'{{"i":{i}}}\n' for i in range(1200))
    done = json.loads(run_here(redis_settings, "add", "q", "n", "-", "--lines", "-o", "json", stdin=lines).stdout)
    assert len(done["jobs"]) == 1200
    assert all(job["added"] and job["outcome"] == "added" for job in done["jobs"])
    assert admin.zcard("bull:q:prioritized") == 1200
    assert_described("add", [*done, *done["jobs"][0]])
    bad = run_here(redis_settings, "add", "q", "n", "-", "--lines", stdin='{"i":1}\n{broken\n')
    assert bad.returncode == 2
    assert "line 2 is no JSON" in bad.stderr
    assert admin.zcard("bull:q:prioritized") == 1200, "all or none"


def test_add_passes_every_option(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    arguments = ("--priority", "low", "--delay", "1m", "--attempts", "7", "--backoff", "fixed:30s", "--job-id", "x:1")
    more = ("--deduplication-id", "d", "--deduplication-ttl", "5m", "--option", "removeOnComplete=true")
    done = run_here(redis_settings, "add", "q", "n", *arguments, *more, "--option", "keepLogs=3")
    assert done.stdout == "added job x-1 to queue q\n"
    options = json.loads(admin.hget("bull:q:x-1", "opts") or "")
    assert options["priority"] == 10
    assert options["delay"] == 60_000
    assert options["attempts"] == 7
    assert options["backoff"] == {"type": "fixed", "delay": 30_000}
    assert options["removeOnComplete"] is True
    assert options["kl"] == 3
    assert options["de"] == {"id": "d", "ttl": 300_000}
    again = run_here(redis_settings, "add", "q", "n", "--job-id", "x-1")
    assert again.returncode == 0
    assert again.stdout == "not added: job x-1 of queue q stands for it (duplicated)\n"
    none = run_here(redis_settings, "add", "q", "n", "--job-id", "y", "--lifo", "--backoff", "none")
    assert none.returncode == 0, none.stderr
    assert admin.lrange("bull:q:wait", 0, -1) == ["y"]
    dry = run_here(redis_settings, "add", "q", "n", "--job-id", "z", "--dry-run")
    assert dry.stdout == "would add job z to queue q\n"
    assert not admin.exists("bull:q:z")


def test_schedulers(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    async def schedule() -> None:
        async with Queue("q", redis_settings) as queue:
            await queue.schedule("nightly", cron="0 3 * * *", tz="Europe/Berlin", name="report")
            await queue.schedule("often", every=3_600_000, limit=5)

    asyncio.run(schedule())
    table = run_here(redis_settings, "schedulers", "q").stdout
    assert re.search(r"^nightly +report +0 3 \* \* \* Europe/Berlin +in \d+(ms|s|m|h)", table, re.MULTILINE)
    found = {one["id"]: one for one in json.loads(run_here(redis_settings, "schedulers", "q", "-o", "json").stdout)}
    assert found["nightly"]["state"] == "scheduled"
    assert (found["often"]["every"], found["often"]["limit"]) == (3_600_000, 5)
    assert_described("schedulers", found["nightly"])
    assert run_here(redis_settings, "schedulers", "q", "--remove", "nightly").returncode == 6
    dry = run_here(redis_settings, "schedulers", "q", "--remove", "nightly", "--dry-run")
    assert dry.stdout == "would remove scheduler nightly of queue q\n"
    terminal = OnTerminal(redis_settings, "schedulers", "q", "--remove", "nightly")
    terminal.wait_for("Remove scheduler nightly of queue q? [y/N]")
    terminal.type("y")
    assert terminal.end() == (0, "removed scheduler nightly of queue q\n")
    assert admin.zrange("bull:q:repeat", 0, -1) == ["often"]
    gone = run_here(redis_settings, "schedulers", "q", "--remove", "often", "--yes", "-o", "json")
    assert json.loads(gone.stdout) == {"queue": "q", "prefix": "bull", "id": "often", "dry_run": False, "removed": True}
    assert_described("schedulers", json.loads(gone.stdout))


def test_json_of_pause_is_described(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    fail(admin, ["x"])
    assert_described("pause", json.loads(run_here(redis_settings, "pause", "q", "-o", "json").stdout)[0])


def test_add_takes_lines_as_json_has_them(redis_settings: ConnectionSettings, admin: redis.Redis) -> None:
    """Some characters end a line for Python, but may stand within a text of JSON."""
    texts = ["a\u2028b", "c\u0085d"]
    lines = "\r\n".join(json.dumps({"t": text}, ensure_ascii=False) for text in texts)
    done = json.loads(run_here(redis_settings, "add", "q", "n", "-", "--lines", "-o", "json", stdin=lines).stdout)
    stored = [json.loads(admin.hget(f"bull:q:{job['id']}", "data") or "") for job in done["jobs"]]
    assert stored == [{"t": text} for text in texts]


def test_add_refuses_data_that_is_no_utf8(redis_settings: ConnectionSettings) -> None:
    place = {"REDIS_HOST": redis_settings.host or "", "REDIS_PORT": str(redis_settings.port)}
    result = subprocess.run(
        [PROGRAM, "add", "q", "n", "-"],
        input=b'"\xff"',
        capture_output=True,
        check=False,
        env=clean_environment() | place,
    )
    assert result.returncode == 2
    assert b"stdin is not UTF-8" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stats", "q", "a:b"), "queue name 'a:b'"),
        (("stats", ""), "queue name ''"),
        (("doctor", "a:b"), "queue name 'a:b'"),
        (("jobs", "q", "--redis-host", ""), "--redis-host is empty"),
        (("jobs", "q", "--redis-port", "99999"), "--redis-port"),
        (("clear", "q", "--failed", "--confirm", "q"), "--confirm is for --all"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(
    redis_settings: ConnectionSettings, arguments: tuple[str, ...], said: str
) -> None:
    result = run_here(redis_settings, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert said in result.stderr
