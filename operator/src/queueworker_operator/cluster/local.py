"""Workers as processes of this host: the Cluster of `queueworker up`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
from queueworker_operator.cluster.port import ConflictError, Key, Resource, Secret
from queueworker_operator.cluster.rendering import fingerprint_of, render, spec_of
from queueworker_operator.manifests.names import CONTAINER, DRAIN_MARGIN_SECONDS
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation

# What the image's entrypoint is in a container, by this very interpreter.
WORKER_PROGRAM: Final = (sys.executable, "-m", "queueworker_worker")

_NO_TARGET: Final = WorkersObservation(
    ownership=Ownership.TARGET,
    target_problem=Problem(
        reason=ConditionReason.SPEC_INVALID,
        message=(
            "spec.targetRef: what it names lives in a cluster, and `queueworker up` runs processes of this host; set "
            "spec.worker instead, or apply the QueueWorker to a cluster"
        ),
    ),
)


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

    async def observe(self, resource: Resource, *, fresh: bool = True, pods: bool | None = False) -> WorkersObservation:
        """Return the workers of a QueueWorker as they are, always with the processes as pods."""
        return self.look(resource)

    async def set_deletion_costs(self, resource: Resource, costs: Mapping[str, int | None]) -> None:
        """Let the workers with the lowest cost go first in the next scale-in."""
        self._group(resource).set_deletion_costs(costs)

    def look(self, resource: Resource) -> WorkersObservation:
        """Return the same without waiting."""
        if resource.spec is not None and resource.spec.target_ref is not None:
            return _NO_TARGET
        group = self._groups.get(resource.key)
        return group.observe() if group is not None else WorkersObservation()

    async def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret of the files, by the rules of a cluster."""
        return self._objects.secret(namespace, name)

    async def create(
        self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int, hurried: bool = False
    ) -> WorkersObservation:
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
        return fingerprint_of(resource, secrets)

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
        spec, key = spec_of(resource), resource.key
        container = _container(resource, secrets)
        connection = _connection_environment(spec, secrets, self._settings.directory)
        # Now, so that what is missing is an error of the spec and not of every start.
        container_environment(container, Place(key=key, worker=key.name), self._objects)
        asks_health = spec.pods.health_port is not None or self._is_ours(container)

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
            grace_seconds=spec.pods.drain_timeout_seconds + DRAIN_MARGIN_SECONDS,
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


def _container(resource: Resource, secrets: Mapping[str, Secret]) -> Mapping[str, Any]:
    containers: list[Mapping[str, Any]] = render(resource, secrets)["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == CONTAINER)


def _connection_environment(spec: QueueWorkerSpec, secrets: Mapping[str, Secret], directory: Path) -> dict[str, str]:
    """Return the connection with the TLS files where they are on this host, also under the user's own prefix."""
    settings = connection_settings(spec.redis, secrets, directory=directory, for_operator=False)
    own_names = {variable.name for variable in spec.pods.env or ()}
    prefix = spec.pods.redis_env_prefix
    copied = settings.to_environment(prefix=prefix) if prefix is not None else {}
    return {name: v for name, v in copied.items() if name not in own_names} | settings.to_environment(
        prefix=REDIS_PREFIX
    )
