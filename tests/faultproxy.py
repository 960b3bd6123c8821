"""A TCP proxy on loopback that misbehaves on demand, to stand between a client and a real server.

    async with FaultProxy(host, port) as proxy:
        proxy.mode = Mode.DROP_REPLY     # or proxy.script = [Mode.PASS, Mode.DROP_REPLY, ...], one per request
        ...                              # connect to 127.0.0.1:proxy.port

A mode acts on what travels while it is set, on connections that stand already too.
"""

from __future__ import annotations

import asyncio
import enum
import ssl
from collections.abc import Iterable
from typing import Self


class Mode(enum.Enum):
    PASS = "pass"
    DELAY = "delay"
    """Hold each chunk of a reply back for `delay_seconds`."""
    DROP_REPLY = "drop reply"
    """Pass the request on, let the server do it, then break the connection instead of passing the reply back."""
    BLACK_HOLE = "black hole"
    """Swallow everything in both directions; connections stay open and new ones are accepted.

    A connection that lost something stays a black hole, for TCP delivers nothing after a gap.
    """
    RESET = "reset"
    """Break each connection with a TCP reset as soon as something is sent, and new ones at once."""


class FaultProxy:
    """Forwards 127.0.0.1:`port` to a server; with `tls` it ends TLS before the server."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None, delay_seconds: float = 0.2) -> None:
        self.target = (host, port)
        self.tls = tls
        self.mode = Mode.PASS
        self.delay_seconds = delay_seconds
        self.connections = 0
        self.requests = 0
        self._script: list[Mode] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the proxy is not started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def script(self) -> list[Mode]:
        return self._script

    @script.setter
    def script(self, modes: Iterable[Mode]) -> None:
        """Set the modes of the next requests, one each; afterwards `mode` holds again."""
        self._script = list(modes)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.break_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def break_all(self) -> None:
        """Break every connection that stands."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        if self.mode is Mode.RESET:
            writer.transport.abort()
            return
        try:
            upstream_reader, upstream = await asyncio.open_connection(*self.target)
            await _Link(self, reader, writer, upstream_reader, upstream).run()
        except (OSError, asyncio.CancelledError):
            # Where the server refuses, the client must see its connection end and not wait.
            writer.transport.abort()

    def next_mode(self) -> Mode:
        self.requests += 1
        return self._script.pop(0) if self._script else self.mode


class _Link:
    """One client connection and the connection to the server behind it."""

    def __init__(
        self,
        proxy: FaultProxy,
        client_reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> None:
        self.proxy = proxy
        self.client_reader, self.client = client_reader, client
        self.server_reader, self.server = server_reader, server
        self.mode = Mode.PASS
        self.lost = False

    async def run(self) -> None:
        writers = {self.client, self.server}
        self.proxy._writers |= writers
        tasks = [asyncio.create_task(self._requests()), asyncio.create_task(self._replies())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in writers:
                writer.transport.abort()
            self.proxy._writers -= writers

    async def _requests(self) -> None:
        while chunk := await self.client_reader.read(65536):
            self.mode = self.proxy.next_mode()
            if self.mode is Mode.RESET:
                return
            self.lost |= self.mode is Mode.BLACK_HOLE
            if not self.lost:
                self.server.write(chunk)
                await self.server.drain()

    async def _replies(self) -> None:
        while chunk := await self.server_reader.read(65536):
            if self.mode is Mode.DROP_REPLY:
                return
            self.lost |= self.proxy.mode is Mode.BLACK_HOLE
            if self.lost:
                continue
            if self.mode is Mode.DELAY:
                await asyncio.sleep(self.proxy.delay_seconds)
            self.client.write(chunk)
            await self.client.drain()
