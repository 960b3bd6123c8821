"""The pods of workers: listed by selector in pages, and what the decision sees of each."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.errors import one_line
from queueworker_operator.cluster.kubernetes.requests import Requests, path_of
from queueworker_operator.cluster.kubernetes.trouble import (
    condition_of,
    has_failed,
    lasting_trouble_of,
    past_trouble_of,
    trouble_of,
    waiting_for,
)
from queueworker_operator.cluster.port import ClusterError, JsonObject
from queueworker_operator.scaling.observation import Pod, Problem

COST_ANNOTATION: Final = "controller.kubernetes.io/pod-deletion-cost"
"""Of the pods of a ReplicaSet the one with the lowest goes first among equally ready ones (KEP-2255)."""
DEFAULT_GRACE_SECONDS: Final = 30
LIST_SECONDS: Final = 5.0
"""How long a decision waits for a list of pods; more than ten pages come in that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """The pods of a selector."""

    pods: tuple[Pod, ...] | None = None
    """None where they could not be listed; pods that have ended are left out."""
    problem: Problem | None = None
    """Why one of them is not ready; with the reason Pending where it only waits for a node.

    Where they could not be listed, why: Pending where it is worth another try, as of a server that is busy.
    """
    grace_seconds: int | None = None
    """The longest of their grace periods."""

    @property
    def ready(self) -> int:
        """How many are ready."""
        return sum(pod.ready for pod in self.pods or ())


async def list_pods(requests: Requests, namespace: str, selector: str, *, whose: str) -> Pods:
    """List the pods of a selector; `whose` is for the problem where they cannot be listed. Raises nothing."""
    path, attempt = path_of("api", "v1", "namespaces", namespace, "pods"), f"list the pods of {whose}"
    pods = requests.items(path, attempt=attempt, labelSelector=selector)
    # The pods explain and refine: that they cannot be seen, now or at all, must not stop the scaling.
    try:
        async with asyncio.timeout(LIST_SECONDS):
            return pods_of([_needed(pod) async for pod in pods])
    except TimeoutError:
        message = f"cannot {attempt}: no answer in {LIST_SECONDS:g} s"
        return Pods(problem=Problem(reason=ConditionReason.PENDING, message=message))
    except ClusterError as error:
        return Pods(problem=Problem(reason=error.reason, message=str(error)))


def pods_of(found: Iterable[JsonObject]) -> Pods:
    """Return what the decision sees of pods as the API server sent them."""
    listed = sorted(found, key=_age)
    graces = [(pod.get("spec") or {}).get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS) for pod in listed]
    return Pods(
        pods=tuple(pod_of(pod) for pod in listed if not has_failed(pod)),
        problem=pod_problem(listed),
        grace_seconds=max(graces, default=None),
    )


def pod_of(pod: JsonObject) -> Pod:
    """Return one pod."""
    metadata = pod["metadata"]
    ready, scheduled = condition_of(pod, "Ready"), condition_of(pod, "PodScheduled")
    is_ready = ready.get("status") == "True"
    trouble = past_trouble_of(pod) if is_ready else lasting_trouble_of(pod)
    return Pod(
        name=metadata["name"],
        ready=is_ready,
        terminating="deletionTimestamp" in metadata,
        created_at=_seconds(metadata.get("creationTimestamp")) or 0.0,
        scheduled_at=_seconds(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        ready_at=_seconds(ready.get("lastTransitionTime")) if is_ready else None,
        unready_since=_seconds(ready.get("lastTransitionTime")) if not is_ready else None,
        problem=_problem(pod, trouble, ConditionReason.WORKERS_NOT_READY) if trouble is not None else None,
        deletion_cost=_cost(metadata.get("annotations") or {}),
    )


def pod_problem(found: Iterable[JsonObject]) -> Problem | None:
    """Return why the oldest pod that suffers is not ready, else what the oldest one waits for (reason Pending).

    A pod that has failed for good speaks only as long as nothing newer has come in its place, one of which a container
    failed just once only where no other keeps failing.
    """
    once: Problem | None = None
    waiting: Problem | None = None
    listed = [pod for pod in sorted(found, key=_age) if "deletionTimestamp" not in pod["metadata"]]
    newest = max((_created(pod) for pod in listed if not has_failed(pod)), default="")
    for pod in listed:
        if condition_of(pod, "Ready").get("status") == "True" or (has_failed(pod) and _created(pod) < newest):
            continue
        if (lasting := lasting_trouble_of(pod)) is not None:
            return _problem(pod, lasting, ConditionReason.WORKERS_NOT_READY)
        if once is None and (trouble := trouble_of(pod)) is not None:
            once = _problem(pod, trouble, ConditionReason.WORKERS_NOT_READY)
        if waiting is None and (said := waiting_for(pod)) is not None:
            waiting = _problem(pod, said, ConditionReason.PENDING)
    return once or waiting


def _problem(pod: JsonObject, said: str, reason: ConditionReason) -> Problem:
    return Problem(reason=reason, message=one_line(f"pod {pod['metadata']['name']}: {said}"))


def _needed(pod: JsonObject) -> JsonObject:
    """Return the parts that are looked at: of thousands of pods the rest is freed page by page."""
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    kept = ("name", "creationTimestamp", "deletionTimestamp", "annotations")
    return {
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {name: spec[name] for name in ("terminationGracePeriodSeconds",) if name in spec},
        "status": pod.get("status") or {},
    }


def _age(pod: JsonObject) -> tuple[str, str]:
    return _created(pod), pod["metadata"]["name"]


def _created(pod: JsonObject) -> str:
    return str(pod["metadata"].get("creationTimestamp") or "")


def _seconds(time: str | None) -> float | None:
    return datetime.fromisoformat(time).timestamp() if time else None


def _cost(annotations: Mapping[str, str]) -> int | None:
    try:
        return int(annotations[COST_ANNOTATION])
    except (KeyError, ValueError):
        return None
