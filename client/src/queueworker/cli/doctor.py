"""The command that looks whether all is well: doctor."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from queueworker.cli import codes, output, parameters
from queueworker.cli.output import Format
from queueworker.cli.session import connection, run

if TYPE_CHECKING:
    from queueworker.doctor import Finding

_HELP = (
    "JSON: status (the worst of all), address, prefix and checks, a list of objects with check, queue, status (ok, "
    "unknown, warning, error), message and remedy; queue and remedy may be null.\n\n"
    "Exit code 1 if one of them is an error, else 0."
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("doctor", epilog=_HELP)(doctor)


def doctor(
    queues: Annotated[
        list[str] | None,
        typer.Argument(metavar="QUEUE", help="Queues to look at; without any, all that are found."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(help="worker, producer or operator: what this user should be able to do. Default: the first two."),
    ] = None,
    output_format: parameters.Output = Format.TABLE,
    prefix: parameters.Prefix = "bull",
    redis_host: parameters.RedisHost = None,
    redis_port: parameters.RedisPort = None,
) -> None:
    """Look whether Redis and the queues are as they should be.

    Each thing that is not comes with what to do about it; nothing is changed.
    """
    from queueworker.doctor import Status, diagnose
    from queueworker.doctor.access import DEFAULT_ROLES, ROLES
    from queueworker.doctor.findings import worst

    if any(one not in ROLES for one in role or ()):
        raise typer.BadParameter(f"--role: use {', '.join(ROLES)}")
    settings = connection(redis_host, redis_port)
    findings = run(diagnose(settings, prefix=prefix, names=queues or (), roles=role or DEFAULT_ROLES))
    status = worst(findings)
    if output_format is Format.JSON:
        checks = [dataclasses.asdict(one) for one in findings]
        output.print_json({"status": status, "address": settings.address, "prefix": prefix, "checks": checks})
    else:
        _print(findings)
    raise typer.Exit(codes.FAILED if status is Status.ERROR else 0)


def _print(findings: list[Finding]) -> None:
    width = max(len(_subject(one)) for one in findings)
    for one in findings:
        output.row(f"{one.status:<8} {_subject(one):<{width}}  {one.message}")
        if one.remedy is not None:
            output.row(f"{'':<8} {'':<{width}}  -> {one.remedy}")


def _subject(finding: Finding) -> str:
    text = finding.check if finding.queue is None else f"{finding.check} ({finding.queue})"
    return output.clean(text)
