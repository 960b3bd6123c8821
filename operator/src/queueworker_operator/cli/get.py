"""`queueworker get`: QueueWorkers, a line each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from queueworker.cli import output
from queueworker_operator.cli import access, names, rows

if TYPE_CHECKING:
    from queueworker_operator.cli.columns import Columns
    from queueworker_operator.cluster.port import JsonObject

_TOLD = 3


class Format(StrEnum):
    """How `get` prints."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("get")(get)


def get(
    name: Annotated[
        str | None, typer.Argument(help="Name of one QueueWorker.", show_default=False, callback=names.not_empty)
    ] = None,
    *,
    namespace: access.Namespace = None,
    all_namespaces: access.AllNamespaces = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on: print a line for each change.")] = False,
    output_format: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TABLE,
    context: access.Context = None,
    kubeconfig: access.Kubeconfig = None,
) -> None:
    """Show QueueWorkers: replicas, backlog, the age of the oldest job, and why there are so many.

    JSON and YAML are the objects of the API: one where a name is given, else a list of them. Exit code 3 where there
    is no such QueueWorker, 5 where the cluster cannot be used.
    """
    if name is not None and all_namespaces:
        raise typer.BadParameter("a name and --all-namespaces exclude each other")
    place = access.place_of(namespace, everywhere=all_namespaces, context=context, kubeconfig=kubeconfig)
    access.run(lambda: _get(place, name, output_format, watch=watch))


async def _get(place: access.Place, name: str | None, output_format: Format, *, watch: bool) -> None:
    from queueworker_operator.cli.watching import readings

    async with access.open_queueworkers(place) as queueworkers:
        if not watch:
            _print(await _read(queueworkers, name), output_format, single=name is not None, namespace=place.namespace)
            return
        lines = _Lines(output_format, namespace=place.namespace)
        async for found in readings(lambda: _read(queueworkers, name)):
            lines.show(found)


async def _read(queueworkers: access.QueueWorkers, name: str | None) -> list[JsonObject]:
    return await queueworkers.all() if name is None else [await queueworkers.get(name)]


def _print(found: list[JsonObject], output_format: Format, *, single: bool, namespace: str | None) -> None:
    match output_format:
        case Format.JSON:
            output.print_json(found[0] if single else found)
        case Format.YAML:
            _print_yaml(found)
        case Format.NAME:
            for one in found:
                output.line(f"queueworker.queueworker.dev/{one['metadata']['name']}")
        case _:
            if not found:
                output.message(rows.none_in(namespace))
                return
            looked = _rows(found)
            _warn(looked)
            output.print_table(*_table(looked, wide=output_format is Format.WIDE, everywhere=namespace is None))


def _print_yaml(found: list[JsonObject]) -> None:
    import yaml

    output.block(yaml.safe_dump_all(found, sort_keys=False))


def _rows(found: Sequence[JsonObject]) -> list[rows.Row]:
    now = datetime.now(UTC)
    return [rows.row_of(one, now=now) for one in found]


def _warn(found: Sequence[rows.Row]) -> None:
    """Say on stderr whose numbers are not of the present."""
    stale = [row for row in found if row.stale is not None]
    for row in stale[:_TOLD]:
        output.message(f"warning: {row.namespace}/{row.name}: {row.stale}")
    if len(stale) > _TOLD:
        output.message(f"warning: {len(stale) - _TOLD} more of which the status is not of the present")


def _table(
    lines: Sequence[rows.Row], *, wide: bool, everywhere: bool
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    now = datetime.now(UTC)
    columns = rows.COLUMNS + (rows.WIDE if wide else ())
    cells = [rows.cells(row, now=now, wide=wide) for row in lines]
    if not everywhere:
        return columns, cells
    return ("NAMESPACE", *columns), [(row.namespace, *line) for row, line in zip(lines, cells, strict=True)]


class _Lines:
    """Prints what changed, an object or a line at a time."""

    def __init__(self, output_format: Format, *, namespace: str | None) -> None:
        self._format = output_format
        self._namespace = namespace
        self._seen: dict[str, str] | None = None
        self._columns: Columns | None = None
        self._warned: set[tuple[str, str]] = set()

    def show(self, found: Sequence[JsonObject]) -> None:
        """Print those that are not as they were."""
        if not found and self._seen is None:
            output.message(rows.none_in(self._namespace))
        before = self._seen or {}
        self._warn_once(_rows(found))
        changed = [one for one in found if before.get(one["metadata"]["uid"]) != one["metadata"]["resourceVersion"]]
        self._seen = {one["metadata"]["uid"]: one["metadata"]["resourceVersion"] for one in found}
        if self._format in (Format.TABLE, Format.WIDE):
            self._show_lines(changed)
        else:
            for one in changed:
                _print([one], self._format, single=True, namespace=self._namespace)
        sys.stdout.flush()

    def _show_lines(self, changed: Sequence[JsonObject]) -> None:
        from queueworker_operator.cli.columns import Columns

        headers, cells = _table(_rows(changed), wide=self._format is Format.WIDE, everywhere=self._namespace is None)
        self._columns = self._columns or Columns(headers)
        for line in self._columns.lines(cells):
            output.row(line)

    def _warn_once(self, found: Sequence[rows.Row]) -> None:
        stale = {(row.namespace, row.name): row for row in found if row.stale is not None}
        _warn([row for key, row in stale.items() if key not in self._warned])
        self._warned = set(stale)
