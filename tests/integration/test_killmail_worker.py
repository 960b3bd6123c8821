"""The killmail queue in a worker process: real Valkey, real PostgreSQL, killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from killmail_documents import CASES, item, payload
from postgres import database, engine, postgres_server
from sqlalchemy import func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from worker_support import eventually

from queueworker import Job, Queue
from queueworker.connection import connect
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_processors.killboard.tables import killmail_items, killmails

__all__ = ["database", "engine", "postgres_server"]

CONCURRENCY = 8
COMMAND = "import sys; from queueworker.cli.app import main; sys.argv[1:] = ['work', 'killmail']; sys.exit(main())"


@pytest.fixture
def environment(redis_settings: ConnectionSettings, database: URL) -> dict[str, str]:
    return {
        **os.environ,
        **redis_settings.to_environment(),
        "DATABASE_URL": database.render_as_string(hide_password=False),
        "QUEUEWORKER_QUEUES": json.dumps([{"name": "killmail", "concurrency": CONCURRENCY}]),
        "QUEUEWORKER_LOCK_DURATION_MS": "15000",
        "QUEUEWORKER_STALLED_INTERVAL_MS": "300",
        "QUEUEWORKER_PROCESSORS": "queueworker_processors.killboard.killmail",
    }


@contextmanager
def worker(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-c", COMMAND], env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait(timeout=30)


async def until(queue: Queue, enough: Callable[[QueueSnapshot], bool], log: Path) -> QueueSnapshot:
    """Return the first snapshot that is enough."""
    deadline = time.monotonic() + 40
    while not enough(stats := await queue.stats()):
        assert time.monotonic() < deadline, f"{stats}\n{await asyncio.to_thread(log.read_text)}"
        await asyncio.sleep(0.01)
    return stats


async def fields(settings: ConnectionSettings, queue: Queue, job_id: str, name: str) -> Any:
    client = connect(settings)
    try:
        return await client.hget(queue.keys.job(job_id), name)
    finally:
        await client.aclose()


async def end_locks(settings: ConnectionSettings, queue: Queue) -> None:
    """End the locks of what a dead worker ran, as their time does."""
    client = connect(settings)
    try:
        for job_id in await client.lrange(queue.keys.of("active"), 0, -1):
            await client.delete(queue.keys.lock(job_id))
    finally:
        await client.aclose()


async def test_jobs_are_stored_and_wrong_ones_fail_at_once_with_their_fields(
    redis_settings: ConnectionSettings, environment: dict[str, str], engine: AsyncEngine, tmp_path: Path
) -> None:
    good = [Job.create("killmail", case.payload, job_id=f"killmail-{case.killmail_id}") for case in CASES]
    shapeless = payload(7) | {"esi": {"killmail_id": 7}}
    bad = Job.create("killmail", shapeless, job_id="bad", attempts=5)
    bare = Job.create("killmail", {"killmailId": 8, "hash": "0" * 40}, job_id="bare", attempts=5)

    async with Queue("killmail", redis_settings) as queue:
        await queue.enqueue_many([*good, bad, bare])
        with worker(environment, tmp_path / "log"):
            stats = await until(queue, lambda one: one.completed + one.failed == 7, tmp_path / "log")
        bad_reason = await fields(redis_settings, queue, "bad", "failedReason")
        bare_reason = await fields(redis_settings, queue, "bare", "failedReason")
        result = json.loads(await fields(redis_settings, queue, good[0].id, "returnvalue"))
        attempts = await fields(redis_settings, queue, "bad", "ats")

    assert (stats.completed, stats.failed, attempts) == (5, 2, "1")
    assert "esi.victim: Field required" in bad_reason
    assert "esi.killmail_time: Field required" in bad_reason
    assert bare_reason == "the job carries no ESI document (esi)"
    assert result == {"outcome": "stored", "killmailId": 134762446, "totalValue": 10000, "attackers": 1, "items": 0}
    async with engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(killmails)) == 5


async def test_a_worker_killed_in_the_middle_leaves_no_half_of_a_killmail(
    redis_settings: ConnectionSettings, environment: dict[str, str], engine: AsyncEngine, tmp_path: Path
) -> None:
    count, before, held = 120, 20, 40
    victim = {"ship_type_id": 587, "damage_taken": 1, "items": [item(34, quantity_dropped=1)] * held}
    jobs = [
        Job.create("killmail", payload(n, victim=victim), job_id=f"k{n}", remove_on_complete=False)
        for n in range(1, count + 1)
    ]

    async def all_wait() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with engine.connect() as connection:
            return bool(await connection.scalar(text(query)) == CONCURRENCY)

    async with Queue("killmail", redis_settings) as queue:
        await queue.enqueue_many(jobs[:before])
        async with engine.begin() as holding:
            with worker(environment, tmp_path / "log"):
                await until(queue, lambda one: one.completed == before, tmp_path / "log")
                # Now every job stops between its killmail and the items, until the worker is killed.
                await holding.execute(text("LOCK TABLE killmail_items IN SHARE MODE"))
                await queue.enqueue_many(jobs[before:])
                await eventually(all_wait)
        left = await queue.stats()
        await end_locks(redis_settings, queue)
        with worker(environment, tmp_path / "log"):
            stats = await until(queue, lambda one: one.completed + one.failed == count, tmp_path / "log")

    assert (left.completed, left.active) == (before, CONCURRENCY)
    assert (stats.completed, stats.failed) == (count, 0)
    async with engine.connect() as connection:
        held_by = await connection.execute(
            select(func.count(killmail_items.c.item_index)).group_by(killmail_items.c.killmail_id)
        )
        assert [rows for (rows,) in held_by] == [held] * count
        assert await connection.scalar(select(func.count()).select_from(killmails)) == count
