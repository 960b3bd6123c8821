"""What commands print: data on stdout as a table or as JSON, messages on stderr."""

from __future__ import annotations

import enum
import json
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

# What a terminal would act on: sequences that start with ESC, control characters, and marks that turn text round.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x07|\x1b\\|\x9c)|\x1b[ -/]*[0-~]?", re.DOTALL)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Format(enum.StrEnum):
    """How a command prints its data."""

    TABLE = "table"
    JSON = "json"


def print_json(data: Any) -> None:
    """Print data as JSON on stdout."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print aligned columns on stdout; None prints as `-`, numbers stand right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(columns, *cells, strict=True)]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        padded = (
            _blanks(width - _width(text)) + text if right else text + _blanks(width - _width(text))
            for text, width, right in zip(row, widths, numeric, strict=True)
        )
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def message(text: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(clean(text) + "\n")


def line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(clean(text) + "\n")


def row(text: str) -> None:
    """Print one line on stdout with its blanks as they are."""
    sys.stdout.write(clean_block(text).replace("\n", " ").replace("\t", " ").rstrip() + "\n")


def block(text: str) -> None:
    """Print a text of several lines on stdout."""
    sys.stdout.write(clean_block(text).rstrip("\n") + "\n")


def clean(text: str) -> str:
    """Return a text on one line, without anything that a terminal would act on: job names and errors are anybody's."""
    return " ".join(clean_block(text).split())


def clean_block(text: str) -> str:
    """Return a text without anything that a terminal would act on, its lines as they are."""
    return _CONTROLS.sub("\ufffd", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def duration(seconds: float | None) -> str | None:
    """Return a duration as people read it: 850ms, 12s, 5m, 3h, 2d."""
    if seconds is None:
        return None
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    for limit, unit, size in ((120, "s", 1), (7200, "m", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d"


def _cell(value: object) -> str:
    return "-" if value is None else clean(str(value))


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for each wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(one) in "WF" for one in text)
    return len(text) + wide - sum(unicodedata.combining(one) > 0 for one in text)


def _blanks(number: int) -> str:
    return " " * number


def _is_number(text: str) -> bool:
    return text == "-" or text[:1].isdigit()
