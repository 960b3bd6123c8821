"""Lines that come one after the other, below one another (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from queueworker.cli.output import clean

_CHANGING = {"REASON": 22, "READY?": 7}
"""Room for values that will come, where the first ones are shorter."""


class Columns:
    """Keeps the widths of what was printed: a longer value later moves the lines from there on, and no others."""

    def __init__(self, headers: Sequence[str], *, least: Mapping[str, int] = _CHANGING) -> None:
        self._headers = headers
        self._widths = [max(cell_len(header), least.get(header, 0)) for header in headers]
        self._headed = False

    def lines(self, rows: Sequence[Sequence[object]]) -> list[str]:
        """Return rows as lines, None as a dash, at the first time below the headers; an empty list for no rows."""
        cells = [["-" if cell is None else clean(str(cell)) for cell in row] for row in rows]
        for row in cells:
            self._widths = [max(width, cell_len(cell)) for width, cell in zip(self._widths, row, strict=True)]
        if cells and not self._headed:
            self._headed = True
            cells.insert(0, list(self._headers))
        return [self._line(row) for row in cells]

    def _line(self, row: Sequence[str]) -> str:
        # What stands last may be a whole sentence: nothing stands behind it.
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, self._widths, strict=True))
        return "  ".join(padded).rstrip()
