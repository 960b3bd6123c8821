"""The body of `queueworker up`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from queueworker.cli.output import message
from queueworker.embedded import embedded_redis
from queueworker.settings import ConnectionSettings
from queueworker_operator.cli.view import View, open_view
from queueworker_operator.documents import Documents
from queueworker_operator.runtime import LocalRuntime, RuntimeSettings

REFRESH_SECONDS = 0.5


def run_up(documents: Documents, *, redis_host: str | None, redis_port: int, modules: Sequence[str]) -> int:
    """Run the documents until Ctrl-C or SIGTERM; return the exit code."""
    with _redis(redis_host, redis_port) as (settings, given):
        moved = documents.on_redis(settings, keep_auth=given)
        return asyncio.run(_run(LocalRuntime(moved, RuntimeSettings(modules=modules))))


@contextmanager
def _redis(host: str | None, port: int) -> Iterator[tuple[ConnectionSettings, bool]]:
    if host is not None:
        yield ConnectionSettings(host=host, port=port), True
        return
    with embedded_redis() as settings:
        message(
            f"no --redis-host: an embedded Valkey serves at {settings.host}:{settings.port}"
            f" (REDIS_HOST={settings.host} REDIS_PORT={settings.port}); what it holds ends with this command"
        )
        yield settings, False


async def _run(runtime: LocalRuntime) -> int:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()

    def interrupted() -> None:
        if ending.is_set():
            message("the workers give back their jobs")
            runtime.hurry()
        else:
            message("the workers finish their jobs; once more to make them give back at once")
            ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    await runtime.start()
    broken = asyncio.create_task(runtime.wait())
    told = asyncio.create_task(ending.wait())
    with open_view(sys.stdout) as view:
        showing = asyncio.create_task(_show(runtime, view))
        await asyncio.wait([broken, told], return_when=asyncio.FIRST_COMPLETED)
        ending.set()
        failure = broken.exception() if broken.done() else None
        await runtime.stop()
        showing.cancel()
        view.show(runtime.rows())
    for task in (broken, told, showing):
        task.cancel()
    await asyncio.gather(broken, told, showing, return_exceptions=True)
    if failure is not None:
        message(f"error: the loop broke: {type(failure).__name__}: {failure}")
        return 1
    return 0


async def _show(runtime: LocalRuntime, view: View) -> None:
    while True:
        view.show(runtime.rows())
        await asyncio.sleep(REFRESH_SECONDS)
