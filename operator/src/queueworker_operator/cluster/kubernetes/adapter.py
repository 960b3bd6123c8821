"""Workers as Deployments: the port on a real cluster."""

import dataclasses
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerStatus, TargetRef
from queueworker_operator.cluster.kubernetes import reports
from queueworker_operator.cluster.kubernetes.conflicts import Conflicts
from queueworker_operator.cluster.kubernetes.costs import set_deletion_costs
from queueworker_operator.cluster.kubernetes.deployments import Deployment, deployment_of, misses_pods, workers_of
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.kubernetes.fields import is_as_created
from queueworker_operator.cluster.kubernetes.listing import (
    deployment_uids,
    list_deployments,
    list_queueworkers,
    queueworker_uids,
)
from queueworker_operator.cluster.kubernetes.objects import DeploymentRequests, Owners
from queueworker_operator.cluster.kubernetes.pods import list_pods
from queueworker_operator.cluster.kubernetes.requests import Requests
from queueworker_operator.cluster.kubernetes.secrets import read_secret
from queueworker_operator.cluster.kubernetes.targets import Targets, left_behind
from queueworker_operator.cluster.kubernetes.watched import Watched, key_of
from queueworker_operator.cluster.port import (
    ClusterError,
    ConflictError,
    JsonObject,
    Key,
    Resource,
    Secret,
)
from queueworker_operator.cluster.rendering import fingerprint_of, render
from queueworker_operator.cluster.rivals import Rivals
from queueworker_operator.manifests import RENDERER_REVISION, with_replicas
from queueworker_operator.manifests.names import selector
from queueworker_operator.scaling.observation import Ownership, WorkersObservation


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubernetesCluster:
    """The Cluster port by Deployments of one API server; raises nothing but ClusterErrors."""

    def __init__(
        self,
        requests: Requests,
        *,
        rivals: Rivals | None = None,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
        renderer_revision: int = RENDERER_REVISION,
    ) -> None:
        """`rivals` is where the watches tell of other autoscalers; without it there are none."""
        self._requests = requests
        self._conflicts = Conflicts(requests, rivals or Rivals({}), clock=clock)
        self._targets = Targets(requests, clock=clock)
        self._now = now
        self._renderer_revision = renderer_revision
        self._watched = Watched()
        self._deployments = DeploymentRequests(requests)
        self._owners = Owners(requests, now=now)

    def saw(self, kind: str | None, body: JsonObject) -> bool:
        """Take in what the watch tells of a Deployment with our label; `kind` is None for those of its first list.

        Return whether it is news: not where a request of our own, or its answer, said as much already.
        """
        return self._watched.saw(kind, body)

    def queueworkers(self, namespaces: Sequence[str]) -> AsyncIterator[JsonObject]:
        """Read all QueueWorkers, in all namespaces where none is named; raises ClusterError."""
        return list_queueworkers(self._requests, namespaces)

    async def queueworker_uids(self, namespaces: Sequence[str]) -> set[str]:
        """Return the uids of all QueueWorkers, in all namespaces where none is named; raises ClusterError."""
        return await queueworker_uids(self._requests, namespaces)

    async def list_workers(self, namespaces: Sequence[str]) -> None:
        """Read all Deployments with our label, in all namespaces where none is named, so that looks need not ask.

        Who is not among them, and not told of by the watch later, counts as absent where a look need not be fresh;
        should it exist after all, its creation is refused. Raises ClusterError.
        """
        async for item in list_deployments(self._requests, namespaces):
            self._watched.read(key_of(item), deployment_of(item))
        self._watched.listed()

    @property
    def workers_untold(self) -> bool:
        """Whether there are Deployments of which the watch has not told yet, and whose end it may have missed."""
        return bool(self._watched.untold)

    async def missed_workers(self, namespaces: Sequence[str]) -> list[Key]:
        """Forget the Deployments that are gone and whose end nobody told; return their keys. Raises ClusterError."""
        before = self._watched.uids()
        return self._watched.missed(before, uids=await deployment_uids(self._requests, namespaces))

    async def observe(self, resource: Resource, *, fresh: bool = True, pods: bool | None = False) -> WorkersObservation:
        """Look at the Deployment, and list its pods where they are asked for, or it is read and some are not ready.

        Of a targetRef the pods are always listed; a look that need not be fresh may then be 5 s old. `pods` of None
        lists none in either case.
        """
        reference = _target(resource)
        if reference is not None:
            workers = await self._targets.observe(resource, reference, fresh=fresh, pods=pods)
            own = self._watched.get(resource.key) if self._watched.knows(resource.key) else None
            workers = dataclasses.replace(workers, left_behind=left_behind(own, resource))
        else:
            workers = await self._observe_own(resource, fresh=fresh, pods=pods)
        conflict, unknown = await self._conflicts.of(resource, fresh=fresh), self._conflicts.unknown(resource)
        if conflict is None and unknown is None:
            return workers
        return dataclasses.replace(workers, conflict=conflict, conflict_problem=unknown)

    async def _observe_own(self, resource: Resource, *, fresh: bool, pods: bool | None) -> WorkersObservation:
        read = fresh or not self._watched.knows(resource.key)
        found = await self._look(resource.key) if read else self._watched.get(resource.key)
        if found is None:
            return WorkersObservation(selector=selector(resource.key.name))
        memory = resource.status.scaling.memory if resource.status and resource.status.scaling else None
        workers = _workers(resource, found, applied_before=memory.applied_fields if memory else None)
        wanted = pods or (pods is not None and read and misses_pods(workers))
        if workers.ownership is not Ownership.OURS or not wanted:
            return workers
        listed = await list_pods(
            self._requests, resource.key.namespace, workers.selector, whose=f"the Deployment {resource.key}"
        )
        return dataclasses.replace(workers, pods=listed.pods, pod_problem=listed.problem)

    async def set_deletion_costs(self, resource: Resource, costs: Mapping[str, int | None]) -> None:
        """Annotate the pods; raises ClusterError where that is not allowed, which need not stop the scaling."""
        await set_deletion_costs(self._requests, resource.key.namespace, costs)

    async def secret(self, namespace: str, name: str) -> Secret:
        """Read a Secret that bears the label of Redis credentials."""
        return await read_secret(self._requests, namespace, name)

    async def create(
        self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int, hurried: bool = False
    ) -> WorkersObservation:
        """Create the Deployment with its replicas, then hand over the rest of it to the manager of the template.

        Where it is `hurried` the next apply hands it over.

        A QueueWorker that was deleted a moment ago may get a Deployment, once: the garbage collector takes it, as its
        owner is gone. For one that is not that new, or had a Deployment from us before, it is made sure that it exists.
        """
        key, body = resource.key, render(resource, secrets, renderer_revision=self._renderer_revision)
        await self._owners.require(resource)
        self._watched.writing(key)
        created = await self._deployments.create(key, with_replicas(body, replicas))
        self._owners.has_workers(resource)
        if hurried:
            return self._answered(resource, created)
        return self._answered(resource, await self._deployments.hand_over(key, created, created=body))

    async def apply(
        self, resource: Resource, observed: WorkersObservation, *, secrets: Mapping[str, Secret]
    ) -> WorkersObservation:
        """Apply the template to the Deployment that was observed; the owner reference in it adopts an orphan."""
        key = resource.key
        if observed.ownership not in (Ownership.OURS, Ownership.ADOPTABLE) or observed.uid is None:
            message = f"the Deployment {key} is not the QueueWorker's to write: it is {observed.ownership}"
            raise ClusterError(message, reason=ConditionReason.NAME_CONFLICT)
        body = render(resource, secrets, renderer_revision=self._renderer_revision)
        self._watched.writing(key)
        if observed.applied_fields is None:
            # Adopted, or a creation that was hurried or cut short.
            found = await self._deployments.read(key)
            as_created = is_as_created(found, body)
            handed = await self._deployments.hand_over(key, found, created=body if as_created else None)
            if as_created and is_as_created(handed, body):
                return self._answered(resource, handed)
        return self._answered(resource, await self._deployments.apply(key, body, uid=observed.uid))

    async def scale(self, resource: Resource, observed: WorkersObservation, *, replicas: int) -> None:
        """Write the replicas through the scale subresource, and only on what was observed."""
        key, reference = resource.key, _target(resource)
        if reference is not None:
            return await self._targets.scale(resource, reference, observed, replicas=replicas)
        if observed.resource_version is None:
            raise ConflictError(f"the Deployment {key} was not there when it was looked at")
        self._watched.writing(key)
        version = await self._deployments.scale(key, replicas, resource_version=observed.resource_version)
        self._watched.wrote_replicas(key, replicas, resource_version=version)

    async def write_status(self, resource: Resource, status: QueueWorkerStatus) -> None:
        """Replace the status of the QueueWorker."""
        await reports.write_status(self._requests, resource, status)

    async def publish(self, resource: Resource, *, kind: str, reason: str, message: str) -> None:
        """Publish an event about the QueueWorker."""
        body = reports.event_body(
            resource, kind=kind, reason=reason, message=message, now=self._now(), instance=socket.gethostname()
        )
        await reports.publish(self._requests, resource, body)

    def fingerprint(self, resource: Resource, secrets: Mapping[str, Secret]) -> str:
        """Return the fingerprint of the spec and its Secrets; raises ClusterError where one lacks a key."""
        return fingerprint_of(resource, secrets)

    async def close(self) -> None:
        """Close the connections; the workers go on."""
        await self._requests.close()

    def _answered(self, resource: Resource, found: JsonObject) -> WorkersObservation:
        deployment = deployment_of(found)
        self._watched.read(resource.key, deployment)
        return _workers(resource, deployment)

    async def _look(self, key: Key) -> Deployment | None:
        try:
            found = deployment_of(await self._deployments.read(key))
        except NotFoundError:
            found = None
        self._watched.read(key, found)
        return found


def _workers(resource: Resource, found: Deployment, *, applied_before: str | None = None) -> WorkersObservation:
    return workers_of(found, name=resource.key.name, uid=resource.uid, applied_before=applied_before)


def _target(resource: Resource) -> TargetRef | None:
    return resource.spec.target_ref if resource.spec is not None else None
