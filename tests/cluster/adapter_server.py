"""Real HTTP on loopback in place of an API server, for what a real one does not do when asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, directory: Path) -> AsyncIterator[Path]:
    """Serve every request by `handler`; gives the path of a kubeconfig in `directory`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield write_kubeconfig(directory, port=runner.addresses[0][1])
    finally:
        await runner.cleanup()


def write_kubeconfig(directory: Path, *, port: int) -> Path:
    """Return the path of one for a server on loopback, with a token that must not be told."""
    path = directory / "kubeconfig"
    access = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "canary-token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(access))
    return path
