"""Workers as processes of this host: the Cluster of `queueworker up`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queueworker import environment as names
from queueworker.settings import REDIS_PREFIX
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec, QueueWorkerStatus
from queueworker_operator.cluster.connection import connection_settings
from queueworker_operator.cluster.local_environment import Place, container_environment, expand, inherited
from queueworker_operator.cluster.local_group import LocalGroup, Revision
from queueworker_operator.cluster.local_launch import Launch, free_port
from queueworker_operator.cluster.local_objects import LocalObjects
from queueworker_operator.cluster.local_process import LocalWorker, Patience
from queueworker_operator.cluster.port import ClusterError, ConflictError, Key, Resource, Secret
from queueworker_operator.manifests import ManifestError, Owner, render_deployment, spec_fingerprint
from queueworker_operator.manifests.names import CONTAINER, DRAIN_MARGIN_SECONDS
from queueworker_operator.scaling.observation import WorkersObservation

# What the image's entrypoint is in a container, by this very interpreter.
WORKER_PROGRAM = (sys.executable, "-m", "queueworker_worker")


def log_to_stderr(worker: str, line: str) -> None:
    """Write what a worker says to stderr, its name before it."""
    print(f"{worker} | {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What the workers of this host have in common."""

    directory: Path
    """For TLS files; private to this user."""
    modules: Sequence[str] = ()
    """Modules with processors, for workers that have no command of their own."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    """What the workers inherit, but for the operator's own variables."""
    log: Callable[[str, str], None] = log_to_stderr
    patience: Patience = field(default_factory=Patience)


class LocalCluster:
    """Implements `Cluster`: a group of worker processes for each QueueWorker, the status in memory."""

    def __init__(
        self, objects: LocalObjects, settings: LocalSettings, *, changed: Callable[[Key], None] = lambda key: None
    ) -> None:
        """`changed` hears of every worker that becomes ready, dies or ends."""
        self._objects = objects
        self._settings = settings
        self._changed = changed
        self._groups: dict[Key, LocalGroup] = {}
        self._statuses: dict[Key, QueueWorkerStatus] = {}

    async def observe(self, resource: Resource) -> WorkersObservation:
        """Return the workers of a QueueWorker as they are."""
        return self.look(resource.key)

    def look(self, key: Key) -> WorkersObservation:
        """Return the same without waiting."""
        group = self._groups.get(key)
        return group.observe() if group is not None else WorkersObservation()

    async def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret of the files, by the rules of a cluster."""
        return self._objects.secret(namespace, name)

    async def create(self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int) -> WorkersObservation:
        """Start so many workers."""
        revision = self._revision(resource, secrets)
        group = self._groups[resource.key] = LocalGroup(
            name=resource.key.name,
            uid=resource.uid,
            changed=lambda: self._changed(resource.key),
            log=self._settings.log,
            patience=self._settings.patience,
        )
        group.ask(replicas=replicas, revision=revision)
        return group.observe()

    async def apply(
        self, resource: Resource, observed: WorkersObservation, *, secrets: Mapping[str, Secret]
    ) -> WorkersObservation:
        """Replace the workers one by one by those of the new spec."""
        group = self._group(resource)
        group.ask(revision=self._revision(resource, secrets))
        return group.observe()

    async def scale(self, resource: Resource, observed: WorkersObservation, *, replicas: int) -> None:
        """Start or drain workers until there are so many; raises ConflictError after another write."""
        group = self._group(resource)
        if group.version != observed.resource_version:
            raise ConflictError(f"{resource.key}: the workers changed meanwhile")
        group.ask(replicas=replicas)

    async def write_status(self, resource: Resource, status: QueueWorkerStatus) -> None:
        """Keep the status in memory."""
        self._statuses[resource.key] = status

    async def publish(self, resource: Resource, *, kind: str, reason: str, message: str) -> None:
        """Do nothing: the reconciler has logged it, and there is nobody else to tell."""

    def fingerprint(self, resource: Resource, secrets: Mapping[str, Secret]) -> str:
        """Return the fingerprint of spec and Secrets."""
        try:
            return spec_fingerprint(_spec(resource), secrets)
        except ManifestError as error:
            raise ClusterError(str(error), reason=error.reason) from error

    def status(self, key: Key) -> QueueWorkerStatus | None:
        """Return the last status that was written."""
        return self._statuses.get(key)

    def workers(self, key: Key) -> tuple[LocalWorker, ...]:
        """Return the workers of a QueueWorker, those that are ending too."""
        group = self._groups.get(key)
        return group.workers if group is not None else ()

    def hurry(self) -> None:
        """Let all workers that are ending give back their jobs now."""
        for group in self._groups.values():
            group.hurry()

    async def close(self) -> None:
        """Drain all workers and wait until they have ended."""
        await asyncio.gather(*(group.drain() for group in self._groups.values()))

    def _group(self, resource: Resource) -> LocalGroup:
        group = self._groups.get(resource.key)
        if group is None:
            raise ConflictError(f"{resource.key}: there are no workers yet")
        return group

    def _revision(self, resource: Resource, secrets: Mapping[str, Secret]) -> Revision:
        spec, key = _spec(resource), resource.key
        container = _container(resource, secrets)
        connection = _connection_environment(spec, secrets, self._settings.directory)
        # Now, so that what is missing is an error of the spec and not of every start.
        container_environment(container, Place(key=key, worker=key.name), self._objects)
        asks_health = spec.worker.health_port is not None or self._is_ours(container)

        def launch(worker: str) -> Launch:
            place = Place(key=key, worker=worker)
            own = container_environment(container, place, self._objects) | connection
            port = free_port()
            own |= {names.HEALTH_HOST: place.host, names.HEALTH_PORT: str(port)}
            environment = inherited(self._settings.environment) | own
            argv = [expand(part, own) for part in self._argv(container)]
            return Launch(argv=argv, environment=environment, health_port=port if asks_health else None)

        return Revision(
            fingerprint=self.fingerprint(resource, secrets),
            launch=launch,
            grace_seconds=spec.worker.drain_timeout_seconds + DRAIN_MARGIN_SECONDS,
        )

    def _argv(self, container: Mapping[str, Any]) -> list[str]:
        """Return command and arguments; our own program is run by this very interpreter, whatever PATH says."""
        parts = [*(container.get("command") or ()), *(container.get("args") or ())]
        if not self._is_ours(container):
            return parts
        if container.get("command"):
            parts = parts[1:]
        modules = [part for module in self._settings.modules for part in ("--module", module)]
        return [*WORKER_PROGRAM, *(parts or ["work", *modules])]

    def _is_ours(self, container: Mapping[str, Any]) -> bool:
        command = container.get("command")
        return not command or command[0] == "queueworker"


def _spec(resource: Resource) -> QueueWorkerSpec:
    if resource.spec is None:
        raise ClusterError(f"{resource.key}: {resource.spec_error}", reason=ConditionReason.SPEC_INVALID)
    return resource.spec


def _container(resource: Resource, secrets: Mapping[str, Secret]) -> Mapping[str, Any]:
    owner = Owner(namespace=resource.key.namespace, name=resource.key.name, uid=resource.uid)
    try:
        body = render_deployment(owner, _spec(resource), secrets)
    except ManifestError as error:
        raise ClusterError(str(error), reason=error.reason) from error
    containers: list[Mapping[str, Any]] = body["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == CONTAINER)


def _connection_environment(spec: QueueWorkerSpec, secrets: Mapping[str, Secret], directory: Path) -> dict[str, str]:
    """Return the connection with the TLS files where they are on this host, also under the user's own prefix."""
    settings = connection_settings(spec.redis, secrets, directory=directory, for_operator=False)
    own_names = {variable.name for variable in spec.worker.env or ()}
    prefix = spec.worker.redis_env_prefix
    copied = settings.to_environment(prefix=prefix) if prefix is not None else {}
    return {name: v for name, v in copied.items() if name not in own_names} | settings.to_environment(
        prefix=REDIS_PREFIX
    )
