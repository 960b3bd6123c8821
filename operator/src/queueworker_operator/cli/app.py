"""What the operator adds to the `queueworker` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from queueworker.cli.output import message
from queueworker_operator.cli import crd, get, record, simulate, top, why
from queueworker_operator.cli.access import CLUSTER

USAGE = 2


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("operator")(operator)
    app.command("up")(up)
    for part in (get, why, top, simulate, record, crd):
        part.register(app)


def operator(
    *,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Serve this namespace; repeat it. Default: all.")
    ] = None,
    allow_loopback_redis: Annotated[
        bool | None,
        typer.Option("--allow-loopback-redis", help="Accept loopback and link-local Redis hosts.", show_default=False),
    ] = None,
    metrics_host: Annotated[str | None, typer.Option(help="Address of /metrics, /healthz, /readyz.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port of the same; default 8080.")] = None,
    log_level: Annotated[str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = None,
    log_format: Annotated[str | None, typer.Option(help="plain or json.")] = None,
) -> None:
    """Run the operator: keep the workers of all QueueWorkers at the number that their queues need.

    It logs in by the pod's service account, else by the kubeconfig. Each option can be given in the environment as
    QUEUEWORKER_OPERATOR_NAMESPACES (separated by commas), QUEUEWORKER_OPERATOR_METRICS_PORT and so on. Exit code 1
    when the loop broke, 2 for wrong settings, 5 where the cluster cannot be used.
    """
    import asyncio
    import gc
    import os

    from queueworker_operator.cli import logs
    from queueworker_operator.settings import OperatorSettings

    settings = OperatorSettings.from_environment(
        os.environ,
        namespaces=tuple(namespace) if namespace else None,
        allow_loopback_redis=allow_loopback_redis,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        log_level=log_level,
        log_format=log_format,
    )
    logs.configure(settings.log_level, settings.log_format)
    # What a start imports and lists stays; the process enables it again when it has done so.
    gc.disable()
    from queueworker_operator.cluster.port import ClusterError
    from queueworker_operator.process import run

    try:
        code = asyncio.run(run(settings))
    except ClusterError as error:
        message(f"error: {error}")
        code = CLUSTER
    finally:
        gc.enable()
    raise typer.Exit(code)


def up(
    files: Annotated[
        list[Path], typer.Option("--file", "-f", help="A file with QueueWorkers, Secrets, ConfigMaps; repeat it.")
    ],
    *,
    redis_host: Annotated[
        str | None, typer.Option(help="Redis to use whatever spec.redis says; an embedded one without this.")
    ] = None,
    redis_port: Annotated[int, typer.Option(help="Port of that Redis.", min=1, max=65535)] = 6379,
    module: Annotated[
        list[str] | None,
        typer.Option("--module", "-m", help="A module with processors, for workers without a command; repeat it."),
    ] = None,
    log_level: Annotated[str, typer.Option(help="Of the operator's own messages.")] = "WARNING",
) -> None:
    """Run QueueWorkers on this host, without Kubernetes: as many worker processes as their queues need.

    The table, or a line for each change, goes to stdout; what workers write goes to stderr with the worker's name
    before it. Ctrl-C lets the workers finish their jobs and ends; a second one makes them give back their jobs at once.
    Exit code 0 after Ctrl-C, 1 when something broke, 2 when the files cannot be used, 4 when the embedded Redis ended.
    """
    from queueworker_operator.cli import logs
    from queueworker_operator.cli.local import run_up
    from queueworker_operator.documents import DocumentError, read_files

    logs.configure(log_level.upper(), "plain")
    try:
        documents = read_files(files)
    except DocumentError as error:
        for problem in error.problems:
            message(f"error: {problem}")
        raise typer.Exit(USAGE) from None
    raise typer.Exit(run_up(documents, redis_host=redis_host, redis_port=redis_port, modules=module or ()))
