"""Names on the command line."""

from __future__ import annotations

import typer


def not_empty(name: str | None) -> str | None:
    """Return a name; an empty one ends the command with exit code 2.

    It is a variable of a script that is not set. In a path of the API it would stand for all of them.
    """
    if name is not None and not name.strip():
        raise typer.BadParameter("the name is empty: name a QueueWorker")
    return name
