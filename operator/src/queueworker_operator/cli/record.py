"""The command `record`: what happens on live queues, as a trace that `simulate` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from queueworker.cli import parameters, values
from queueworker.cli.session import connection


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("record")(record)


def record(
    queues: parameters.QueueNames,
    *,
    file: Annotated[
        Path, typer.Option("--output", help="Write the trace here; the file must not exist.", metavar="FILE")
    ],
    duration: Annotated[
        str | None, typer.Option(help="For how long: 90s, 10m, 2h. Default: until Ctrl-C.", show_default=False)
    ] = None,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Record what happens on queues: when jobs come, fall due and start, by name, and how long they run.

    It only reads: the queues' events, and the name and priority of new jobs. The file holds no ids and no data of
    jobs. Ctrl-C ends it at any time, and the file is whole. Redis is the one of QUEUEWORKER_REDIS_* or REDIS_* in the
    environment, else localhost; a password comes from there only. An outage is bridged. Exit code 4 if Redis cannot
    be read at the start or at the end, or refuses meanwhile: what was recorded until then is kept, with a gap.
    """
    import asyncio

    from queueworker.errors import SettingsError
    from queueworker.keys import QueueKeys
    from queueworker.names import usable_queue_name
    from queueworker_operator.cli.recorder import recorded

    milliseconds = values.milliseconds(duration, option="--duration")
    settings = connection(redis_host, redis_port)
    keys = [QueueKeys(prefix, usable_queue_name(queue)) for queue in dict.fromkeys(queues)]
    seconds = None if milliseconds is None else milliseconds / 1000
    if file.exists():
        raise SettingsError(f"--output {file}: the file exists: choose another name, or remove it")
    asyncio.run(recorded(settings, keys, file, seconds=seconds))
