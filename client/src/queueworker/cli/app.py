"""The `queueworker` command: the groups of all installed distributions under one roof.

A distribution adds its commands by an entry point of the group `queueworker.commands`: a function
`register(app: typer.Typer) -> None`. It should import what its commands need inside the commands, so that
`queueworker --help` stays quick.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import typer

from queueworker.cli.codes import FAILED, INTERRUPTED, NOT_FOUND, PARTLY, REDIS, REFUSED, USAGE
from queueworker.cli.output import message
from queueworker.errors import (
    InvalidJobError,
    JobNotFoundError,
    PartlyDoneError,
    QueueWorkerError,
    RedisAccessError,
    SettingsError,
)

GROUP = "queueworker.commands"


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(sys.argv))


def run(argv: list[str]) -> int:
    """Run a command line and return its exit code; errors of ours are one line on stderr."""
    app = build(entry_points(group=GROUP))
    _leave_out_parameters(app, but_of=next((word for word in argv[1:] if not word.startswith("-")), None))
    try:
        result = app(args=argv[1:], prog_name=program_name(argv[0]), standalone_mode=False)
    except QueueWorkerError as error:
        message(f"error: {error}")
        return exit_code(error)
    except typer.Abort as end:
        # An interrupt arrives as an abort too; without one somebody said no.
        return INTERRUPTED if isinstance(end.__cause__, KeyboardInterrupt) else REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        # What goes wrong with Redis is an error of ours: this is the output, a full disk for example.
        message(f"error: {str(error) or type(error).__name__}")
        return FAILED
    except Exception as error:  # noqa: BLE001 - usage errors have no public class; all others are raised again
        return _usage_error(error)
    return result if isinstance(result, int) else 0


def build(plugins: Iterable[EntryPoint]) -> typer.Typer:
    """Return the application with the commands of all plugins; a broken plugin costs its own commands only."""
    app = typer.Typer(
        name="queueworker",
        help="Run BullMQ workers: put jobs on queues, look into them, work on them, scale the workers.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for plugin in sorted(plugins, key=lambda one: one.name):
        try:
            plugin.load()(app)
        except Exception as error:  # noqa: BLE001 - whatever somebody else's code raises
            message(f"warning: the commands of {plugin.value} are missing: {type(error).__name__}: {error}")
    return app


def program_name(path: str) -> str:
    """Return how the program was called: as a kubectl plugin it is named as kubectl's users type it."""
    name = Path(path).name
    return "kubectl queueworker" if name == "kubectl-queueworker" else "queueworker"


def exit_code(error: QueueWorkerError) -> int:
    """Return the exit code that an error of ours ends the program with."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return own
    if isinstance(error, PartlyDoneError):
        return PARTLY
    if isinstance(error, RedisAccessError):
        return REDIS
    if isinstance(error, JobNotFoundError):
        return NOT_FOUND
    return USAGE if isinstance(error, SettingsError | InvalidJobError) else FAILED


def _leave_out_parameters(app: typer.Typer, *, but_of: str | None) -> None:
    """Leave to all commands but one their names and helps only: reading every signature takes longer than the rest."""
    if any(name.endswith("_COMPLETE") for name in os.environ):
        return
    for command in app.registered_commands:
        if command.name != but_of and command.callback is not None:
            command.help = command.help or inspect.getdoc(command.callback)
            command.callback = _nothing


def _nothing() -> None:
    """Stand in for a command that was not asked for."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from queueworker import __version__

        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
    ),
) -> None:
    """Take the options of the program itself; --version has ended it by now."""


def _usage_error(error: Exception) -> int:
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if show is None or not isinstance(code, int):
        raise error
    show()
    return code
