"""What a targetRef names: observed and scaled through its scale subresource, and nothing else of it written."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import TargetRef
from queueworker_operator.cluster.kubernetes.deployments import (
    Deployment,
    is_target_rolled_out,
    ownership_of,
    rollout_problem,
)
from queueworker_operator.cluster.kubernetes.discovery import Discovery, Kind
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.kubernetes.fields import REPLICAS_MANAGER
from queueworker_operator.cluster.kubernetes.pods import list_pods
from queueworker_operator.cluster.kubernetes.requests import MERGE_PATCH, Requests
from queueworker_operator.cluster.kubernetes.statefulsets import is_set_rolled_out
from queueworker_operator.cluster.port import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    JsonObject,
    Key,
    Resource,
)
from queueworker_operator.cluster.rivals import Target
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation

_RECENT_SECONDS: Final = 5.0
"""No watch tells of targets: so long a look that need not be fresh may repeat the one before."""
_DEPLOYMENTS: Final = ("apps", "deployments")
_STATEFUL_SETS: Final = ("apps", "statefulsets")


class Targets:
    """Observes and scales by /scale."""

    def __init__(self, requests: Requests, *, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._discovery = Discovery(requests, clock=clock)
        self._clock = clock
        self._seen: dict[Key, tuple[float, TargetRef, WorkersObservation]] = {}

    async def observe(
        self, resource: Resource, reference: TargetRef, *, fresh: bool, pods: bool | None
    ) -> WorkersObservation:
        """Return the target, with its pods unless `pods` is None; what is not there or not allowed is a problem of it.

        Raises ClusterUnavailableError and ConflictError.
        """
        known = self._seen.get(resource.key)
        if not fresh and known is not None and known[1] == reference and self._is_recent(known[0]):
            unlisted = pods and known[2].pods is None and known[2].selector
            if not unlisted:
                return known[2]
        try:
            seen = await self._look(resource.key.namespace, reference, pods=pods)
        except ClusterUnavailableError:
            raise
        except ClusterError as error:
            problem = _problem(error, resource.key.namespace, reference)
            seen = WorkersObservation(ownership=Ownership.TARGET, target_problem=problem)
        self._seen = {key: entry for key, entry in self._seen.items() if self._is_recent(entry[0])}
        self._seen[resource.key] = (self._clock(), reference, seen)
        return seen

    async def scale(
        self, resource: Resource, reference: TargetRef, observed: WorkersObservation, *, replicas: int
    ) -> None:
        """Write the number, on the target as it was observed; raises ClusterError."""
        shown = _shown(resource.key.namespace, reference)
        if observed.resource_version is None:
            raise ConflictError(f"{shown} was not there when it was looked at")
        self._seen.pop(resource.key, None)
        kind = await self._kind(resource.key.namespace, reference)
        precondition = {"resourceVersion": observed.resource_version}
        try:
            await self._requests.send(
                "PATCH",
                f"{kind.object(resource.key.namespace, reference.name)}/scale",
                attempt=f"scale {shown} to {replicas}",
                query={"fieldManager": REPLICAS_MANAGER},
                body={"metadata": precondition, "spec": {"replicas": replicas}},
                content_type=MERGE_PATCH,
            )
        except ClusterError as error:
            if error.reason is not ConditionReason.CLUSTER_DENIED:
                raise
            raise ClusterError(f"{error}; {_remedy(reference)}", reason=error.reason) from error

    def _is_recent(self, at: float) -> bool:
        return self._clock() - at < _RECENT_SECONDS

    async def _kind(self, namespace: str, reference: TargetRef) -> Kind:
        kind = await self._discovery.kind(reference)
        if kind is None:
            message = f"the API server has no {reference.kind} of {reference.api_version}; check spec.targetRef"
            raise ClusterError(message, reason=ConditionReason.TARGET_NOT_FOUND)
        if not kind.scales:
            message = f"{_shown(namespace, reference)} has no scale subresource: it cannot be a spec.targetRef"
            raise ClusterError(message, reason=ConditionReason.TARGET_NOT_FOUND)
        return kind

    async def _look(self, namespace: str, reference: TargetRef, *, pods: bool | None) -> WorkersObservation:
        shown = _shown(namespace, reference)
        kind = await self._kind(namespace, reference)
        path = kind.object(namespace, reference.name)
        scale = await self._requests.get(f"{path}/scale", attempt=f"read the scale of {shown}")
        workers = replace(_scaled(scale), ordinal=(kind.group, kind.plural) == _STATEFUL_SETS)
        rolled = await self._with_rollout(workers, kind, path, shown)
        return rolled if pods is None else await self._with_pods(rolled, namespace, shown)

    async def _with_rollout(self, workers: WorkersObservation, kind: Kind, path: str, shown: str) -> WorkersObservation:
        """Add how far the rollout is, where the kind is known and may be read; else none is under way."""
        if (kind.group, kind.plural) not in (_DEPLOYMENTS, _STATEFUL_SETS):
            return workers
        try:
            found = await self._requests.get(path, attempt=f"read {shown}")
        except (ClusterUnavailableError, ConflictError):
            raise
        except ClusterError:
            return workers
        ready = (found.get("status") or {}).get("readyReplicas", 0)
        if kind.plural == "statefulsets":
            return replace(workers, ready=ready, rollout_complete=is_set_rolled_out(found))
        return replace(
            workers, ready=ready, rollout_complete=is_target_rolled_out(found), rollout_problem=rollout_problem(found)
        )

    async def _with_pods(self, workers: WorkersObservation, namespace: str, shown: str) -> WorkersObservation:
        # An empty selector is that of a kind that tells none: it would be all pods of the namespace.
        if not workers.selector:
            return workers
        listed = await list_pods(self._requests, namespace, workers.selector, whose=shown)
        standing = [pod for pod in listed.pods or () if not pod.terminating]
        return replace(
            workers,
            ready=sum(pod.ready for pod in standing) if listed.pods is not None else workers.ready,
            pods=listed.pods,
            pod_problem=listed.problem,
            grace_seconds=listed.grace_seconds,
        )


def left_behind(own: Deployment | None, resource: Resource) -> str | None:
    """Name our own Deployment where it is not the target and has pods: nobody writes its number any more."""
    if own is None or not (own.replicas or own.present):
        return None
    key = resource.key
    if Target.of(resource) == Target(key.namespace, "apps", "Deployment", key.name):
        return None
    return f"Deployment {key}" if ownership_of(own, name=key.name, uid=resource.uid) is Ownership.OURS else None


def _scaled(scale: JsonObject) -> WorkersObservation:
    """Return what a Scale (autoscaling/v1) tells; a number of zero is left out of it."""
    spec, status, metadata = scale.get("spec") or {}, scale.get("status") or {}, scale["metadata"]
    present = status.get("replicas", 0)
    return WorkersObservation(
        ownership=Ownership.TARGET,
        replicas=spec.get("replicas", 0),
        ready=present,
        present=present,
        selector=status.get("selector", ""),
        rollout_complete=True,
        resource_version=metadata["resourceVersion"],
        uid=metadata.get("uid"),
    )


def _problem(error: ClusterError, namespace: str, reference: TargetRef) -> Problem:
    if isinstance(error, NotFoundError):
        shown = _shown(namespace, reference)
        message = f"there is no {shown} of {reference.api_version}: create it, or name another one in spec.targetRef"
        return Problem(reason=ConditionReason.TARGET_NOT_FOUND, message=message)
    if isinstance(error, ConflictError):
        raise error
    if error.reason is ConditionReason.CLUSTER_DENIED:
        return Problem(reason=error.reason, message=f"{error}; {_remedy(reference)}")
    return Problem(reason=error.reason, message=str(error))


def _remedy(reference: TargetRef) -> str:
    group = reference.api_version.rpartition("/")[0]
    return (
        f"the operator needs the verbs get and patch on the scale subresource of {reference.kind} in the API group "
        f'"{group}": add it to rbac.extraScaleTargets of the Helm chart'
    )


def _shown(namespace: str, reference: TargetRef) -> str:
    return f"{reference.kind} {namespace}/{reference.name}"
