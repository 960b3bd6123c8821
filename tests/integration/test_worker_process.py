"""`queueworker work` as a process: signals, drains, deaths, probes and exit codes."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from collections import Counter
from pathlib import Path

import bullmq
import pytest
import redis.asyncio
from ledger_jobs import KEYS, add, count, entries
from stalls import Stalls
from worker_ledger import LEDGER, RELEASED
from worker_support import eventually, worker_process

from queueworker.settings import ConnectionSettings


@pytest.mark.parametrize("concurrency", [1, 2, 5])
async def test_sigterm_finishes_what_runs_and_leaves_the_rest(
    concurrency: int, redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    """The jobs are longer than the lock, and with an idle slot beside them they must still run once."""
    await add(client, *[7_500] * concurrency)
    lock = {"QUEUEWORKER_LOCK_DURATION_MS": "6000", "QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "30"}
    with worker_process(redis_settings, log_file, "ledger", "--concurrency", str(concurrency), **lock) as worker:
        await count(client, "start", concurrency)
        await add(client, 0, 0, 0)
        worker.send(signal.SIGTERM)
        other_log = log_file.with_name("other.log")
        with worker_process(redis_settings, other_log, "ledger", name="worker-b") as other:
            assert await worker.ended() == 0
            ended = await count(client, "end", concurrency + 3)
            other.send(signal.SIGTERM)
            assert await other.ended() == 0
    assert Counter(ended) == Counter(str(n) for n in range(1, concurrency + 4))
    assert len(await entries(client, "start")) == concurrency + 3
    lines = await client.lrange(LEDGER, 0, -1)
    assert lines.count("opened") == lines.count("closed") == 2
    assert f"drains: {concurrency} jobs running" in worker.log()
    assert f"ends: {concurrency} jobs ended, 0 given back" in worker.log()


@pytest.mark.timing
async def test_what_outlasts_the_drain_is_given_back_and_taken_at_once(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path, stalls: Stalls
) -> None:
    await add(client, None, priority=4, attempts=1)
    drain = {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "0.5"}
    with worker_process(redis_settings, log_file, "ledger", **drain) as worker:
        await count(client, "start", 1)
        with worker_process(redis_settings, log_file.with_name("b.log"), "ledger", name="worker-b") as other:
            await other.said("is ready")
            worker.send(signal.SIGTERM)
            assert await worker.ended() == 0
            left = time.monotonic()
            await count(client, "start", 2)
            assert time.monotonic() - left < 1 + stalls.since(left)
            fields = await client.hgetall(KEYS.job("1"))
            await client.set(RELEASED, 1)
            await count(client, "end", 1)
    assert (fields.get("atm"), fields.get("stc"), fields["priority"], fields["pb"]) == (None, None, "4", "worker-b")
    assert "gives back 1 jobs: not ended after 0.5 s" in worker.log()
    assert "0 jobs ended, 1 given back" in worker.log()


async def test_second_interrupt_gives_back_at_once(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, 120_000)
    drain = {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "120"}
    with worker_process(redis_settings, log_file, "ledger", **drain) as worker:
        await count(client, "start", 1)
        worker.send(signal.SIGINT)
        await worker.said("drains: 1 jobs running")
        worker.send(signal.SIGINT)
        assert await worker.ended() == 0
    assert await client.lrange(KEYS.of("wait"), 0, -1) == ["1"]
    assert "interrupted again" in worker.log()


async def test_thread_that_never_ends_does_not_hold_the_process(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, 120_000, queue="threads")
    drain = {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "0.3"}
    with worker_process(redis_settings, log_file, "threads", **drain) as worker:
        await count(client, "start", 1)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert await client.lrange("bull:threads:wait", 0, -1) == ["1"]


async def test_killed_worker_loses_no_job_not_even_the_third_time(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, None)
    lock = {"QUEUEWORKER_LOCK_DURATION_MS": "60000"}
    for kill in range(3):
        with worker_process(redis_settings, log_file.with_name(f"{kill}.log"), "ledger", **lock) as worker:
            await count(client, "start", kill + 1)
            worker.send(signal.SIGKILL)
            await worker.ended()
        # Its lock ends at once, and not while the worker lives that a busy machine keeps from renewing it.
        assert await client.pexpire(KEYS.lock("1"), 1)
    await client.set(RELEASED, 1)
    with worker_process(redis_settings, log_file, "ledger", **lock) as last:
        assert await count(client, "end", 1) == ["1"]
        last.send(signal.SIGTERM)
        assert await last.ended() == 0
    fields = await client.hgetall(KEYS.job("1"))
    assert (fields["stc"], fields["atm"], fields["returnvalue"]) == ("3", "1", '{"slept":null}')


@pytest.mark.timing
async def test_peer_brings_back_the_job_of_a_killed_worker(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path, stalls: Stalls
) -> None:
    await add(client, None)
    lock = {"QUEUEWORKER_LOCK_DURATION_MS": "60000"}
    with worker_process(redis_settings, log_file, "ledger", **lock) as worker:
        await count(client, "start", 1)
        with worker_process(redis_settings, log_file.with_name("b.log"), "ledger", name="worker-b") as peer:
            await peer.said("is ready")
            worker.send(signal.SIGKILL)
            await worker.ended()
            # The rest of the lock's time is left out.
            assert 0 < await client.pttl(KEYS.lock("1")) <= 60_000
            assert await client.pexpire(KEYS.lock("1"), 1)
            expired = time.monotonic()
            await count(client, "start", 2)
            assert time.monotonic() - expired < 3 + stalls.since(expired)
            await client.set(RELEASED, 1)
            assert await count(client, "end", 1) == ["1"]
    assert "job 1 stalled" in peer.log()


async def test_unknown_names_and_wrong_payloads_fail_at_once_with_the_reason(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, 1, name="mail", queue="named", attempts=3)
    queue = bullmq.Queue("ledger", {"connection": client})
    wrong = await queue.add("any", {"milliseconds": "soon", "extra": 1}, {"attempts": 3})
    module = log_file.with_name("named_only.py")
    module.write_text(
        "from queueworker_worker.processor import processor\n"
        "@processor('named', 'letter')\nasync def letter() -> None: ...\n"
    )
    modules = {"QUEUEWORKER_PROCESSORS": "worker_ledger,named_only"}
    with worker_process(redis_settings, log_file, "ledger", "named", **modules):
        await eventually(lambda: client.zscore("bull:named:failed", "1"))
        await eventually(lambda: client.zscore(KEYS.of("failed"), wrong.id))
    unknown = await client.hgetall("bull:named:1")
    assert unknown["failedReason"] == "no processor for job name 'mail' on queue 'named': known are letter"
    assert unknown["atm"] == "1"
    reason = await client.hget(KEYS.job(wrong.id), "failedReason")
    assert reason is not None
    assert reason.startswith("invalid payload for Sleep: milliseconds: Input should be a valid integer")
    assert "extra: Extra inputs are not permitted" in reason


async def test_serves_several_queues_side_by_side(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, None, None)
    await add(client, 0, queue="ledger-two")
    queues = json.dumps([{"name": "ledger", "concurrency": 2}, {"name": "ledger-two"}])
    with worker_process(redis_settings, log_file, QUEUEWORKER_QUEUES=queues) as worker:
        await eventually(lambda: client.zscore("bull:ledger-two:completed", "1"))
        await eventually(lambda: client.lindex(KEYS.of("active"), 1))
        assert await client.zcard(KEYS.of("completed")) == 0
        assert json.loads(str(await client.hget(KEYS.worker, "worker-a")))["slots"] == 2
        worker.send(signal.SIGTERM)
        await worker.said("drains: 2 jobs running")
        await client.set(RELEASED, 1)
        assert await worker.ended() == 0
    assert await client.zcard(KEYS.of("completed")) == 2
    assert (await client.lrange(LEDGER, 0, -1)).count("opened") == 1


async def test_refused_for_too_long_ends_with_a_reason_and_code_1(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    module = log_file.with_name("idle_only.py")
    module.write_text(
        "from queueworker_worker.processor import processor\n@processor('idle')\nasync def idle() -> None: ...\n"
    )
    secrets = {"QUEUEWORKER_REDIS_USERNAME": "nobody", "QUEUEWORKER_REDIS_PASSWORD": "hush-hush"}
    patience = {"QUEUEWORKER_REFUSAL_PATIENCE_SECONDS": "0.3", "QUEUEWORKER_PROCESSORS": "idle_only"}
    with worker_process(redis_settings, log_file, "idle", **secrets, **patience) as worker:
        assert await worker.ended() == 1
    assert "the worker's loop broke: AccessRefusedError" in worker.log()
    assert "hush-hush" not in worker.log()


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["nothing"], {}, "no processor for queue nothing: known queues are ledger, ledger-two, threads"),
        ([], {"QUEUEWORKER_QUEUES": '[{"name": "ledger", "concurrency": 0}]'}, "QUEUEWORKER_QUEUES: 0.concurrency:"),
        (["ledger"], {"QUEUEWORKER_HEALTH_PORT": "many"}, "QUEUEWORKER_HEALTH_PORT: Input should be a valid integer"),
        (
            ["ledger"],
            {"QUEUEWORKER_PROCESSORS": "no.such.module"},
            "processor module 'no.such.module' cannot be imported",
        ),
        (["ledger"], {"QUEUEWORKER_REDIS_PORT": "x"}, "QUEUEWORKER_REDIS_"),
        (["ledger"], {"QUEUEWORKER_REDIS_CLUSTER_NODES": "127.0.0.1:1"}, "prefix 'bull' has no hash tag"),
    ],
)
async def test_wrong_settings_end_with_one_line_and_code_2(
    arguments: list[str],
    environment: dict[str, str],
    message: str,
    redis_settings: ConnectionSettings,
    log_file: Path,
) -> None:
    with worker_process(redis_settings, log_file, *arguments, **environment) as worker:
        assert await worker.ended() == 2
    told = [line for line in worker.log().splitlines() if not re.match(r"\d{4}-", line)]
    assert len(told) == 1, worker.log()
    assert message in told[0]


async def test_hostile_processors_fail_their_jobs_and_no_more(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    log_file.with_name("hostile.py").write_text(
        "import sys\nfrom queueworker_worker.job import Job\n"
        "from queueworker_worker.processor import processor\n"
        "@processor('hostile')\nasync def work(job: Job) -> object:\n"
        "    if job.name == 'exit': sys.exit(3)\n"
        "    if job.name == 'half': raise ValueError('half a pair: \\ud800')\n"
        "    if job.name == 'log': return await job.log('half a pair: \\ud800')\n"
        "    return object() if job.name == 'object' else len(job.data['x'])\n"
    )
    queue = bullmq.Queue("hostile", {"connection": client})
    names = ["exit", "half", "object", "log", "big"]
    for name in names:
        await queue.add(name, {"x": "y" * 1_000_000} if name == "big" else {}, {"jobId": name})
    await client.hset("bull:hostile:text", mapping={"name": "text", "data": "{no json", "opts": "{}"})
    await client.lpush("bull:hostile:wait", "text")
    with worker_process(redis_settings, log_file, QUEUEWORKER_PROCESSORS="hostile") as worker:
        await eventually(lambda: client.zscore("bull:hostile:failed", "text"), what=worker.log())
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert "6 jobs ended, 0 given back" in worker.log()
    reasons = {name: await client.hget(f"bull:hostile:{name}", "failedReason") for name in [*names, "text"]}
    assert reasons.pop("log") is reasons.pop("big") is None
    assert reasons.pop("exit") == "SystemExit: 3"
    assert reasons.pop("half") == "half a pair: \\ud800"
    assert str(reasons.pop("object")).startswith("the result of hostile.work is not JSON")
    assert str(reasons.pop("text")).startswith("data is not JSON")
    assert await client.hget("bull:hostile:big", "returnvalue") == "1000000"


@pytest.mark.parametrize("waits", ["await take_no_notice()", "await asyncio.to_thread(time.sleep, 120)"])
async def test_what_takes_no_notice_of_its_cancel_does_not_hold_the_process(
    waits: str, redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    log_file.with_name("stubborn.py").write_text(
        "import asyncio, time\nfrom queueworker_worker.processor import processor\n"
        "async def take_no_notice() -> None:\n    while True:\n"
        "        try:\n            await asyncio.sleep(120)\n        except asyncio.CancelledError:\n            pass\n"
        f"@processor('stubborn')\nasync def work() -> None: {waits}\n"
    )
    await add(client, 1, queue="stubborn")
    short = {"QUEUEWORKER_DRAIN_TIMEOUT_SECONDS": "0.2", "QUEUEWORKER_PROCESSORS": "stubborn"}
    with worker_process(redis_settings, log_file, **short) as worker:
        await eventually(lambda: client.llen("bull:stubborn:active"))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert "0 jobs ended, 1 given back" in worker.log()
    assert await client.lrange("bull:stubborn:wait", 0, -1) == ["1"]


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.5])
async def test_sigterm_while_it_begins_ends_it_without_a_word_of_trouble(
    seconds: float, redis_settings: ConnectionSettings, log_file: Path
) -> None:
    log_file.with_name("slow_start.py").write_text(
        f"import time\nopen('begun', 'w').close()\ntime.sleep({seconds})\n"
        "from queueworker_worker.processor import processor\n@processor('slow')\nasync def slow() -> None: ...\n"
    )
    with worker_process(redis_settings, log_file, QUEUEWORKER_PROCESSORS="slow_start") as worker:
        await eventually(log_file.with_name("begun").exists)
        await asyncio.sleep(0.3)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert "Traceback" not in worker.log()
    assert "ERROR" not in worker.log()


@pytest.mark.parametrize(
    ("error", "code"), [("OSError('no database there')", 1), ("SettingsError('DATABASE_URL is not set')", 2)]
)
async def test_dependency_that_does_not_open_ends_with_its_reason(
    error: str, code: int, redis_settings: ConnectionSettings, log_file: Path
) -> None:
    log_file.with_name("needy.py").write_text(
        "from contextlib import asynccontextmanager\nfrom typing import Annotated\n"
        "from queueworker.errors import SettingsError\n"
        "from queueworker_worker.context import Depends\nfrom queueworker_worker.processor import processor\n"
        f"@asynccontextmanager\nasync def database():\n    raise {error}\n    yield 1\n"
        "@processor('needy')\nasync def work(it: Annotated[int, Depends(database)]) -> None: ...\n"
    )
    with worker_process(redis_settings, log_file, QUEUEWORKER_PROCESSORS="needy") as worker:
        assert await worker.ended() == code
    name, _, text = error.partition("('")
    assert f"dependency needy.database cannot be opened: {name}: {text.removesuffix(chr(39) + ')')}" in worker.log()
