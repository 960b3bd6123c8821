"""Workers as Deployments: the port on a real cluster."""

import dataclasses
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION, QueueWorkerSpec, QueueWorkerStatus
from queueworker_operator.cluster.kubernetes import reports
from queueworker_operator.cluster.kubernetes.deployments import misses_pods, workers_of
from queueworker_operator.cluster.kubernetes.errors import MismatchError, NotFoundError
from queueworker_operator.cluster.kubernetes.fields import (
    REPLICAS_MANAGER,
    STATUS_MANAGER,
    TEMPLATE_MANAGER,
    handover,
)
from queueworker_operator.cluster.kubernetes.pods import read_pod_problem
from queueworker_operator.cluster.kubernetes.requests import APPLY, JSON_PATCH, MERGE_PATCH, Requests, path_of
from queueworker_operator.cluster.kubernetes.secrets import read_secret
from queueworker_operator.cluster.port import (
    ClusterError,
    ConflictError,
    GoneError,
    JsonObject,
    Key,
    Resource,
    Secret,
)
from queueworker_operator.manifests import (
    RENDERER_REVISION,
    ManifestError,
    Owner,
    render_deployment,
    spec_fingerprint,
    with_replicas,
)
from queueworker_operator.manifests.names import selector
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

_HANDOVERS: Final = 5


def _utc_now() -> datetime:
    return datetime.now(UTC)


class KubernetesCluster:
    """The Cluster port by Deployments of one API server; raises nothing but ClusterErrors."""

    def __init__(
        self,
        requests: Requests,
        *,
        now: Callable[[], datetime] = _utc_now,
        renderer_revision: int = RENDERER_REVISION,
    ) -> None:
        self._requests = requests
        self._now = now
        self._renderer_revision = renderer_revision

    async def observe(self, resource: Resource) -> WorkersObservation:
        """Read the Deployment, and its pods where some are not ready."""
        try:
            found = await self._read(resource.key)
        except NotFoundError:
            return WorkersObservation(selector=selector(resource.key.name))
        memory = resource.status.scaling.memory if resource.status and resource.status.scaling else None
        workers = _workers(resource, found, applied_before=memory.applied_fields if memory else None)
        if workers.ownership is not Ownership.OURS or not misses_pods(workers):
            return workers
        return dataclasses.replace(workers, pod_problem=await read_pod_problem(self._requests, resource.key))

    async def secret(self, namespace: str, name: str) -> Secret:
        """Read a Secret that bears the label of Redis credentials."""
        return await read_secret(self._requests, namespace, name)

    async def create(self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int) -> WorkersObservation:
        """Create the Deployment with its replicas, then take over the rest of it by applying it."""
        body = self._rendered(resource, secrets)
        await self._require(resource)
        created = await self._requests.send(
            "POST",
            path_of("apis", "apps", "v1", "namespaces", resource.key.namespace, "deployments"),
            attempt=f"create the Deployment {resource.key}",
            query={"fieldManager": REPLICAS_MANAGER, "fieldValidation": "Strict"},
            body=with_replicas(body, replicas),
            invalid=ConditionReason.SPEC_INVALID,
        )
        await self._hand_over(resource.key, created)
        applied = await self._apply(resource.key, body, uid=created["metadata"]["uid"])
        return _workers(resource, applied)

    async def apply(
        self, resource: Resource, observed: WorkersObservation, *, secrets: Mapping[str, Secret]
    ) -> WorkersObservation:
        """Apply the template to the Deployment that was observed; the owner reference in it adopts an orphan."""
        if observed.ownership not in (Ownership.OURS, Ownership.ADOPTABLE) or observed.uid is None:
            message = f"the Deployment {resource.key} is not the QueueWorker's to write: it is {observed.ownership}"
            raise ClusterError(message, reason=ConditionReason.NAME_CONFLICT)
        body = self._rendered(resource, secrets)
        if observed.applied_fields is None:
            # Adopted, or a creation that was cut short.
            await self._hand_over(resource.key, await self._read(resource.key))
        return _workers(resource, await self._apply(resource.key, body, uid=observed.uid))

    async def scale(self, resource: Resource, observed: WorkersObservation, *, replicas: int) -> None:
        """Write the replicas through the scale subresource, and only on the Deployment as it was observed."""
        if observed.resource_version is None:
            raise ConflictError(f"the Deployment {resource.key} was not there when it was looked at")
        precondition = {"resourceVersion": observed.resource_version}
        await self._requests.send(
            "PATCH",
            f"{_path(resource.key)}/scale",
            attempt=f"scale the Deployment {resource.key} to {replicas}",
            query={"fieldManager": REPLICAS_MANAGER},
            body={"metadata": precondition, "spec": {"replicas": replicas}},
            content_type=MERGE_PATCH,
        )

    async def write_status(self, resource: Resource, status: QueueWorkerStatus) -> None:
        """Replace the status of the QueueWorker."""
        namespace, name = resource.key
        try:
            await self._requests.send(
                "PATCH",
                path_of("apis", GROUP, VERSION, "namespaces", namespace, PLURAL, name, "status"),
                attempt=f"write the status of the QueueWorker {resource.key}",
                query={"fieldManager": STATUS_MANAGER},
                body=reports.status_patch(resource, status),
                content_type=JSON_PATCH,
            )
        except (NotFoundError, MismatchError) as error:
            raise GoneError(str(error)) from error

    async def publish(self, resource: Resource, *, kind: str, reason: str, message: str) -> None:
        """Publish an event about the QueueWorker."""
        body = reports.event_body(
            resource, kind=kind, reason=reason, message=message, now=self._now(), instance=socket.gethostname()
        )
        await self._requests.send(
            "POST",
            path_of("api", "v1", "namespaces", resource.key.namespace, "events"),
            attempt=f"publish an event about the QueueWorker {resource.key}",
            query={"fieldManager": reports.COMPONENT},
            body=body,
        )

    def fingerprint(self, resource: Resource, secrets: Mapping[str, Secret]) -> str:
        """Return the fingerprint of the spec and its Secrets; raises ClusterError where one lacks a key."""
        try:
            return spec_fingerprint(_spec(resource), secrets)
        except ManifestError as error:
            raise ClusterError(str(error), reason=error.reason) from error

    async def close(self) -> None:
        """Close the connections; the workers go on."""
        await self._requests.close()

    def _rendered(self, resource: Resource, secrets: Mapping[str, Secret]) -> JsonObject:
        owner = Owner(namespace=resource.key.namespace, name=resource.key.name, uid=resource.uid)
        try:
            return render_deployment(owner, _spec(resource), secrets, renderer_revision=self._renderer_revision)
        except ManifestError as error:
            raise ClusterError(str(error), reason=error.reason) from error

    async def _require(self, resource: Resource) -> None:
        """Raise GoneError unless the QueueWorker is there: what no longer has an owner is collected, and made again."""
        found = await self._requests.get(
            path_of("apis", GROUP, VERSION, "namespaces", resource.key.namespace, PLURAL),
            attempt=f"look for the QueueWorker {resource.key}",
            # By a list, for which the watch has the right already.
            fieldSelector=f"metadata.name={resource.key.name}",
        )
        if not any(_is_alive(item["metadata"], uid=resource.uid) for item in found["items"]):
            raise GoneError(f"the QueueWorker {resource.key} is gone")

    async def _apply(self, key: Key, body: JsonObject, *, uid: str) -> JsonObject:
        # With the uid, apply neither creates a Deployment anew nor lands on another one.
        return await self._requests.send(
            "PATCH",
            _path(key),
            attempt=f"apply the Deployment {key}",
            query={"fieldManager": TEMPLATE_MANAGER, "force": "true"},
            body={**body, "metadata": {**body["metadata"], "uid": uid}},
            content_type=APPLY,
            invalid=ConditionReason.SPEC_INVALID,
        )

    async def _hand_over(self, key: Key, found: JsonObject) -> None:
        """Make what the Deployment was created with what was applied, but for the replicas."""
        for attempts_left in range(_HANDOVERS, 0, -1):
            patch = handover(found)
            if patch is None:
                return
            try:
                return await self._send_handover(key, patch)
            except ConflictError:
                if attempts_left == 1:
                    raise
            # The controller's first status came in between and moved the entries.
            found = await self._read(key)

    async def _send_handover(self, key: Key, patch: list[JsonObject]) -> None:
        await self._requests.send(
            "PATCH",
            _path(key),
            attempt=f"hand over the fields of the Deployment {key}",
            query={"fieldManager": TEMPLATE_MANAGER},
            body=patch,
            content_type=JSON_PATCH,
        )

    async def _read(self, key: Key) -> JsonObject:
        return await self._requests.get(_path(key), attempt=f"read the Deployment {key}")


def _workers(resource: Resource, found: JsonObject, *, applied_before: str | None = None) -> WorkersObservation:
    return workers_of(found, name=resource.key.name, uid=resource.uid, applied_before=applied_before)


def _is_alive(metadata: JsonObject, *, uid: str) -> bool:
    return metadata["uid"] == uid and "deletionTimestamp" not in metadata


def _spec(resource: Resource) -> QueueWorkerSpec:
    if resource.spec is None:
        message = resource.spec_error or f"the spec of the QueueWorker {resource.key} could not be read"
        raise ClusterError(message, reason=ConditionReason.SPEC_INVALID)
    return resource.spec


def _path(key: Key) -> str:
    return path_of("apis", "apps", "v1", "namespaces", key.namespace, "deployments", key.name)
