"""The worker's part of the command line: `work` and `processors`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from queueworker.errors import QueueWorkerError
from queueworker.settings import ConnectionSettings
from queueworker_worker import logs
from queueworker_worker.processor import discover
from queueworker_worker.runtime import serve, threads_left
from queueworker_worker.settings import WorkerSettings

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
    if log_level.upper() not in logging.getLevelNamesMapping():
        raise typer.BadParameter(f"{log_level!r} is not a log level: use DEBUG, INFO, WARNING or ERROR")
    logs.configure(log_level.upper())
    signal.signal(signal.SIGTERM, _end_before_the_start)
    try:
        registry = discover(module or (), environment=os.environ)
        settings = WorkerSettings.from_environment(
            os.environ,
            queues=queues or (),
            concurrency=concurrency,
            prefix=prefix,
            discovered=registry.queues,
        )
        connection = ConnectionSettings.from_environment(os.environ)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(serve(settings, connection, registry))
    except QueueWorkerError as error:
        typer.echo(f"queueworker work: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from None
    if threads_left():
        # The interpreter joins every thread at its end, and one of them may never end.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)


def processors(module: Modules = None) -> None:
    """List the processors that are found: queue, job name, function."""
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
