"""How `top` stands on a terminal: one line for each QueueWorker, as many as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Column, Table
from rich.text import Text

from queueworker.cli.output import clean
from queueworker_operator.cli.layout import COURSE, widths

_RIGHT = frozenset({"BACKLOG", "ACTIVE", "OLDEST"})
_ROOMY = 100
"""Terminal columns from which on two blanks stand between the columns of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Drawn by rich in the room that there is."""

    note: str
    """The first line."""
    headers: Sequence[str]
    lines: Sequence[Sequence[str]]
    wrong: int
    """How many of the first lines are of QueueWorkers that something is wrong with."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the note, the table and how many lines are left out."""
        yield Text(clean(self.note), no_wrap=True, overflow="ellipsis")
        if not self.lines:
            return
        height = (options.height or console.height) - 2
        shown = len(self.lines) if len(self.lines) <= height else max(0, height - 1)
        yield self._table(options.max_width, shown)
        if shown < len(self.lines):
            yield Text(f"… and {len(self.lines) - shown} more", no_wrap=True)

    def _table(self, width: int, shown: int) -> Table:
        gap = 2 if width >= _ROOMY else 1
        room = widths(self.headers, self._natural(), width=width, gap=gap)
        kept = [index for index, one in enumerate(room) if one > 0]
        columns = (self._column(self.headers[index], room[index]) for index in kept)
        table = Table(*columns, box=None, pad_edge=False, padding=(0, gap, 0, 0))
        for number, line in enumerate(self.lines[:shown]):
            table.add_row(*self._cells(line, [(index, room[index]) for index in kept], wrong=number < self.wrong))
        return table

    def _column(self, header: str, width: int) -> Column:
        justify: JustifyMethod = "right" if header in _RIGHT else "left"
        return Column(header, justify=justify, width=width, no_wrap=True, overflow="ellipsis")

    def _natural(self) -> list[int]:
        return [max(map(cell_len, column)) for column in zip(self.headers, *self.lines, strict=True)]

    def _cells(self, line: Sequence[str], kept: Sequence[tuple[int, int]], *, wrong: bool) -> Iterator[Text]:
        for index, width in kept:
            # Of a course the newest end counts.
            text = line[index][-width:] if self.headers[index] == COURSE else line[index]
            yield Text(text, style="red" if wrong and index == len(line) - 1 else "")
