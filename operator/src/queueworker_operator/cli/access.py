"""How the commands that look at a cluster reach it: options, credentials, QueueWorkers, exit codes."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from queueworker.cli import session
from queueworker.cli.codes import NOT_FOUND
from queueworker.cli.output import message

if TYPE_CHECKING:
    from queueworker_operator.cluster.kubernetes import Requests
    from queueworker_operator.cluster.port import JsonObject

T = TypeVar("T")
CLUSTER = 5
"""Exit code: the cluster cannot be reached, or denies what is needed."""
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_PAGE = "500"
_INSTALL = "the CRD is not installed: queueworker crd | kubectl apply -f -"

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace; that of the kubeconfig's context without it.")
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", help="All namespaces.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]
Kubeconfig = Annotated[str | None, typer.Option(help="Kubeconfig; KUBECONFIG or the default one without it.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which cluster and namespace; None for the namespace means all of them."""

    namespace: str | None
    kubeconfig: str | None = None
    context: str | None = None


def place_of(
    namespace: str | None, *, everywhere: bool = False, context: str | None = None, kubeconfig: str | None = None
) -> Place:
    """Return the place that the options name; without a namespace the one that the user is in."""
    # What is wrong with a kubeconfig is our one line to say.
    logging.getLogger("kubernetes").setLevel(logging.ERROR)
    found = None if everywhere else namespace or _own_namespace(kubeconfig, context)
    return Place(namespace=found, kubeconfig=kubeconfig, context=context)


class QueueWorkers:
    """The QueueWorkers of a place, as the API server holds them."""

    def __init__(self, requests: Requests, place: Place) -> None:
        self._requests = requests
        self._namespace = place.namespace

    async def all(self) -> list[JsonObject]:
        """Return all of them by namespace and name; raises ClusterError."""
        from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
        from queueworker_operator.cluster.kubernetes.requests import path_of

        within = ("namespaces", self._namespace) if self._namespace else ()
        where = f"in {self._namespace}" if self._namespace else "in all namespaces"
        path = path_of("apis", GROUP, VERSION, *within, PLURAL)
        kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "QueueWorker"}
        items = self._requests.items(path, attempt=f"list the QueueWorkers {where}", limit=_PAGE)
        found = [kind | item async for item in items]
        return sorted(found, key=lambda one: (one["metadata"]["namespace"], one["metadata"]["name"]))

    async def get(self, name: str) -> JsonObject:
        """Return one of them; raises NotFoundError and ClusterError."""
        from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
        from queueworker_operator.cluster.kubernetes.requests import path_of

        path = path_of("apis", GROUP, VERSION, "namespaces", self._namespace or "default", PLURAL, name)
        return await self._requests.get(path, attempt=f"read the QueueWorker {self._namespace}/{name}")

    async def pods(self, selector: str) -> list[JsonObject]:
        """Return the pods that a selector finds; raises ClusterError."""
        from queueworker_operator.cluster.kubernetes.requests import path_of

        path = path_of("api", "v1", "namespaces", self._namespace or "default", "pods")
        items = self._requests.items(path, attempt="list the pods", labelSelector=selector, limit=_PAGE)
        return [item async for item in items]


@asynccontextmanager
async def open_queueworkers(place: Place) -> AsyncIterator[QueueWorkers]:
    """Yield the QueueWorkers of a place; raises ClusterError where there is no way to the cluster."""
    from queueworker_operator.cluster.kubernetes import Requests
    from queueworker_operator.cluster.port import ClusterError

    try:
        requests = await Requests.connect(kubeconfig=place.kubeconfig, context=place.context)
    except ClusterError as error:
        raise ClusterError(
            f"{error} (`queueworker up` has no cluster: it shows what it runs)", reason=error.reason
        ) from None
    try:
        yield QueueWorkers(requests, place)
    finally:
        await requests.close()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """Run a command's work; ends the command with exit code 3 for what is not there, 5 for the cluster's refusals."""
    from queueworker_operator.cluster.kubernetes.errors import NotFoundError, UnknownKindError
    from queueworker_operator.cluster.port import ClusterError

    try:
        return session.run(work())
    except UnknownKindError as error:
        message(f"error: {error}: {_INSTALL}")
        raise typer.Exit(CLUSTER) from None
    except NotFoundError as error:
        message(f"error: {error}")
        raise typer.Exit(NOT_FOUND) from None
    except ClusterError as error:
        message(f"error: {error}")
        raise typer.Exit(CLUSTER) from None


def _own_namespace(kubeconfig: str | None, context: str | None) -> str:
    import yaml
    from kubernetes.aio.config import ConfigException, list_kube_config_contexts

    if kubeconfig is None and context is None and _POD_NAMESPACE.exists():
        return _POD_NAMESPACE.read_text(encoding="ascii").strip()
    try:
        contexts, current = list_kube_config_contexts(  # type: ignore[no-untyped-call]
            kubeconfig or os.environ.get("KUBECONFIG") or None
        )
    except (ConfigException, OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        # Whoever connects next says what is wrong with it.
        return "default"
    chosen = next((one for one in contexts if one["name"] == context), current) if context else current
    return str(((chosen or {}).get("context") or {}).get("namespace") or "default")
