"""The requests for one Deployment, and for the QueueWorker that it belongs to."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from queueworker_operator.cluster.kubernetes.fields import REPLICAS_MANAGER, TEMPLATE_MANAGER, handover
from queueworker_operator.cluster.kubernetes.requests import APPLY, JSON_PATCH, MERGE_PATCH, Requests, path_of
from queueworker_operator.cluster.port import ConflictError, GoneError, JsonObject, Key, Resource

_HANDOVERS: Final = 5
_NEW_SECONDS: Final = 600.0
"""A QueueWorker is new for so long: if it is gone already, its DELETED event has not been lost, it is on its way."""
_CREATED: Final = 20_000


class DeploymentRequests:
    """Reads and writes of a Deployment by its key."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    async def read(self, key: Key) -> JsonObject:
        """Return the Deployment; raises NotFoundError."""
        return await self._requests.get(_path(key), attempt=f"read the Deployment {key}")

    async def create(self, key: Key, body: JsonObject) -> JsonObject:
        """Create it, replicas and all; raises ConflictError where there is one of the name."""
        return await self._requests.send(
            "POST",
            path_of("apis", "apps", "v1", "namespaces", key.namespace, "deployments"),
            attempt=f"create the Deployment {key}",
            query={"fieldManager": REPLICAS_MANAGER, "fieldValidation": "Strict"},
            body=body,
            invalid=ConditionReason.SPEC_INVALID,
        )

    async def apply(self, key: Key, body: JsonObject, *, uid: str) -> JsonObject:
        """Apply the body to the Deployment of that uid."""
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

    async def scale(self, key: Key, replicas: int, *, resource_version: str) -> str:
        """Write the number through the scale subresource; return the new resourceVersion."""
        answer = await self._requests.send(
            "PATCH",
            f"{_path(key)}/scale",
            attempt=f"scale the Deployment {key} to {replicas}",
            query={"fieldManager": REPLICAS_MANAGER},
            body={"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}},
            content_type=MERGE_PATCH,
        )
        return str(answer["metadata"]["resourceVersion"])

    async def hand_over(self, key: Key, found: JsonObject, *, created: JsonObject | None = None) -> JsonObject:
        """Let the creator keep nothing but the replicas; return the Deployment as it is then."""
        for attempts_left in range(_HANDOVERS, 0, -1):
            patch = handover(found, created=created)
            if patch is None:
                return found
            try:
                return await self._send_handover(key, patch)
            except ConflictError:
                if attempts_left == 1:
                    raise
            # The controller's first status came in between and moved the entries.
            found = await self.read(key)
        return found

    async def _send_handover(self, key: Key, patch: list[JsonObject]) -> JsonObject:
        return await self._requests.send(
            "PATCH",
            _path(key),
            attempt=f"hand over the fields of the Deployment {key}",
            query={"fieldManager": TEMPLATE_MANAGER},
            body=patch,
            content_type=JSON_PATCH,
        )


class Owners:
    """Makes sure that the QueueWorker of a Deployment exists, where that is in doubt."""

    def __init__(self, requests: Requests, *, now: Callable[[], datetime]) -> None:
        self._requests = requests
        self._now = now
        self._created: dict[Key, str] = {}
        """For which QueueWorkers, by uid, a Deployment was created."""

    async def require(self, resource: Resource) -> None:
        """Raise GoneError where the QueueWorker is gone; one that is new and never had a Deployment is not asked for.

        What no longer has an owner is collected, and would be made again, over and over.
        """
        age = self._now().timestamp() - resource.created_at
        if age < _NEW_SECONDS and self._created.get(resource.key) != resource.uid:
            return
        items = self._requests.items(
            path_of("apis", GROUP, VERSION, "namespaces", resource.key.namespace, PLURAL),
            attempt=f"look for the QueueWorker {resource.key}",
            # By a list, for which the watch has the right already.
            fieldSelector=f"metadata.name={resource.key.name}",
        )
        found = [item["metadata"] async for item in items]
        if not any(_is_alive(metadata, uid=resource.uid) for metadata in found):
            raise GoneError(f"the QueueWorker {resource.key} is gone")

    def has_workers(self, resource: Resource) -> None:
        """Take note that it got a Deployment."""
        self._created.pop(resource.key, None)
        self._created[resource.key] = resource.uid
        if len(self._created) > _CREATED:
            del self._created[next(iter(self._created))]


def _is_alive(metadata: JsonObject, *, uid: str) -> bool:
    return metadata["uid"] == uid and "deletionTimestamp" not in metadata


def _path(key: Key) -> str:
    return path_of("apis", "apps", "v1", "namespaces", key.namespace, "deployments", key.name)
