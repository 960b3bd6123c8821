"""The worker's part of the command line: `work` and `processors`.

What the commands need is imported inside them: `queueworker --help` does not wait for it, and `work` has its answer to
SIGTERM before the long imports begin.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from queueworker.errors import QueueWorkerError

if TYPE_CHECKING:
    import asyncio

USAGE_ERROR = 2

Modules = Annotated[
    list[str] | None,
    typer.Option("--module", "-m", help="A module with processors; may be given more than once."),
]


def register(app: typer.Typer) -> None:
    """Add the worker's commands to the `queueworker` command."""
    app.command("work")(work)
    app.command("processors")(processors)


def work(
    queues: Annotated[
        list[str] | None,
        typer.Argument(help="Queues to serve; without any, those of QUEUEWORKER_QUEUES, else all with a processor."),
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Slots per queue.", min=1)] = None,
    prefix: Annotated[str | None, typer.Option(help="The key prefix of BullMQ; default bull.")] = None,
    module: Modules = None,
    log_level: Annotated[str, typer.Option(envvar="QUEUEWORKER_LOG_LEVEL", help="DEBUG, INFO, WARNING…")] = "INFO",
) -> None:
    """Run the processors of one or more queues until SIGTERM or Ctrl-C, then finish the running jobs."""
    signal.signal(signal.SIGTERM, _end_before_the_start)
    import logging

    from queueworker_worker import logs

    if log_level.upper() not in logging.getLevelNamesMapping():
        raise typer.BadParameter(f"{log_level!r} is not a log level: use DEBUG, INFO, WARNING or ERROR")
    logs.configure(log_level.upper())
    try:
        code = _serve(queues or (), concurrency=concurrency, prefix=prefix, modules=module or ())
    except QueueWorkerError as error:
        typer.echo(f"queueworker work: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from None
    raise typer.Exit(code)


def processors(module: Modules = None) -> None:
    """List the processors that are found: queue, job name, function."""
    from queueworker_worker.processor import discover

    try:
        registry = discover(module or (), environment=os.environ)
    except QueueWorkerError as error:
        typer.echo(f"queueworker processors: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from None
    for queue in registry.queues:
        for one in registry.of_queue(queue):
            typer.echo(f"{queue}\t{one.name or '*'}\t{one.path}\t{'async' if one.is_async else 'thread'}")
    if not registry.queues:
        typer.echo("no processors found: name a module with --module or in QUEUEWORKER_PROCESSORS", err=True)


def _serve(queues: Sequence[str], *, concurrency: int | None, prefix: str | None, modules: Sequence[str]) -> int:
    """Serve the queues to the end and return the exit code; does not return where something cannot be ended."""
    import asyncio
    import logging
    import threading

    from queueworker.settings import ConnectionSettings
    from queueworker_worker.processor import discover
    from queueworker_worker.runtime import serve
    from queueworker_worker.settings import WorkerSettings
    from queueworker_worker.threads import all_ended

    registry = discover(modules, environment=os.environ)
    settings = WorkerSettings.from_environment(
        os.environ, queues=queues, concurrency=concurrency, prefix=prefix, discovered=registry.queues
    )
    connection = ConnectionSettings.from_environment(os.environ)
    told = threading.Event()
    # From here an exception would leave an open loop behind, so the signal is only noted until the loop takes it.
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(serve(settings, connection, registry, told_to_end=told.is_set))
        if not runner.run(all_ended()):
            # Both the runner and the interpreter would wait for it, and it may never end.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(code)
    return code


def _end_before_the_start(*_: object) -> None:
    # As PID 1 a process without a handler ignores the signal, and importing processors takes its time.
    raise SystemExit(0)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
