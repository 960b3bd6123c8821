"""The door to the cluster: what kopf sees goes into the store and wakes its key, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import kopf

from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.cluster.rivals import Rivals
from queueworker_operator.manifests.names import SELECTOR_LABEL

PAGE = 250
"""Objects that kopf lists at once."""


class Wake(Protocol):
    """What the loop offers."""

    def __call__(self, key: Key, *, fresh: bool = False) -> None:
        """Look at the key soon."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where events go. They carry no meaning but "look again"; what they hold saves a request."""

    store: MutableMapping[Key, Resource]
    wake: Wake
    workers_changed: Callable[[Key], None]
    """Called with a QueueWorker whose Deployment is no longer as it was known."""
    rivals: Rivals
    workers_seen: Callable[[str | None, dict[str, Any]], bool]
    """Takes in every Deployment that the watch tells of; whether that was news."""
    untold: set[Key] = field(default_factory=set)
    """QueueWorkers that were listed before the watch was opened, and of which it has not told yet."""

    def listed(self, body: Mapping[str, Any]) -> None:
        """Take in a QueueWorker of a list of our own."""
        self.queueworker(None, body)
        self.untold.add(_key(body["metadata"]))

    def uids(self) -> dict[Key, str]:
        """Return the uids of all that are known."""
        return {key: resource.uid for key, resource in self.store.items()}

    def missed(self, before: Mapping[Key, str], *, uids: Collection[str]) -> None:
        """Let go of what was known before a list that has none of its uids: it is gone.

        What is there and untold stays so: it may still be gone before the watch is open.
        """
        self.untold.intersection_update(self.store)
        for key, uid in before.items():
            known = self.store.get(key)
            if uid not in uids and known is not None and known.uid == uid:
                self.queueworker("DELETED", {"metadata": {"namespace": key.namespace, "name": key.name, "uid": uid}})

    def queueworker(self, kind: str | None, body: Mapping[str, Any]) -> None:
        """Take in a QueueWorker; `kind` is None for those of the first list."""
        metadata = body["metadata"]
        key = _key(metadata)
        known = self.store.get(key)
        self.untold.discard(key)
        if kind != "DELETED" and known is not None and _asks(known) == _asks_of(metadata):
            return
        resource = resource_of(body)
        if kind == "DELETED":
            # The events of two objects of one name may overtake each other.
            if known is None or known.uid != resource.uid:
                return
            del self.store[resource.key]
            self.rivals.dropped(resource.key)
        else:
            self.store[resource.key] = resource
            self.rivals.took(resource)
        self.wake(resource.key, fresh=True)

    def deployment(self, kind: str | None, body: dict[str, Any]) -> None:
        """Take in a Deployment with our label; `kind` is None for those of the first list."""
        if not self.workers_seen(kind, body):
            return
        metadata = body["metadata"]
        key = Key(metadata["namespace"], metadata["labels"][SELECTOR_LABEL])
        if key in self.store:
            self.workers_changed(key)


def _key(metadata: Mapping[str, Any]) -> Key:
    return Key(metadata["namespace"], metadata["name"])


def _asks(resource: Resource) -> tuple[object, ...]:
    """Return all but the status, which the operator writes itself."""
    return resource.uid, resource.generation, resource.annotations, resource.deleting


def _asks_of(metadata: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the same of what came, without reading its spec."""
    deleting = "deletionTimestamp" in metadata
    return metadata.get("uid", ""), metadata.get("generation", 0), dict(metadata.get("annotations") or {}), deleting


class _NoDiffs(kopf.DiffBaseStorage):
    """Keeps nothing: no handler asks what has changed, and kopf would copy every object twice to find out."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


def register(registry: kopf.OperatorRegistry, door: Door) -> None:
    """Watch QueueWorkers and the Deployments that bear our label; a watch that is refused ends the operator."""

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="queueworker")
    async def queueworker(event: kopf.RawEvent, **_: Any) -> None:
        door.queueworker(event["type"], event["object"])

    @kopf.on.event("apps", "v1", "deployments", registry=registry, id="workers", labels={SELECTOR_LABEL: kopf.PRESENT})
    async def workers(event: kopf.RawEvent, **_: Any) -> None:
        door.deployment(event["type"], dict(event["object"]))


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings by which kopf only watches: it writes nothing, neither on objects nor as events."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.watching.label_selectors["apps", "v1", "deployments"] = SELECTOR_LABEL
    # Else all objects are in memory at once, whole, and what they took stays with the process.
    settings.watching.chunk_size = PAGE
    # A watch may fall silent without an error; these end it, the client a little after the server.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    # So long a worker of kopf's keeps the whole object after it was told of it: after a start that is one for each.
    settings.queueing.idle_timeout = 0.1
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = 10
    return settings
