"""`queueworker top`: all QueueWorkers in a table that goes on."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from queueworker.cli import output
from queueworker.cli.output import clean, duration
from queueworker_operator.cli import access, rows
from queueworker_operator.cli.layout import COURSE, LAST
from queueworker_operator.cli.sparkline import sparkline

if TYPE_CHECKING:
    from queueworker_operator.cli.screen import Screen

WIDTH = 20
COLUMNS = ("NAME", "QUEUE", "REPLICAS", COURSE, "BACKLOG", COURSE, "ACTIVE", "OLDEST", LAST)


class Order(StrEnum):
    """What stands on top, below what is wrong."""

    BACKLOG = "backlog"
    OLDEST = "oldest"
    REPLICAS = "replicas"
    NAME = "name"


@dataclass(slots=True)
class _Course:
    """The last numbers of one QueueWorker."""

    replicas: deque[float | None] = field(default_factory=lambda: deque(maxlen=WIDTH))
    backlog: deque[float | None] = field(default_factory=lambda: deque(maxlen=WIDTH))


class Board:
    """Keeps what was seen and draws it."""

    def __init__(self, *, order: Order, everywhere: bool) -> None:
        self._order = order
        self._everywhere = everywhere
        self._courses: dict[tuple[str, str], _Course] = {}
        self._rows: list[rows.Row] = []

    def take(self, found: Sequence[rows.Row]) -> None:
        """Add one look at all of them."""
        seen = {(row.namespace, row.name): row for row in found}
        self._courses = {key: self._courses.get(key) or _Course() for key in seen}
        for key, row in seen.items():
            self._courses[key].replicas.append(row.replicas)
            self._courses[key].backlog.append(row.backlog)
        self._rows = sorted(found, key=lambda row: (not row.problems, *_rank(row, self._order)))

    @property
    def wrong(self) -> int:
        """With how many something is wrong: they come first."""
        return sum(bool(row.problems) for row in self._rows)

    def summary(self) -> str:
        """Return how many there are; nothing where there are none."""
        number = len(self._rows)
        if not number:
            return ""
        wrong = f", {self.wrong} with something wrong" if self.wrong else ""
        return f"{number} QueueWorker{'' if number == 1 else 's'}{wrong}"

    def cells(self) -> list[tuple[str, ...]]:
        """Return the lines as texts, in their order; what is not known is a question mark."""
        return [self._line(row) for row in self._rows]

    def columns(self) -> tuple[str, ...]:
        """Return the headers."""
        return ("NAMESPACE", *COLUMNS) if self._everywhere else COLUMNS

    def _line(self, row: rows.Row) -> tuple[str, ...]:
        course = self._courses[row.namespace, row.name]
        known = row.backlog is not None
        line = (
            row.name,
            clean(rows.queues_text(row.queues)),
            _replicas(row),
            sparkline(list(course.replicas), width=WIDTH),
            str(row.backlog) if known else "?",
            sparkline(list(course.backlog), width=WIDTH),
            str(row.active) if row.active is not None else "?",
            duration(row.oldest_age_seconds) or ("-" if known else "?"),
            clean("; ".join(row.problems) or _why(row)),
        )
        return (row.namespace, *line) if self._everywhere else line


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("top")(top)


def top(
    *,
    namespace: access.Namespace = None,
    all_namespaces: access.AllNamespaces = False,
    sort: Annotated[Order, typer.Option(help="What stands on top, below what is wrong.")] = Order.BACKLOG,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5, max=60)] = 2.0,
    context: access.Context = None,
    kubeconfig: access.Kubeconfig = None,
) -> None:
    """Show all QueueWorkers in a table that goes on, with their backlog and replicas over time; Ctrl-C ends it.

    Those that something is wrong with come first. What is wrong stands in the last column, else why there are so many
    replicas; `why` has it at length. A narrow terminal leaves out the course over time first. Where stdout is no
    terminal it prints the table once. Exit code 5 where the cluster cannot be used.
    """
    place = access.place_of(namespace, everywhere=all_namespaces, context=context, kubeconfig=kubeconfig)
    board = Board(order=sort, everywhere=place.namespace is None)
    access.run(lambda: _top(place, board, interval))


async def _top(place: access.Place, board: Board, interval: float) -> None:
    async with access.open_queueworkers(place) as queueworkers:
        if sys.stdout.isatty():
            await _live(queueworkers, board, interval, none=rows.none_in(place.namespace))
            return
        board.take(await _looked(queueworkers))
        if cells := board.cells():
            output.print_table(board.columns(), cells)
        else:
            output.message(rows.none_in(place.namespace))


async def _live(queueworkers: access.QueueWorkers, board: Board, interval: float, *, none: str) -> None:
    import asyncio

    from rich.live import Live

    from queueworker_operator.cluster.port import ClusterUnavailableError

    at = ""
    # The alternate screen: what stood there before comes back at the end.
    with Live(screen=True, auto_refresh=False) as live:
        while True:
            try:
                board.take(await _looked(queueworkers))
                at = f"{datetime.now(UTC):%H:%M:%S} UTC"
                note = f"{board.summary() or none}, as of {at}"
            except ClusterUnavailableError as error:
                note = f"from {at}, no news since: {error}" if at else f"no news yet: {error}"
            live.update(_drawn(board, note), refresh=True)
            await asyncio.sleep(interval)


async def _looked(queueworkers: access.QueueWorkers) -> list[rows.Row]:
    found, now = await queueworkers.all(), datetime.now(UTC)
    return [rows.row_of(one, now=now) for one in found]


def _drawn(board: Board, note: str) -> Screen:
    from queueworker_operator.cli.screen import Screen

    return Screen(note=note, headers=board.columns(), lines=board.cells(), wrong=board.wrong)


def _rank(row: rows.Row, order: Order) -> tuple[object, ...]:
    number: float | None
    match order:
        case Order.BACKLOG:
            number = row.backlog
        case Order.OLDEST:
            number = row.oldest_age_seconds
        case Order.REPLICAS:
            number = row.replicas
        case Order.NAME:
            return row.namespace, row.name
    return -(number if number is not None else -1), row.namespace, row.name


def _why(row: rows.Row) -> str:
    from queueworker_operator.scaling.explain.words import without_head

    # Another column has the number.
    return without_head(row.message) if row.message else row.reason or "-"


def _replicas(row: rows.Row) -> str:
    number = "?" if row.replicas is None else str(row.replicas)
    if row.ready_replicas is not None and row.ready_replicas != row.replicas:
        number = f"{row.ready_replicas}/{number}"
    if row.desired is not None and row.replicas is not None and row.desired != row.replicas:
        number = f"{number}→{row.desired}"
    return number if row.maximum is None else f"{number} of {row.minimum}-{row.maximum}"
