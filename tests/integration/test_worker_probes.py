"""The probes of a worker process."""

from __future__ import annotations

import asyncio
import re
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from ledger_jobs import add, count, entries
from worker_ledger import RELEASED
from worker_support import SHORT_LOCK, WorkerProcess, eventually, worker_process

from queueworker.settings import ConnectionSettings


async def test_blocking_processor_in_a_thread_keeps_its_lock_and_the_probes(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, 7_500, 7_500, queue="threads")
    environment = {"QUEUEWORKER_LOCK_DURATION_MS": "6000", "QUEUEWORKER_HEALTH_PORT": "0"}
    with worker_process(redis_settings, log_file, "threads", "--concurrency", "2", **environment) as worker:
        started = await count(client, "start", 2)
        url = await probes_of(worker)
        while len(await entries(client, "end")) < 2:
            assert await probe(url + "/healthz") == 200
            await asyncio.sleep(0.05)
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert sorted(started) == ["1", "2"]
    assert await client.hget("bull:threads:1", "stc") is None


async def test_frozen_loop_turns_the_liveness_probe(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    environment = {**SHORT_LOCK, "QUEUEWORKER_HEALTH_PORT": "0", "QUEUEWORKER_HEALTH_STALE_SECONDS": "1"}
    with worker_process(redis_settings, log_file, "ledger", **environment) as worker:
        url = await probes_of(worker)
        await eventually(lambda: _is(probe(url + "/readyz"), 200))
        # A busy machine may have held up its loop as well, for a moment.
        await eventually(lambda: _is(probe(url + "/healthz"), 200))
        assert await probe(url + "/") == 404
        await add(client, 4_000, name="freeze")
        await eventually(lambda: _is(probe(url + "/healthz"), 503))
        await eventually(lambda: _is(probe(url + "/healthz"), 200))
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0
    assert "the event loop stood still" in worker.log()


async def test_not_ready_while_draining_but_alive(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, log_file: Path
) -> None:
    await add(client, None)
    with worker_process(redis_settings, log_file, "ledger", QUEUEWORKER_HEALTH_PORT="0") as worker:
        await count(client, "start", 1)
        url = await probes_of(worker)
        worker.send(signal.SIGTERM)
        await worker.said("drains")
        assert await probe(url + "/readyz") == 503
        assert await probe(url + "/healthz") == 200
        await client.set(RELEASED, 1)
        assert await worker.ended() == 0


@pytest.mark.timing
async def test_without_redis_it_lives_and_waits_and_ends_at_once(log_file: Path, unused_tcp_port: int) -> None:
    nowhere = ConnectionSettings(host="127.0.0.1", port=unused_tcp_port)
    environment = {"QUEUEWORKER_HEALTH_PORT": "0", "QUEUEWORKER_PROCESSORS": "idle_only"}
    module = log_file.with_name("idle_only.py")
    module.write_text(
        "from queueworker_worker.processor import processor\n@processor('idle')\nasync def idle() -> None: ...\n"
    )
    with worker_process(nowhere, log_file, **environment) as worker:
        await worker.said("cannot connect")
        url = await probes_of(worker)
        assert (await probe(url + "/healthz"), await probe(url + "/readyz")) == (200, 503)
        worker.send(signal.SIGTERM)
        assert await worker.ended(seconds=3) == 0


async def probes_of(worker: WorkerProcess) -> str:
    await worker.said("probes on ")
    found = re.search(r"probes on (\S+:\d+)", worker.log())
    assert found is not None
    return f"http://{found[1]}"


async def probe(url: str) -> int:
    def get() -> int:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    return await asyncio.to_thread(get)


async def _is(answer: Any, wanted: int) -> bool:
    return bool(await answer == wanted)
