"""Who goes first: the deletion costs of pods."""

import asyncio
from collections.abc import Mapping
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.kubernetes.fields import REPLICAS_MANAGER
from queueworker_operator.cluster.kubernetes.pods import COST_ANNOTATION
from queueworker_operator.cluster.kubernetes.requests import MERGE_PATCH, Requests, path_of
from queueworker_operator.cluster.port import ClusterError

_AT_ONCE: Final = 10


async def set_deletion_costs(requests: Requests, namespace: str, costs: Mapping[str, int | None]) -> None:
    """Annotate pods by name, or take the annotation away where the cost is None; pods that are gone are passed over.

    All are tried. Raises the first ClusterError: what was written by then stays written.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def write(pod: str, cost: int | None) -> None:
        async with gate:
            await _write(requests, namespace, pod, cost)

    written = await asyncio.gather(*(write(pod, cost) for pod, cost in costs.items()), return_exceptions=True)
    for result in written:
        if isinstance(result, BaseException):
            raise result


async def _write(requests: Requests, namespace: str, pod: str, cost: int | None) -> None:
    value = None if cost is None else str(cost)
    try:
        await requests.send(
            "PATCH",
            path_of("api", "v1", "namespaces", namespace, "pods", pod),
            attempt=f"set the deletion cost of the pod {namespace}/{pod}",
            query={"fieldManager": REPLICAS_MANAGER},
            body={"metadata": {"annotations": {COST_ANNOTATION: value}}},
            content_type=MERGE_PATCH,
        )
    except NotFoundError:
        return
    except ClusterError as error:
        if error.reason is not ConditionReason.CLUSTER_DENIED:
            raise
        remedy = "grant the operator the verb patch on pods, without it idle pods are not preferred in a scale-in"
        raise ClusterError(f"{error}; {remedy}", reason=error.reason) from error
