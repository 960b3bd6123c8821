"""The worker's part of the command line: `work` and `processors`.

What the commands need is imported inside them: `queueworker --help` does not wait for it, and `work` has its answer to
SIGTERM before the long imports begin.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from queueworker.errors import QueueWorkerError
from queueworker_worker.errors import DependencyError

if TYPE_CHECKING:
    from queueworker_worker.registry import Registry
    from queueworker_worker.runtime import Service

FAILED = 1
USAGE_ERROR = 2

_WORK_HELP = """Run the processors of one or more queues until SIGTERM or Ctrl-C, then finish the running jobs.

A second Ctrl-C puts them back on their queues at once; so does the end of QUEUEWORKER_DRAIN_TIMEOUT_SECONDS (60).

Exit codes: 0 ended as told, 1 a dependency did not open, a loop broke or jobs could not be given back (the log's last
error says why), 2 wrong settings or processors. With --processes the code of the worst process, 128 + the signal for
one that was killed."""

Modules = Annotated[
    list[str] | None,
    typer.Option("--module", "-m", help="A module with processors; may be given more than once."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What `work` was asked for."""

    queues: tuple[str, ...]
    modules: tuple[str, ...]
    concurrency: int | None
    prefix: str | None
    log_level: str
    burst: bool
    limit: int | None

    def command(self, *, limit: int | None) -> list[str]:
        """Return the command line of a process that serves the same."""
        words = [sys.executable, "-m", "queueworker_worker", "work", *self.queues, "--log-level", self.log_level]
        words += [word for module in self.modules for word in ("--module", module)]
        for option, value in (("--concurrency", self.concurrency), ("--prefix", self.prefix), ("--limit", limit)):
            words += [option, str(value)] if value is not None else []
        return [*words, "--burst"] if self.burst else words


def register(app: typer.Typer) -> None:
    """Add the worker's commands to the `queueworker` command."""
    app.command("work", help=_WORK_HELP)(work)
    app.command("processors")(processors)


def work(
    queues: Annotated[
        list[str] | None,
        typer.Argument(help="Queues to serve; without any, those of QUEUEWORKER_QUEUES, else all with a processor."),
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Slots per queue.", min=1, max=1_000)] = None,
    prefix: Annotated[str | None, typer.Option(help="The key prefix of BullMQ; default bull.")] = None,
    module: Modules = None,
    burst: Annotated[
        bool,
        typer.Option(
            "--burst",
            help="End when no queue holds a job that could be taken: paused queues and jobs delayed for later are "
            "left; what a rate limit holds back is waited for, a minute at most.",
        ),
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Process so many jobs, then end.", min=1)] = None,
    processes: Annotated[
        int, typer.Option(help="Worker processes, each with its own slots; a --limit is divided.", min=1, max=256)
    ] = 1,
    log_level: Annotated[str, typer.Option(envvar="QUEUEWORKER_LOG_LEVEL", help="DEBUG, INFO, WARNING…")] = "INFO",
) -> None:
    """See `_WORK_HELP`."""
    signal.signal(signal.SIGTERM, _end_before_the_start)
    import logging

    from queueworker_worker import logs

    if log_level.upper() not in logging.getLevelNamesMapping():
        raise typer.BadParameter(f"{log_level!r} is not a log level: use DEBUG, INFO, WARNING or ERROR")
    logs.configure(log_level.upper())
    wanted = _Wanted(
        queues=tuple(queues or ()),
        modules=tuple(module or ()),
        concurrency=concurrency,
        prefix=prefix,
        log_level=log_level.upper(),
        burst=burst,
        limit=limit,
    )
    try:
        code = _serve(wanted) if processes == 1 else _supervise(wanted, processes)
    except QueueWorkerError as error:
        typer.echo(f"queueworker work: {error}", err=True)
        raise typer.Exit(FAILED if isinstance(error, DependencyError) else USAGE_ERROR) from None
    raise typer.Exit(code)


def processors(module: Modules = None) -> None:
    """List the processors that are found: queue, job name, function, where it runs, its schedulers."""
    from queueworker_worker.registry import discover

    try:
        registry = discover(module or (), environment=os.environ)
    except QueueWorkerError as error:
        typer.echo(f"queueworker processors: {error}", err=True)
        raise typer.Exit(USAGE_ERROR) from None
    _list(registry)
    if not registry.queues:
        typer.echo("no processors found: name a module with --module or in QUEUEWORKER_PROCESSORS", err=True)


def _list(registry: Registry) -> None:
    for queue in registry.queues:
        plans = registry.plans_of(queue)
        for one in registry.of_queue(queue):
            mine = [f"{plan.id}: {plan.when()}" for plan in plans if registry.find(queue, plan.name) is one]
            words = [queue, one.name or "*", one.path, one.execution, *(["; ".join(mine)] if mine else [])]
            typer.echo("\t".join(words))


def _serve(wanted: _Wanted) -> int:
    """Serve the queues to the end and return the exit code; does not return where something cannot be ended."""
    import asyncio
    import logging
    import threading

    from queueworker_worker.runtime import loop_factory, serve
    from queueworker_worker.threads import all_ended

    service = _service(wanted)
    told = threading.Event()
    # From here an exception would leave an open loop behind, so the signal is only noted until the loop takes it.
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        code = runner.run(serve(service, told_to_end=told.is_set))
        if not runner.run(all_ended()):
            # Both the runner and the interpreter would wait for it, and it may never end.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(code)
    return code


def _service(wanted: _Wanted) -> Service:
    from queueworker.settings import ConnectionSettings
    from queueworker_worker.registry import discover
    from queueworker_worker.runtime import Mode, Service
    from queueworker_worker.settings import WorkerSettings

    registry = discover(wanted.modules, environment=os.environ)
    settings = WorkerSettings.from_environment(
        os.environ,
        queues=wanted.queues,
        concurrency=wanted.concurrency,
        prefix=wanted.prefix,
        discovered=registry.queues,
    )
    # It is between this process and its supervisor: what processors start shall not write there.
    os.environ.pop("QUEUEWORKER_STATUS_FD", None)
    return Service(
        settings=settings,
        connection=ConnectionSettings.from_environment(os.environ),
        registry=registry,
        mode=Mode(burst=wanted.burst, limit=wanted.limit),
    )


def _supervise(wanted: _Wanted, processes: int) -> int:
    import asyncio

    from queueworker_worker.settings import ProcessSettings
    from queueworker_worker.supervisor import Fleet, Share, shares_of

    settings = ProcessSettings.of_process(os.environ)
    ends = wanted.burst or wanted.limit is not None
    shares = [Share(command=wanted.command(limit=limit), ends=ends) for limit in shares_of(wanted.limit, processes)]

    async def run() -> int:
        return await Fleet(shares, settings).run()

    return asyncio.run(run())


def _end_before_the_start(*_: object) -> None:
    # As PID 1 a process without a handler ignores the signal, and importing processors takes its time.
    raise SystemExit(0)
