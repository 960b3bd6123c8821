"""Why pods are not ready, in the words of who keeps them from it."""

from collections.abc import Iterable
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.errors import one_line
from queueworker_operator.cluster.kubernetes.requests import Requests, path_of
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, JsonObject, Key
from queueworker_operator.manifests.names import selector
from queueworker_operator.scaling.observation import Problem

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})

_LOOKED_AT: Final = "250"


async def read_pod_problem(requests: Requests, key: Key) -> Problem | None:
    """List the pods of a QueueWorker and return `pod_problem` of them; raises ClusterUnavailableError."""
    try:
        pods = await requests.get(
            path_of("api", "v1", "namespaces", key.namespace, "pods"),
            attempt=f"list the pods of the Deployment {key}",
            labelSelector=selector(key.name),
            limit=_LOOKED_AT,
        )
    except ClusterUnavailableError:
        raise
    except ClusterError as error:
        # The pods only explain: not to be allowed to see them must not stop the scaling.
        return Problem(reason=error.reason, message=str(error))
    return pod_problem(pods["items"])


def pod_problem(pods: Iterable[JsonObject]) -> Problem | None:
    """Return why the oldest pod that is not ready is not, or None where all that are not ready are just starting."""
    for pod in sorted(pods, key=_age):
        if "deletionTimestamp" in pod["metadata"] or _is_ready(pod):
            continue
        trouble = _trouble(pod.get("status") or {})
        if trouble is not None:
            message = one_line(f"pod {pod['metadata']['name']}: {trouble}")
            return Problem(reason=ConditionReason.WORKERS_NOT_READY, message=message)
    return None


def _age(pod: JsonObject) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def _is_ready(pod: JsonObject) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _trouble(status: JsonObject) -> str | None:
    if status.get("phase") == "Failed":
        return _said(status.get("reason") or "Failed", status.get("message"))
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _said(condition.get("reason") or "Unschedulable", condition.get("message"))
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((trouble for trouble in map(_container_trouble, statuses) if trouble is not None), None)


def _container_trouble(container: JsonObject) -> str | None:
    """Return what a container suffers from; never its termination message, which is the program's own output."""
    state = container.get("state") or {}
    waiting = state.get("waiting")
    ended = _ending((container.get("lastState") or {}).get("terminated"))
    if waiting and waiting.get("reason") not in _STARTING:
        said = _said(waiting.get("reason") or "waiting", waiting.get("message"))
        return f"container {container['name']}: {said}" + (f", {ended}" if ended else "")
    now = _ending(state.get("terminated"))
    if now is not None:
        return f"container {container['name']} {now}"
    if ended is not None and not container.get("ready"):
        return f"container {container['name']} was restarted {container.get('restartCount', 0)} times, {ended}"
    return None


def _ending(terminated: JsonObject | None) -> str | None:
    if not terminated or terminated.get("exitCode") == 0:
        return None
    return f"ended with exit code {terminated.get('exitCode')} ({terminated.get('reason') or 'Error'})"


def _said(reason: str, message: str | None) -> str:
    return f"{reason}: {message}" if message else reason
