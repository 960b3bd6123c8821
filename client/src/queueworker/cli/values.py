"""What people write on a command line, and what it means."""

from __future__ import annotations

import re

import typer

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")


def milliseconds(text: str | None, *, option: str) -> int | None:
    """Return a duration such as 500ms, 30s, 5m, 2h or 7d; raises BadParameter naming the option."""
    if text is None:
        return None
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"{option}: {text!r} is no duration: write for example 500ms, 30s, 5m, 2h or 7d")
    return round(float(found[1]) * _UNITS[found[2]])


def grouped(number: int) -> str:
    """Return a number with its thousands set apart: 1 200."""
    return f"{number:,}".replace(",", " ")


def jobs_of(number: int, kind: str = "") -> str:
    """Return a number of jobs in words: `1 job`, `1 200 failed jobs`."""
    return f"{grouped(number)} {kind + ' ' if kind else ''}{'job' if number == 1 else 'jobs'}"
