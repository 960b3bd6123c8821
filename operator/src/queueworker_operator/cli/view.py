"""How `up` shows its QueueWorkers: a table that is drawn anew on a terminal, else a line for each change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from queueworker.cli.output import clean, duration
from queueworker_operator.cli.columns import Columns
from queueworker_operator.cli.rows import queues_text
from queueworker_operator.runtime import Row

COLUMNS = ("NAME", "QUEUE", "REPLICAS", "READY", "BACKLOG", "OLDEST", "REASON")


class View(Protocol):
    """Something that shows rows again and again."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show how it is now."""
        ...


@contextmanager
def open_view(stream: TextIO) -> Iterator[View]:
    """Yield the view that suits the stream."""
    console = Console(file=stream)
    if not console.is_terminal:
        yield _Lines(stream)
        return
    # While it is up, what goes to stderr is printed above the table.
    with Live(console=console, auto_refresh=False) as live:
        yield _Table(live)


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text but for its problem; what is not known is a question mark, what does not exist a dash."""
    known = row.backlog is not None
    oldest = (duration(row.oldest_age_seconds) or "-") if known else "?"
    number = f"{row.replicas}+{row.ending}" if row.ending else str(row.replicas)
    return (
        row.key.name,
        queues_text(row.queues),
        number,
        str(row.ready),
        str(row.backlog) if known else "?",
        oldest,
        row.reason or "-",
    )


class _Table:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, rows: Sequence[Row]) -> None:
        # In a narrow terminal names go on in the next line, and all else stays readable.
        columns = [Column(name, no_wrap=name not in ("NAME", "QUEUE"), overflow="fold") for name in COLUMNS]
        table = Table(*columns, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*map(clean, cells(row)))
        # Below and over the whole width: a sentence in a column of its own leaves the others no room.
        problems = [Text(clean(f"{row.key.name}: {row.problem}")) for row in rows if row.problem]
        self._live.update(Group(table, *problems), refresh=True)


class _Lines:
    """A line for each change but that of the age, which always changes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: dict[object, tuple[str, ...]] = {}
        self._columns = Columns(COLUMNS)

    def show(self, rows: Sequence[Row]) -> None:
        told = []
        for row in rows:
            shown = (*cells(row)[:6], row.problem or row.reason or "-")
            ageless = (*shown[:5], *shown[6:])
            if self._said.get(row.key) != ageless:
                self._said[row.key] = ageless
                told.append(shown)
        self._stream.writelines(line + "\n" for line in self._columns.lines(told))
        self._stream.flush()
