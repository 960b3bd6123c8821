"""A proxy before Redis that holds replies back for a time, or ends TLS; one thread, one process, on loopback.

    python -m bench.worker.proxy TARGET_PORT --delay-ms 1
    python -m bench.worker.proxy TARGET_PORT --certificate server.crt --key server.key

It prints its port. Requests pass at once and replies late, which makes the round trip as long as half of it each way
would. Timers are those of select(), good for some 0.05 ms. What the proxy costs is measured beside the workers: the
server's own limit through it, and the round trip of a PING.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import select
import socket
import ssl
import time
from collections import deque

_PR_SET_TIMERSLACK = 29
_CHUNK = 1 << 18


class Pipe:
    """One direction of one connection; what it read is sent on `delay` seconds later."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay: float) -> None:
        self.source, self.sink, self.delay = source, sink, delay
        self.held: deque[tuple[float, bytes]] = deque()

    def read(self) -> bool:
        """Take what has come; False where the source has ended."""
        while True:
            try:
                chunk = self.source.recv(_CHUNK)
            except (ssl.SSLWantReadError, BlockingIOError):
                return True
            except OSError:
                return False
            if not chunk:
                return False
            if self.delay:
                self.held.append((time.monotonic() + self.delay, chunk))
            else:
                _send(self.sink, chunk)
            if not isinstance(self.source, ssl.SSLSocket) or not self.source.pending():
                return True

    def send_due(self, now: float) -> None:
        """Send what was held back long enough."""
        while self.held and self.held[0][0] <= now:
            _send(self.sink, self.held.popleft()[1])

    @property
    def due(self) -> float | None:
        """When the next chunk is to be sent."""
        return self.held[0][0] if self.held else None


class Proxy:
    """Forwards its port to a port of this host."""

    def __init__(self, target: int, *, delay: float = 0, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._delay, self._tls = target, delay, tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self._pipes: dict[socket.socket, Pipe] = {}

    def run(self) -> None:
        """Forward until the process is killed."""
        while True:
            due = [pipe.due for pipe in self._pipes.values() if pipe.held]
            wait = max(0.0, min(filter(None, due)) - time.monotonic()) if due else None
            readable, _, _ = select.select([self._listener, *self._pipes], [], [], wait)
            for one in readable:
                if one is self._listener:
                    self._accept()
                elif (pipe := self._pipes.get(one)) is not None and not _alive(pipe):
                    self._close(pipe)
            now = time.monotonic()
            for pipe in tuple(self._pipes.values()):
                with contextlib.suppress(OSError):
                    pipe.send_due(now)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._target))
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            try:
                client = self._tls.wrap_socket(client, server_side=True)
            except OSError:
                server.close()
                return
        client.setblocking(False)
        server.setblocking(False)
        self._pipes[client] = Pipe(client, server, 0)
        self._pipes[server] = Pipe(server, client, self._delay)

    def _close(self, pipe: Pipe) -> None:
        for one in (pipe.source, pipe.sink):
            self._pipes.pop(one, None)
            one.close()


def _alive(pipe: Pipe) -> bool:
    try:
        return pipe.read()
    except OSError:
        return False


def _send(sink: socket.socket, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        try:
            rest = rest[sink.send(rest) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            select.select([], [sink], [])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", type=int)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    asked = parser.parse_args()
    tls = None
    if asked.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(asked.certificate, asked.key)
    # Linux rounds timers by 0.05 ms unless told otherwise.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    proxy = Proxy(asked.target, delay=asked.delay_ms / 1_000, tls=tls)
    print(proxy.port, flush=True)
    proxy.run()


if __name__ == "__main__":
    main()
