"""The live table: drawn in place on a terminal, one line for each change elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

COLUMNS = ("NAME", "QUEUE", "REPLICAS", "READY", "BACKLOG", "DELAYED", "ACTIVE", "DONE", "OLDEST", "REASON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One QueueWorker at one moment."""

    name: str
    queue: str
    replicas: int
    ready: int
    backlog: int
    delayed: int
    active: int
    done: int
    oldest_seconds: float | None
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text."""
        oldest = "-" if self.oldest_seconds is None else f"{self.oldest_seconds:.0f}s"
        numbers = (self.replicas, self.ready, self.backlog, self.delayed, self.active, self.done)
        return (self.name, self.queue, *map(str, numbers), oldest, self.reason)


class View(Protocol):
    """Something that shows rows again and again."""

    def show(self, rows: Sequence[Row], *, seconds: float) -> None:
        """Show what is so many seconds after the start."""


@contextmanager
def open_view(console: Console) -> Iterator[View]:
    """Yield a view that suits the console."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Table(live)


class _Table:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, rows: Sequence[Row], *, seconds: float) -> None:
        table = Table(*COLUMNS, title=f"{seconds:.0f} s", title_justify="left", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.cells)
        self._live.update(table, refresh=True)


class _Lines:
    """Says of each QueueWorker what changed of its replicas, or at the latest after some seconds of work."""

    _EVERY_SECONDS = 5.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, tuple[object, float]] = {}

    def show(self, rows: Sequence[Row], *, seconds: float) -> None:
        for row in rows:
            change = (row.replicas, row.ready, row.reason)
            before, when = self._said.get(row.name, (None, 0.0))
            busy = row.backlog + row.active > 0
            if change != before or (busy and seconds - when >= self._EVERY_SECONDS):
                self._said[row.name] = (change, seconds)
                facts = " ".join(
                    f"{title.lower()}={cell}" for title, cell in zip(COLUMNS[1:], row.cells[1:], strict=True)
                )
                self._console.print(f"{seconds:5.1f} s  {row.name}: {facts}", soft_wrap=True, highlight=False)
