"""`queueworker work` with what surrounds the engine: bursts, limits, fleets, child processes, hooks, schedulers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis.asyncio
import worker_around
from worker_around import TOLD
from worker_ledger import LEDGER, RELEASED
from worker_support import TESTS, WorkerProcess, eventually, worker_process

import queueworker_worker
from queueworker.queue import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker import processor


async def add(settings: ConnectionSettings, queue: str, *data: Any, name: str = "any", **options: Any) -> list[str]:
    async with Queue(queue, settings) as producer:
        return [(await producer.enqueue(name, one, **options)).id for one in data]


async def started_by(client: redis.asyncio.Redis) -> Counter[str]:
    """Return how many jobs each worker started."""
    return Counter(line.split()[2] for line in await client.lrange(LEDGER, 0, -1) if line.startswith("start"))


async def test_burst_works_until_nothing_can_be_taken_and_counts_what_is_delayed(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(redis_settings, "ledger", *[{"milliseconds": 20}] * 7)
    await add(redis_settings, "ledger", {}, {}, delay=60_000)
    await add(redis_settings, "ledger-two", {}, {}, {})
    async with Queue("ledger-two", redis_settings) as queue:
        await queue.pause()
    with worker_process(redis_settings, log_file, "ledger", "ledger-two", "--burst", "--concurrency", "3") as worker:
        assert await worker.ended() == 0
    assert await client.zcard("bull:ledger:completed") == 7
    assert "7 jobs ended, 0 given back, 2 delayed jobs left for later" in worker.log()
    assert "queue ledger-two: 3 jobs are left: the queue is paused" in worker.log()


async def test_burst_waits_for_a_rate_limit_and_takes_what_jobs_add(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(redis_settings, "ledger", *[{}] * 5)
    limited = json.dumps([{"name": "ledger", "limiter": {"max": 2, "duration": 400}}])
    with worker_process(redis_settings, log_file, "--burst", QUEUEWORKER_QUEUES=limited) as worker:
        assert await worker.ended() == 0
    assert await client.zcard("bull:ledger:completed") == 5


async def test_limit_ends_after_so_many_jobs(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(redis_settings, "ledger", *[{"milliseconds": 5}] * 6)
    await add(redis_settings, "ledger-two", *[{"milliseconds": 5}] * 6)
    arguments = ["ledger", "ledger-two", "--limit", "5", "--concurrency", "4"]
    with worker_process(redis_settings, log_file, *arguments) as worker:
        assert await worker.ended() == 0
    assert "5 jobs ended, 0 given back" in worker.log()
    done = [await client.zcard(f"bull:{queue}:completed") for queue in ("ledger", "ledger-two")]
    assert sum(done) == 5
    waiting = [await client.zcard(f"bull:{queue}:prioritized") for queue in ("ledger", "ledger-two")]
    assert sum(waiting) == 7


async def test_fleet_works_passes_sigterm_on_and_answers_for_all(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    environment = {"QUEUEWORKER_HEALTH_PORT": "0"}
    with worker_process(redis_settings, log_file, "ledger", "--processes", "2", name="mail", **environment) as fleet:
        await ready(fleet, "mail-1", "mail-2")
        url = await probes_of(fleet)
        await eventually(lambda: _is(probe(url + "/readyz"), (200, "ready")))
        await add(redis_settings, "ledger", *[{"milliseconds": None}] * 2)
        await eventually(lambda: _started(client, 2))
        assert await started_by(client) == {"mail-1": 1, "mail-2": 1}
        fleet.send(signal.SIGTERM)
        await eventually(lambda: fleet.log().count("drains: 1 jobs running") == 2, what=fleet.log())
        await client.set(RELEASED, 1)
        assert await fleet.ended() == 0
    assert await client.zcard("bull:ledger:completed") == 2
    assert fleet.log().count("1 jobs ended, 0 given back") == 2
    assert "its processes ended with 0, 0" in fleet.log()


async def test_fleet_is_alive_only_while_all_its_members_are(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    environment = {"QUEUEWORKER_HEALTH_PORT": "0", "QUEUEWORKER_HEALTH_STALE_SECONDS": "1.5"}
    environment["QUEUEWORKER_LOCK_DURATION_MS"] = "30000"
    with worker_process(redis_settings, log_file, "ledger", "--processes", "2", name="mail", **environment) as fleet:
        await ready(fleet, "mail-1", "mail-2")
        url = await probes_of(fleet)
        await eventually(lambda: _is(probe(url + "/healthz"), (200, "alive")))
        await add(redis_settings, "ledger", {"milliseconds": 5_000}, name="freeze")
        code, said = await eventually(lambda: _bad(probe(url + "/healthz"), "stands still"), what=fleet.log())
        assert code == 503
        assert "the event loop stands still since" in said
        assert said.startswith(("mail-1: ", "mail-2: "))
        await eventually(lambda: _is(probe(url + "/healthz"), (200, "alive")))
        fleet.send(signal.SIGTERM)
        assert await fleet.ended() == 0


async def test_member_of_a_fleet_that_dies_starts_again(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    with worker_process(redis_settings, log_file, "ledger", "--processes", "2", name="mail") as fleet:
        await ready(fleet, "mail-1", "mail-2")
        first, second = (member_of(fleet, name) for name in ("mail-1", "mail-2"))
        first.kill()
        await eventually(lambda: fleet.log().count("worker mail-1 is ready") == 2, what=fleet.log())
        assert "process mail-1 ended with SIGKILL: it starts again in 1 s" in fleet.log()
        assert member_of(fleet, "mail-2").pid == second.pid
        await add(redis_settings, "ledger", {})
        await eventually(lambda: client.zcard("bull:ledger:completed"))
        fleet.send(signal.SIGINT)
        assert await fleet.ended() == 0


async def test_members_of_a_fleet_end_when_it_is_killed(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    with worker_process(redis_settings, log_file, "ledger", "--processes", "2", name="mail") as fleet:
        await ready(fleet, "mail-1", "mail-2")
        members = [member_of(fleet, name) for name in ("mail-1", "mail-2")]
        await add(redis_settings, "ledger", {"milliseconds": 1_000})
        await eventually(lambda: _started(client, 1))
        fleet.send(signal.SIGKILL)
        await fleet.ended()
        await eventually(lambda: not any(one.is_running() for one in members), what=fleet.log())
    assert await client.zcard("bull:ledger:completed") == 1


async def test_fleet_divides_a_limit_and_ends_with_its_burst(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(redis_settings, "ledger", *[{}] * 8)
    arguments = ["ledger", "--processes", "2", "--limit", "5"]
    with worker_process(redis_settings, log_file, *arguments, name="mail") as fleet:
        assert await fleet.ended() == 0
    assert sorted((await started_by(client)).values()) == [2, 3]
    with worker_process(redis_settings, log_file, "ledger", "--processes", "2", "--burst") as fleet:
        assert await fleet.ended() == 0
    assert await client.zcard("bull:ledger:completed") == 8


async def test_fleet_that_is_told_wrong_ends_at_once_with_the_code_of_the_worst(
    redis_settings: ConnectionSettings, log_file: Path
) -> None:
    with worker_process(redis_settings, log_file, "nothing", "--processes", "2") as fleet:
        assert await fleet.ended() == 2
    assert "no processor for queue nothing" in fleet.log()
    assert "starts again" not in fleet.log()


async def test_child_processes_run_jobs_and_end_with_a_killed_worker(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    notes = log_file.with_name("notes")
    environment = {"QUEUEWORKER_PROCESSORS": "worker_crunch", "CRUNCH_NOTES": str(notes)}
    with worker_process(redis_settings, log_file, "crunch", "--concurrency", "3", **environment) as worker:
        (tells,) = await add(redis_settings, "crunch", None, name="async")
        (dies,) = await add(redis_settings, "crunch", "segfault", name="die", attempts=1)
        (late,) = await add(redis_settings, "crunch", False, name="sleep", attempts=1)
        await eventually(lambda: client.zcard("bull:crunch:failed"))
        await eventually(lambda: _is(client.zcard("bull:crunch:failed"), 2), what=worker.log())
        await eventually(lambda: client.zscore("bull:crunch:completed", tells))
        assert len(await client.lrange(f"bull:crunch:{tells}:logs", 0, -1)) == 3
        assert await client.hget(f"bull:crunch:{tells}", "progress") == '{"done":50}'
        assert "killed by SIGSEGV" in str(await client.hget(f"bull:crunch:{dies}", "failedReason"))
        assert "timed out after 2 s" in str(await client.hget(f"bull:crunch:{late}", "failedReason"))
        await add(redis_settings, "crunch", 60_000, name="long")
        await add(redis_settings, "crunch", None, name="hold")
        children = [await noted(notes, "runs in"), await noted(notes, "holds in")]
        worker.send(signal.SIGKILL)
        await worker.ended()
        await eventually(lambda: not any(map(psutil.pid_exists, children)), what=f"the end of {children}")
    assert "Traceback" not in worker.log()


async def test_drain_waits_for_children_and_gives_back_what_is_late_without_a_word_of_trouble(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    notes = log_file.with_name("notes")
    environment = {"QUEUEWORKER_PROCESSORS": "worker_crunch", "CRUNCH_NOTES": str(notes)}
    drain = {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "6"}
    with worker_process(redis_settings, log_file, "crunch", "--concurrency", "2", **environment, **drain) as worker:
        (short,) = await add(redis_settings, "crunch", 1_000, name="long")
        (long,) = await add(redis_settings, "crunch", 60_000, name="long")
        await eventually(lambda: notes.exists() and notes.read_text().count("runs in") == 2)
        children = psutil.Process(worker.process.pid).children()
        # A service manager may tell everybody at once.
        for process in (*children, worker.process):
            process.send_signal(signal.SIGTERM)
        assert await worker.ended() == 0
    assert await client.zscore("bull:crunch:completed", short)
    assert await client.zscore("bull:crunch:prioritized", long) is not None
    assert await client.hget(f"bull:crunch:{long}", "atm") is None
    await eventually(lambda: not any(one.is_running() for one in children))
    assert "1 jobs ended, 1 given back" in worker.log()
    assert "Traceback" not in worker.log()
    assert "KeyboardInterrupt" not in worker.log()


async def test_hooks_listeners_and_backoffs_are_found_and_called(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    (good,) = await add(redis_settings, "around", "fine")
    (bad,) = await add(redis_settings, "around", "fail", attempts=9, backoff={"type": "mine"})
    with worker_process(redis_settings, log_file, "around", QUEUEWORKER_PROCESSORS="worker_around") as worker:
        await eventually(lambda: client.zscore("bull:around:failed", bad), what=worker.log())
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    told = await client.lrange(TOLD, 0, -1)
    assert [line for line in told if good in line and "completed" not in line] == [
        f"before {good}",
        f"work {good}",
        f"after {good} 1",
    ]
    assert f"completed {good} 1" in told
    assert [line for line in told if bad in line] == [f"before {bad}", f"work {bad}", f"error {bad} wrong"] * 2


async def test_late_attempt_fails_with_its_reason(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    (late,) = await add(redis_settings, "slow", None)
    with worker_process(redis_settings, log_file, "slow", "--burst", QUEUEWORKER_PROCESSORS="worker_around") as worker:
        assert await worker.ended() == 0
    assert await client.hget(f"bull:slow:{late}", "failedReason") == "worker_around.slow timed out after 0.2 s"


async def test_schedulers_are_stored_when_the_worker_starts(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    for _ in range(2):
        with worker_process(
            redis_settings, log_file, "planned", "--burst", QUEUEWORKER_PROCESSORS="worker_around"
        ) as it:
            assert await it.ended() == 0
        assert "queue planned: scheduler nightly is stored: 0 3 * * * (Europe/Berlin)" in it.log()
        assert await client.zcard("bull:planned:repeat") == 2
    stored = await client.hgetall("bull:planned:repeat:nightly")
    assert (stored["name"], stored["pattern"], stored["tz"]) == ("nightly", "0 3 * * *", "Europe/Berlin")
    assert json.loads(stored["data"]) == {"full": True}
    assert json.loads(stored["opts"])["attempts"] == 2
    ended = await client.zrange("bull:planned:completed", 0, -1)
    assert [await client.hget(f"bull:planned:{one}", "returnvalue") for one in ended] == ['"once"']


async def test_what_cannot_be_stored_is_one_line_and_keeps_nobody_from_working(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await client.set("bull:planned:repeat", "of another type")
    (job,) = await add(redis_settings, "planned", None)
    with worker_process(redis_settings, log_file, "planned", QUEUEWORKER_PROCESSORS="worker_around") as worker:
        await eventually(lambda: client.zscore("bull:planned:completed", job), what=worker.log())
        await worker.said("scheduler once is not stored")
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert len([line for line in worker.log().splitlines() if "not stored" in line]) in {1, 2}
    assert "Traceback" not in worker.log()


async def test_processors_are_listed_with_where_they_run_and_when() -> None:
    command = [sys.executable, "-m", "queueworker_worker", "processors", "-m", "worker_around", "-m", "worker_crunch"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    found = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=True
    )
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert ["around", "*", "worker_around.work", "async"] in lines
    assert ["crunch", "sum", "worker_crunch.add_up", "process"] in lines
    (planned,) = (line for line in lines if line[0] == "planned")
    assert planned[3:] == ["async", "once: every 3600000 ms; nightly: 0 3 * * * (Europe/Berlin)"]


async def test_program_serves_queues_in_its_own_loop(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in redis_settings.to_environment().items():
        monkeypatch.setenv(name, value)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    stop = asyncio.Event()
    serving = asyncio.create_task(queueworker_worker.serve(worker_around, queues=["around"], stop=stop))
    (job,) = await add(redis_settings, "around", "fine")
    await eventually(lambda: client.zscore("bull:around:completed", job))
    stop.set()
    assert await asyncio.wait_for(serving, 30) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert await asyncio.to_thread(lambda: "the program's own threads still work")


async def test_program_that_cancels_its_workers_has_the_jobs_back(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    @processor("mine")
    async def wait() -> None:
        await asyncio.sleep(60)

    (job,) = await add(redis_settings, "mine", None)
    serving = asyncio.create_task(queueworker_worker.serve(wait, connection=redis_settings, environment={}))
    await eventually(lambda: client.llen("bull:mine:active"))
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert await client.zscore("bull:mine:prioritized", job) is not None
    assert await client.llen("bull:mine:active") == 0


async def test_program_that_runs_a_burst_has_its_exit_code(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    program = (
        "from queueworker_worker import Job, processor, run\n"
        "@processor('mine')\nasync def work(job: Job) -> str: return 'done'\n"
        "raise SystemExit(run(work, burst=True))\n"
    )
    (job,) = await add(redis_settings, "mine", None)
    environment = {**os.environ, **redis_settings.to_environment(), "PYTHONWARNINGS": "error"}
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], env=environment, check=True, timeout=100)
    assert await client.hget(f"bull:mine:{job}", "returnvalue") == '"done"'


async def ready(worker: WorkerProcess, *names: str) -> None:
    for name in names:
        await worker.said(f"worker {name} is ready")


def member_of(fleet: WorkerProcess, name: str) -> psutil.Process:
    found = [one for one in psutil.Process(fleet.process.pid).children() if one.environ()["QUEUEWORKER_NAME"] == name]
    assert len(found) == 1, (name, found, fleet.log())
    return found[0]


async def noted(notes: Path, what: str) -> int:
    def found() -> list[str]:
        return [line for line in notes.read_text().splitlines() if line.startswith(what)] if notes.exists() else []

    return int((await eventually(found, what=f"{what!r} in the notes"))[0].split()[-1])


async def probes_of(worker: WorkerProcess) -> str:
    await worker.said("probes on ")
    return "http://" + worker.log().partition("probes on ")[2].split()[0]


async def probe(url: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode().strip()

    return await asyncio.to_thread(get)


async def _is(answer: Any, wanted: Any) -> bool:
    return bool(await answer == wanted)


async def _bad(answer: Any, words: str) -> Any:
    """Return an answer with these words that is not good; a busy machine may bring about others."""
    code, said = await answer
    return (code, said) if code != 200 and words in said else None


async def _started(client: redis.asyncio.Redis, count: int) -> bool:
    return sum((await started_by(client)).values()) == count
