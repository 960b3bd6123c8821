"""All objects that the operator serves, read at once."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from queueworker_operator.cluster.kubernetes.errors import strange_answer
from queueworker_operator.cluster.kubernetes.requests import METADATA_LIST, Requests, path_of
from queueworker_operator.cluster.port import JsonObject
from queueworker_operator.manifests.names import SELECTOR_LABEL

_AT_START: Final = "2000"
_WORKERS: Final = "list the workers"
"""Items of a page at a start: 1 000 QueueWorkers in two pages cost the server four times what they cost in one."""


async def list_queueworkers(requests: Requests, namespaces: Sequence[str]) -> AsyncIterator[JsonObject]:
    """Read all QueueWorkers, in all namespaces where none is named; raises ClusterError."""
    for namespace in namespaces or (None,):
        path = _queueworkers(namespace)
        async for item in requests.items(path, attempt=_attempt(namespace), limit=_AT_START):
            yield item


async def list_deployments(requests: Requests, namespaces: Sequence[str]) -> AsyncIterator[JsonObject]:
    """Read all Deployments with our label, in all namespaces where none is named; raises ClusterError."""
    for namespace in namespaces or (None,):
        path, query = _deployments(namespace), {"labelSelector": SELECTOR_LABEL, "limit": _AT_START}
        async for item in requests.items(path, attempt=_WORKERS, **query):
            yield item


async def queueworker_uids(requests: Requests, namespaces: Sequence[str]) -> set[str]:
    """Return the uids of all QueueWorkers, in all namespaces where none is named; raises ClusterError."""
    uids: set[str] = set()
    for namespace in namespaces or (None,):
        attempt = _attempt(namespace)
        items = requests.items(_queueworkers(namespace), attempt=attempt, accept=METADATA_LIST)
        uids |= {_uid(item, attempt=attempt) async for item in items}
    return uids


async def deployment_uids(requests: Requests, namespaces: Sequence[str]) -> set[str]:
    """Return the uids of all Deployments with our label, in all namespaces where none is named; raises ClusterError."""
    uids: set[str] = set()
    for namespace in namespaces or (None,):
        items = requests.items(
            _deployments(namespace), attempt=_WORKERS, accept=METADATA_LIST, labelSelector=SELECTOR_LABEL
        )
        uids |= {_uid(item, attempt=_WORKERS) async for item in items}
    return uids


def _uid(item: JsonObject, *, attempt: str) -> str:
    uid = item["metadata"].get("uid")
    if not isinstance(uid, str):
        # Without it, what is there would be taken for gone.
        raise strange_answer(attempt, "no list")
    return uid


def _queueworkers(namespace: str | None) -> str:
    return path_of("apis", GROUP, VERSION, *_within(namespace), PLURAL)


def _deployments(namespace: str | None) -> str:
    return path_of("apis", "apps", "v1", *_within(namespace), "deployments")


def _attempt(namespace: str | None) -> str:
    return f"list the QueueWorkers {f'in {namespace}' if namespace is not None else 'in all namespaces'}"


def _within(namespace: str | None) -> tuple[str, ...]:
    return ("namespaces", namespace) if namespace is not None else ()
