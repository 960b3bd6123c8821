"""The live table: drawn in place on a terminal, one line for each change elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

COLUMNS = ("NAME", "QUEUE", "REPLICAS", "READY", "BACKLOG", "LATER", "DONE", "OLDEST", "REASON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One QueueWorker at one moment."""

    name: str
    queue: str
    replicas: int
    ready: int
    ending: int
    """Workers that finish their jobs and end then; replicas are the others."""
    backlog: int
    active: int
    later: int
    """Delayed jobs that are not due yet."""
    done: int
    oldest_seconds: float | None
    reason: str

    @property
    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        oldest = "-" if self.oldest_seconds is None else f"{self.oldest_seconds:.0f}s"
        replicas = f"{self.replicas}+{self.ending}" if self.ending else str(self.replicas)
        numbers = (self.ready, self.backlog, self.later, self.done)
        return (self.name, self.queue, replicas, *map(str, numbers), oldest, self.reason)


class View(Protocol):
    """Something that shows rows again and again."""

    def show(self, lines: Sequence[Line], *, seconds: float) -> None:
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

    def show(self, lines: Sequence[Line], *, seconds: float) -> None:
        # Fits a terminal of 80 columns with the longest reason.
        table = Table(title=f"{seconds:.0f} s", title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for title in COLUMNS:
            table.add_column(title, no_wrap=True)
        for line in lines:
            table.add_row(*line.cells)
        self._live.update(table, refresh=True)


class _Lines:
    """Says of each QueueWorker what changed of its replicas, or at the latest after some seconds of work."""

    _EVERY_SECONDS = 5.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, tuple[object, float]] = {}

    def show(self, lines: Sequence[Line], *, seconds: float) -> None:
        for line in lines:
            change = (line.replicas, line.ready, line.ending, line.reason)
            before, when = self._said.get(line.name, (None, 0.0))
            busy = line.backlog + line.active > 0
            if change != before or (busy and seconds - when >= self._EVERY_SECONDS):
                self._said[line.name] = (change, seconds)
                facts = " ".join(
                    f"{title.lower()}={cell}" for title, cell in zip(COLUMNS[1:], line.cells[1:], strict=True)
                )
                self._console.print(f"{seconds:5.1f} s  {line.name}: {facts}", soft_wrap=True, highlight=False)
