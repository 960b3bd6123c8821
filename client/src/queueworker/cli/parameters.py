"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from queueworker.cli.output import Format

QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.", show_default=False)]
QueueNames = Annotated[list[str], typer.Argument(metavar="QUEUE", help="Names of the queues.", show_default=False)]
Prefix = Annotated[str, typer.Option(help="Prefix of the queue's keys.")]
Output = Annotated[Format, typer.Option("-o", "--output", help="Print text or JSON.")]
RedisHost = Annotated[str | None, typer.Option(help="Redis host, in place of the environment's.")]
RedisPort = Annotated[int | None, typer.Option(help="Redis port, in place of the environment's.", min=1, max=65535)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many jobs it concerns, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Confirm = Annotated[
    str | None,
    typer.Option(metavar="QUEUE", help="The queue's name once more, in place of typing it when asked."),
]
JobId = Annotated[str | None, typer.Option("--id", metavar="ID", help="This job only.")]
Name = Annotated[str | None, typer.Option(help="Only jobs of this name.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only jobs whose error holds this text.")]
OlderThan = Annotated[str | None, typer.Option(metavar="AGE", help="Only jobs at least this old: 30s, 5m, 2h, 7d.")]
YoungerThan = Annotated[str | None, typer.Option(metavar="AGE", help="Only jobs younger than this.")]
