"""Running workers from a program of one's own.

asyncio.run(queueworker_worker.serve(send, report, concurrency=10))
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from queueworker.settings import ConnectionSettings
    from queueworker_worker.control import Control
    from queueworker_worker.runtime import Service

Declared = Callable[..., Any] | ModuleType


async def serve(
    *declared: Declared,
    connection: ConnectionSettings | None = None,
    queues: Iterable[str] = (),
    concurrency: int | None = None,
    prefix: str | None = None,
    burst: bool = False,
    limit: int | None = None,
    stop: asyncio.Event | None = None,
    control: Control | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Serve queues in the running event loop until `stop` is set, then drain; return 0, or 1 where a loop broke.

    `declared` are functions with `@processor` (and hooks), or modules of them. `queues` are those to serve (default:
    those of QUEUEWORKER_QUEUES, else all that have a processor), `concurrency` the slots of each. `connection` and all
    other settings come from `environment` (default: the process's own) where they are not given. `burst` ends when
    nothing more can be taken, `limit` after so many jobs. `control` leads to the workers while they run. Signals are
    the program's own. Where the call itself is cancelled, the jobs that run go back to their queues. Raises
    SettingsError or ProcessorError where it cannot begin.
    """
    from queueworker_worker.lifecycle import Ending
    from queueworker_worker.runtime import Mode
    from queueworker_worker.runtime import serve as serve_service

    mode = Mode(burst=burst, limit=limit, owns_process=False, control=control)
    service = _service(declared, connection, tuple(queues), concurrency, prefix, mode, environment)
    ending = Ending()
    stopping = asyncio.create_task(_stop(ending, stop)) if stop is not None else None
    try:
        return await serve_service(service, ending=ending)
    finally:
        if stopping is not None:
            stopping.cancel()


def run(
    *declared: Declared,
    connection: ConnectionSettings | None = None,
    queues: Iterable[str] = (),
    concurrency: int | None = None,
    prefix: str | None = None,
    burst: bool = False,
    limit: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Serve queues in an event loop of their own until SIGTERM or SIGINT, as `queueworker work` does; see `serve`.

    To be called in the main thread, which takes the signals. Returns the exit code.
    """
    from queueworker_worker.runtime import Mode, loop_factory
    from queueworker_worker.runtime import serve as serve_service

    mode = Mode(burst=burst, limit=limit)
    service = _service(declared, connection, tuple(queues), concurrency, prefix, mode, environment)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve_service(service))


def _service(
    declared: Iterable[Declared],
    connection: ConnectionSettings | None,
    queues: tuple[str, ...],
    concurrency: int | None,
    prefix: str | None,
    mode: Any,
    environment: Mapping[str, str] | None,
) -> Service:
    from queueworker.settings import ConnectionSettings
    from queueworker_worker.registry import Registry, declared_in
    from queueworker_worker.runtime import Service
    from queueworker_worker.settings import WorkerSettings

    environment = os.environ if environment is None else environment
    functions = [
        function for one in declared for function in (declared_in(one) if isinstance(one, ModuleType) else [one])
    ]
    registry = Registry.of(functions)
    settings = WorkerSettings.from_environment(
        environment, queues=queues, concurrency=concurrency, prefix=prefix, discovered=registry.queues
    )
    connection = connection or ConnectionSettings.from_environment(environment)
    return Service(settings=settings, connection=connection, registry=registry, mode=mode)


async def _stop(ending: Any, stop: asyncio.Event) -> None:
    await stop.wait()
    ending.terminate()
