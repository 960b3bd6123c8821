"""The port for Prometheus and for the probes of the kubelet: /metrics, /healthz, /readyz."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from queueworker.errors import QueueWorkerError

Answer = Callable[[], str | None]
"""Returns what is wrong; None where nothing is."""


class Probes:
    """Answers while the operator lives; needs a running event loop."""

    def __init__(self, *, metrics: Callable[[Sequence[str]], bytes], health: Answer, readiness: Answer) -> None:
        """`metrics` returns the text format of Prometheus, of all series or of those that are named."""
        self._metrics = metrics
        app = web.Application()
        app.router.add_get("/metrics", self._answer_metrics)
        app.router.add_get("/healthz", _handler(health))
        app.router.add_get("/readyz", _handler(readiness))
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def open(self, host: str, port: int) -> None:
        """Listen; raises QueueWorkerError where that is not possible."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self.close()
            raise QueueWorkerError(f"cannot listen on {host}:{port}: {error}; choose another --metrics-port") from error

    async def close(self) -> None:
        """End, those connections too that a client would keep."""
        await self._runner.cleanup()

    async def _answer_metrics(self, request: web.Request) -> web.Response:
        # As the Prometheus clients do: of many thousand series those that are asked for.
        text = self._metrics(request.query.getall("name[]", []))
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _handler(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        wrong = answer()
        return web.Response(text="ok\n") if wrong is None else web.Response(status=503, text=f"{wrong}\n")

    return handle
