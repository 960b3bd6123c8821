"""The body of `queueworker up`."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from queueworker.cli import codes
from queueworker.cli.output import message
from queueworker.embedded import embedded_redis, embedded_redis_ended
from queueworker.settings import ConnectionSettings
from queueworker_operator.cli.view import View, open_view
from queueworker_operator.documents import Documents
from queueworker_operator.runtime import LocalRuntime, RuntimeSettings

REFRESH_SECONDS = 0.5
_FINISHING = "the workers finish their jobs; once more to make them give back at once"


def run_up(documents: Documents, *, redis_host: str | None, redis_port: int, modules: Sequence[str]) -> int:
    """Run the documents until Ctrl-C or SIGTERM; return the exit code."""
    with _redis(redis_host, redis_port) as (settings, given):
        moved = documents.on_redis(settings, keep_auth=given)
        runtime = LocalRuntime(moved, RuntimeSettings(modules=modules))
        return asyncio.run(run_until_told(runtime, embedded=None if given else settings))


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


async def run_until_told(runtime: LocalRuntime, *, embedded: ConnectionSettings | None = None) -> int:
    """Run it until Ctrl-C or SIGTERM, until its loop breaks or the `embedded` server ends; return the exit code."""
    ending = _ending(runtime)
    await runtime.start()
    broken = asyncio.create_task(runtime.wait())
    told = asyncio.create_task(ending.wait())
    lost = asyncio.create_task(embedded_redis_ended(embedded) if embedded is not None else asyncio.Event().wait())
    code = 0
    with open_view(sys.stdout) as view:
        showing = asyncio.create_task(_show(runtime, view))
        await asyncio.wait([broken, told, lost], return_when=asyncio.FIRST_COMPLETED)
        if not ending.is_set():
            # Now, as the end of the jobs may be far away.
            code = _say_broken(broken) if broken.done() else _say_lost()
            message(_FINISHING)
            ending.set()
        await runtime.stop()
        showing.cancel()
        view.show(runtime.rows())
    for task in (told, showing, lost):
        task.cancel()
    failed, *_ = await asyncio.gather(broken, told, showing, lost, return_exceptions=True)
    if isinstance(failed, Exception) and not code:
        code = _say_broken(broken)
    return code


def _ending(runtime: LocalRuntime) -> asyncio.Event:
    """Return what is set by the first Ctrl-C or SIGTERM; the next hurries the workers."""
    ending = asyncio.Event()

    def interrupted() -> None:
        if ending.is_set():
            message("the workers give back their jobs")
            runtime.hurry()
        else:
            message(_FINISHING)
            ending.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupted)
    return ending


def _say_broken(task: asyncio.Task[None]) -> int:
    message(f"error: the loop broke: {_fault(task)}")
    return codes.FAILED


def _say_lost() -> int:
    message(
        "error: the embedded Valkey ended, and with it the queues and all jobs in them: start again, or name a server "
        "with --redis-host"
    )
    return codes.REDIS


def _fault(task: asyncio.Task[None]) -> str:
    error = None if task.cancelled() else task.exception()
    return f"{type(error).__name__}: {error}" if error is not None else "it ended by itself"


async def _show(runtime: LocalRuntime, view: View) -> None:
    while True:
        view.show(runtime.rows())
        await asyncio.sleep(REFRESH_SECONDS)
