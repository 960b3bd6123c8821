"""The probes of a worker: /healthz and /readyz, answered by a thread so that a stuck event loop cannot hide itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from queueworker.errors import SettingsError

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[HTTPStatus, str]
REPORT_SECONDS = 0.5


class Probed(Protocol):
    """What the probes ask."""

    def alive(self) -> Answer:
        """Answer /healthz."""

    def ready(self) -> Answer:
        """Answer /readyz."""


class Served(Protocol):
    """What the probes want to know of one queue's worker."""

    @property
    def queue(self) -> str:
        """The queue's name."""

    @property
    def ready(self) -> bool:
        """Connected, registered and taking jobs."""

    @property
    def last_look(self) -> float | None:
        """When (`time.monotonic`) it last looked for a job; None while it is not looking because every slot is busy."""


class Health:
    """What is known of the life of this process.

    Whether Redis can be reached has no part in liveness: an outage must not restart the fleet.
    """

    def __init__(self, *, stale_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale, self._clock = stale_seconds, clock
        self._beat_at = clock()
        self._ended: str | None = None
        self.workers: Sequence[Served] = ()

    def beat(self) -> None:
        """The event loop runs."""
        self._beat_at = self._clock()

    def end(self, reason: str) -> None:
        """A worker's loop has ended though it should not."""
        self._ended = reason

    def alive(self) -> Answer:
        """Answer /healthz."""
        now = self._clock()
        if self._ended is not None:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"ended: {self._ended}"
        if now - self._beat_at > self._stale:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"the event loop stands still since {now - self._beat_at:.0f} s"
        for worker in self.workers:
            looked = worker.last_look
            if looked is not None and now - looked > self._stale:
                return (
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"queue {worker.queue}: no look for jobs since {now - looked:.0f} s",
                )
        return HTTPStatus.OK, "alive"

    def ready(self) -> Answer:
        """Answer /readyz."""
        waiting = [worker.queue for worker in self.workers if not worker.ready]
        if waiting or not self.workers:
            return HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {', '.join(waiting) or 'starting'}"
        return HTTPStatus.OK, "ready"


class HealthServer:
    """Serves the probes from a daemon thread; a context manager. Raises SettingsError where it cannot listen."""

    def __init__(self, health: Probed, host: str, port: int) -> None:
        try:
            self._server = _server_class(host)((host, port), _handler_of(health))
        except OSError as error:
            raise SettingsError(f"QUEUEWORKER_HEALTH_HOST/PORT: cannot listen on {host}:{port}: {error}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="health", daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def report_to(status_fd: int, health: Probed) -> None:
    """Write the answers of the probes to a pipe, twice a second, as lines of JSON; what stops that ends this process.

    The pipe breaks when the supervisor of `--processes` dies: its workers finish what runs, and end.
    """

    def report() -> None:
        while True:
            line = json.dumps({"alive": health.alive(), "ready": health.ready()}) + "\n"
            try:
                os.write(status_fd, line.encode())
            except OSError:
                return os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(REPORT_SECONDS)

    os.set_inheritable(status_fd, False)
    threading.Thread(target=report, name="status", daemon=True).start()


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    # The library takes its time to import, and most workers have no probes.
    from http.server import ThreadingHTTPServer
    from socketserver import TCPServer

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def server_bind(self) -> None:
            # The library's own asks DNS for the name of this host, which may take its time.
            TCPServer.server_bind(self)

    return Server


def _handler_of(health: Probed) -> type[BaseHTTPRequestHandler]:
    from http.server import BaseHTTPRequestHandler

    answers = {"/healthz": health.alive, "/readyz": health.ready}

    class Handler(BaseHTTPRequestHandler):
        timeout = 5
        server_version = "queueworker"
        sys_version = ""

        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            status, text = answer() if answer else (HTTPStatus.NOT_FOUND, "only /healthz and /readyz are here")
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            return

    return Handler
