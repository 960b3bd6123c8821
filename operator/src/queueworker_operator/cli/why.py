"""`queueworker why`: the arithmetic behind the number of replicas of one QueueWorker."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from queueworker.cli import output
from queueworker_operator.cli import access, names

if TYPE_CHECKING:
    from queueworker_operator.cluster.port import JsonObject

_NOTHING = object()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("why")(why)


def why(
    name: Annotated[str, typer.Argument(help="Name of the QueueWorker.", show_default=False, callback=names.not_empty)],
    *,
    namespace: access.Namespace = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on: print it anew whenever it changes.")] = False,
    output_format: Annotated[output.Format, typer.Option("-o", "--output", help="Print text or JSON.")] = (
        output.Format.TABLE
    ),
    context: access.Context = None,
    kubeconfig: access.Kubeconfig = None,
) -> None:
    """Explain the number of replicas: what was read, what each rule asks for, what holds it, and what comes next.

    It reads the status that the operator writes, and the pods, and no Redis. JSON: name, namespace, reason, message,
    desired, replicas, ready_replicas, observed_at, lines (label, queue, before, after, detail), next (at, text),
    would_change, wrong, history, pods, commands. Exit code 3 where there is no such QueueWorker, 5 where the cluster
    cannot be used.
    """
    place = access.place_of(namespace, context=context, kubeconfig=kubeconfig)
    access.run(lambda: _why(place, name, output_format, watch=watch))


async def _why(place: access.Place, name: str, output_format: output.Format, *, watch: bool) -> None:
    from queueworker_operator.cli.watching import readings

    async with access.open_queueworkers(place) as queueworkers:
        if not watch:
            await _tell(queueworkers, await queueworkers.get(name), output_format)
            return
        said: object = _NOTHING
        async for document in readings(lambda: queueworkers.get(name)):
            news = _news(document)
            if news == said:
                continue
            if said is not _NOTHING and output_format is output.Format.TABLE:
                output.line("")
            await _tell(queueworkers, document, output_format)
            said = news


def _news(document: JsonObject) -> object:
    """Return what is worth to be told anew. By itself time alone makes a status stale."""
    from queueworker_operator.cli.rows import row_of

    problems = row_of(document, now=datetime.now(UTC)).problems
    return document.get("status"), document.get("spec"), document["metadata"].get("annotations"), problems


async def _tell(queueworkers: access.QueueWorkers, document: JsonObject, output_format: output.Format) -> None:
    from queueworker_operator.cli.explanation import explanation_of
    from queueworker_operator.cli.explanation_text import as_text

    found = explanation_of(document, await _pods(queueworkers, document), now=datetime.now(UTC))
    if output_format is output.Format.JSON:
        output.print_json(found.as_json())
    else:
        output.block(as_text(found))
    sys.stdout.flush()


async def _pods(queueworkers: access.QueueWorkers, document: JsonObject) -> list[dict[str, Any]] | None:
    """Return the pods; None where they may not be listed: the number can be explained without them."""
    from queueworker_operator.cluster.port import ClusterError

    selector = (document.get("status") or {}).get("selector")
    if not selector:
        return []
    try:
        return await queueworkers.pods(selector)
    except ClusterError as error:
        output.message(f"warning: {error}")
        return None
