"""The door to the cluster: what kopf sees goes into the store and wakes its key, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol

import kopf

from queueworker_operator.api.v1alpha1 import GROUP, PLURAL, VERSION
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.manifests.names import SELECTOR_LABEL


class Wake(Protocol):
    """What the loop offers."""

    def __call__(self, key: Key, *, fresh: bool = False) -> None:
        """Look at the key soon."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where events go. They carry no meaning but "look again"."""

    store: MutableMapping[Key, Resource]
    wake: Wake
    workers_changed: Callable[[Key], None]

    def queueworker(self, kind: str | None, body: Mapping[str, Any]) -> None:
        """Take in a QueueWorker; `kind` is None for those of the first list."""
        resource = resource_of(body)
        known = self.store.get(resource.key)
        if kind == "DELETED":
            # The events of two objects of one name may overtake each other.
            if known is None or known.uid != resource.uid:
                return
            del self.store[resource.key]
        else:
            self.store[resource.key] = resource
        if kind == "DELETED" or known is None or _asks(known) != _asks(resource):
            self.wake(resource.key, fresh=True)

    def deployment(self, metadata: Mapping[str, Any]) -> None:
        """Take note of a change of workers."""
        key = Key(metadata["namespace"], metadata["labels"][SELECTOR_LABEL])
        if key in self.store:
            self.workers_changed(key)
            self.wake(key)


def _asks(resource: Resource) -> tuple[object, ...]:
    """Return all but the status, which the operator writes itself."""
    return resource.uid, resource.generation, resource.annotations, resource.deleting


def register(registry: kopf.OperatorRegistry, door: Door) -> None:
    """Watch QueueWorkers and the Deployments that bear our label."""

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry, id="queueworker")
    async def queueworker(event: kopf.RawEvent, body: kopf.Body, **_: Any) -> None:
        door.queueworker(event["type"], body)

    @kopf.on.event("apps", "v1", "deployments", registry=registry, id="workers", labels={SELECTOR_LABEL: kopf.PRESENT})
    async def workers(meta: kopf.Meta, **_: Any) -> None:
        door.deployment(meta)


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings by which kopf only watches: it writes nothing, neither on objects nor as events."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.label_selectors["apps", "v1", "deployments"] = SELECTOR_LABEL
    # A watch may fall silent without an error; these end it, the client a little after the server.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    settings.queueing.exit_timeout = 0.5
    settings.process.ultimate_exiting_timeout = 10
    return settings
