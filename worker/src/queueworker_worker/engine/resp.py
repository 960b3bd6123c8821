"""A thin Redis connection for asyncio: many commands in flight on one socket, replies parsed by hiredis.

Each command is written at once: gathering them per turn of the loop makes the slots run in lockstep.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from typing import Any, cast

import hiredis

from queueworker.settings import ConnectionSettings
from queueworker.tls import tls_context
from queueworker_worker.engine.link import (
    DeniedError,
    LinkError,
    LinkLostError,
    RefusedError,
    Word,
    error_of,
    naming_the_key,
)
from queueworker_worker.engine.resolving import addresses

CONNECT_TIMEOUT = 5.0
# Shorter than a lock lives: behind a dead route the locks must find a new connection before they end.
REPLY_TIMEOUT = 5.0
_CHECK_INTERVAL = 0.5


class _Wire(asyncio.Protocol):
    """One connection: a queue of expected replies, in the order in which the commands went out."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        self._expected: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.TimerHandle | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # uvloop gathers what is written in a turn of the loop unless it is above this limit.
        self._transport.set_write_buffer_limits(0)
        if (raw := transport.get_extra_info("socket")) is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._watchdog = self._loop.call_later(_CHECK_INTERVAL, self._check)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                self._answer(reply)
        except hiredis.ProtocolError as error:
            self.drop(f"no valid reply ({error})")

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(f"connection lost ({exc})" if exc else "connection closed by the server")

    def send(self, words: tuple[Word, ...], *, timeout: float) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.closed or self._transport is None:
            future.set_exception(LinkLostError(f"Redis {self._address}: not connected"))
            return future
        self._expected.append((future, self._loop.time() + timeout))
        self._transport.write(_packed(words))
        return future

    def drop(self, reason: str) -> None:
        """Close at once; whatever waits for a reply learns why."""
        if self.closed:
            return
        self.closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._transport is not None:
            self._transport.abort()
        while self._expected:
            future, _ = self._expected.popleft()
            if not future.done():
                future.set_exception(LinkLostError(f"Redis {self._address}: {reason}"))

    def _answer(self, reply: Any) -> None:
        if not self._expected:
            self.drop("a reply that nobody asked for")
            return
        future, _ = self._expected.popleft()
        failed = error_of(str(reply), address=self._address) if isinstance(reply, hiredis.ReplyError) else None
        if not future.done():
            future.set_result(reply) if failed is None else future.set_exception(failed)
        # A failover leaves the old master's connections open: only a new one finds the new master.
        if isinstance(failed, LinkLostError | RefusedError) and not isinstance(failed, DeniedError):
            self.drop(str(reply))

    def _check(self) -> None:
        # A caller that was cancelled still has its place in the queue, so the oldest entry is always the next reply.
        if self._expected and self._expected[0][1] < self._loop.time():
            self.drop("no reply in time")
            return
        self._watchdog = self._loop.call_later(_CHECK_INTERVAL, self._check)


class RespLink:
    """A `Link` to one standalone server; connects at the first command and again after each loss."""

    def __init__(
        self, settings: ConnectionSettings, *, client_name: str | None = None, reply_timeout: float = REPLY_TIMEOUT
    ) -> None:
        if settings.host is None:
            raise ValueError("a thin connection needs a host: Sentinel and Cluster have their own link")
        self._settings = settings
        self._client_name = client_name
        self._reply_timeout = reply_timeout
        self._wire: _Wire | None = None
        self._connecting: asyncio.Task[_Wire] | None = None
        self._closed = False
        self._tls = tls_context(settings.tls) if settings.tls is not None else None

    async def execute(self, *words: Word, wait: float = 0.0) -> Any:
        """See `Link.execute`."""
        wire = self._wire
        if wire is None or wire.closed:
            wire = await self._connected()
        try:
            return await wire.send(words, timeout=self._reply_timeout + wait)
        except DeniedError as error:
            raise naming_the_key(error, words) from None

    async def aclose(self) -> None:
        """See `Link.aclose`."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.drop("closed")
            await asyncio.sleep(0)

    async def _connected(self) -> _Wire:
        if self._closed:
            raise LinkLostError(f"Redis {self._settings.address}: closed")
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._forget)
        # All slots share the attempt; one that is cancelled must not take it from the others.
        return await asyncio.shield(self._connecting)

    def _forget(self, task: asyncio.Task[_Wire]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()

    async def _connect(self) -> _Wire:
        address = self._settings.address
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                wire = await self._open()
                await self._greet(wire)
        except LinkError:
            raise
        except (TimeoutError, OSError, ssl.SSLError) as error:
            raise LinkLostError(f"Redis {address}: cannot connect: {str(error) or 'no answer in time'}") from None
        self._wire = wire
        return wire

    async def _open(self) -> _Wire:
        settings, tls = self._settings, self._settings.tls
        failed: OSError = OSError("the name has no address")
        for address in await addresses(settings.host or "", settings.port):
            try:
                _, wire = await asyncio.get_running_loop().create_connection(
                    lambda: _Wire(settings.address),
                    address,
                    settings.port,
                    ssl=self._tls,
                    server_hostname=(tls.server_name or settings.host) if tls is not None else None,
                )
                return wire
            except OSError as error:
                failed = error
        raise failed

    async def _greet(self, wire: _Wire) -> None:
        settings = self._settings
        try:
            if settings.password is not None:
                secret = settings.password.get_secret_value()
                words = ("AUTH", settings.username, secret) if settings.username else ("AUTH", secret)
                await wire.send(words, timeout=CONNECT_TIMEOUT)
            if settings.db:
                await wire.send(("SELECT", settings.db), timeout=CONNECT_TIMEOUT)
            if self._client_name is not None:
                await self._introduce(wire, self._client_name)
        except BaseException:
            wire.drop("refused while connecting")
            raise

    async def _introduce(self, wire: _Wire, name: str) -> None:
        try:
            await wire.send(("CLIENT", "SETNAME", name), timeout=CONNECT_TIMEOUT)
        except LinkError:
            # The name is for `CLIENT LIST` only; many managed servers deny the command. A refusal that ended the
            # connection meant more than this command: NOAUTH, where a password is missing.
            if wire.closed:
                raise


def _packed(words: tuple[Word, ...]) -> bytes:
    try:
        return bytes(hiredis.pack_command(cast(Any, words)))
    except UnicodeEncodeError:
        # An id that is not UTF-8 came in with surrogates and goes out as it was.
        return bytes(hiredis.pack_command(cast(Any, tuple(_bytes(word) for word in words))))


def _bytes(word: Word) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape")
