"""A world for the reconciler without I/O: a cluster and a Redis that implement our own Protocols, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import virtual_time
from prometheus_client import CollectorRegistry

from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerStatus
from queueworker_operator.cluster.port import ClusterError, ConflictError, Key, Resource, Secret
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.loop import Loop
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Queues
from queueworker_operator.reconciler import Reconciler, ReconcilerSettings
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

T = TypeVar("T")
EPOCH = 1_800_000_000.0
KEY = Key("default", "mail")


def now() -> float:
    """Unix seconds of the virtual world."""
    return EPOCH + clock()


def clock() -> float:
    return asyncio.get_running_loop().time()


def document(name: str = "mail", **spec: Any) -> dict[str, Any]:
    autoscaling = {
        "minReplicas": 0,
        "maxReplicas": 10,
        "target": {"backlogPerReplica": 10},
        "cooldownSeconds": 30,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 20}},
    }
    scale = {} if "replicas" in spec else {"autoscaling": {**autoscaling, **spec.pop("autoscaling", {})}}
    body = {"queues": [{"name": name}], "redis": {"host": "redis"}, "worker": {"image": "mail:1"}, **scale, **spec}
    return {"metadata": {"namespace": "default", "name": name, "uid": f"uid-{name}", "generation": 1}, "spec": body}


@dataclass
class Deployment:
    replicas: int
    fingerprint: str | None
    ownership: Ownership = Ownership.OURS
    rolled_out: bool | None = True
    """None: the Deployment controller has not looked yet."""
    version: int = 1
    applied: str = "fields-1"
    """Digest of the fields that we own."""


class FakeCluster:
    """Keeps Deployments in a dictionary; their pods are ready at once. Counts and can refuse every call."""

    def __init__(self) -> None:
        self.deployments: dict[Key, Deployment] = {}
        self.secrets: dict[str, Secret] = {}
        self.statuses: dict[Key, QueueWorkerStatus] = {}
        self.events: list[tuple[str, str, str]] = []
        self.calls: list[tuple[float, str, object]] = []
        self.fail: dict[str, Callable[[], Exception]] = {}
        self.changed: Callable[[Key], None] = lambda key: None
        self.rolled_out_at_once = True

    def count(self, *, since: float = 0.0) -> Counter[str]:
        return Counter(what for at, what, _ in self.calls if at >= since)

    def writes(self, *, since: float = 0.0) -> list[tuple[str, object]]:
        reads = {"observe", "secret"}
        return [(what, detail) for at, what, detail in self.calls if at >= since and what not in reads]

    async def _call(self, what: str, detail: object = None) -> None:
        self.calls.append((clock(), what, detail))
        await asyncio.sleep(0.003)
        if what in self.fail:
            raise self.fail[what]()

    async def observe(self, resource: Resource) -> WorkersObservation:
        await self._call("observe", resource.key)
        return self._observation(resource)

    async def secret(self, namespace: str, name: str) -> Secret:
        await self._call("secret", name)
        if name not in self.secrets:
            raise ClusterError(f"the Secret {name} is not there", reason=ConditionReason.SECRET_NOT_FOUND)
        return self.secrets[name]

    async def create(self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int) -> WorkersObservation:
        await self._call("create", replicas)
        rolled_out = True if self.rolled_out_at_once else None
        self.deployments[resource.key] = Deployment(
            replicas, self.fingerprint(resource, secrets), rolled_out=rolled_out
        )
        return self._wrote(resource)

    async def apply(
        self, resource: Resource, observed: WorkersObservation, *, secrets: Mapping[str, Secret]
    ) -> WorkersObservation:
        await self._call("apply", resource.generation)
        found = self.deployments[resource.key]
        found.fingerprint, found.ownership = self.fingerprint(resource, secrets), Ownership.OURS
        found.applied = f"fields-{found.fingerprint}"
        return self._wrote(resource)

    async def scale(self, resource: Resource, observed: WorkersObservation, *, replicas: int) -> None:
        await self._call("scale", replicas)
        found = self.deployments[resource.key]
        if str(found.version) != observed.resource_version:
            raise ConflictError("changed meanwhile")
        found.replicas = replicas
        self._wrote(resource)

    async def write_status(self, resource: Resource, status: QueueWorkerStatus) -> None:
        await self._call("status", resource.key)
        self.statuses[resource.key] = status

    async def publish(self, resource: Resource, *, kind: str, reason: str, message: str) -> None:
        await self._call("event", reason)
        self.events.append((kind, reason, message))

    def fingerprint(self, resource: Resource, secrets: Mapping[str, Secret]) -> str:
        assert resource.spec is not None
        passwords = [secrets[name].data["password"].decode() for name in sorted(secrets)]
        return "|".join([resource.spec.worker.image, *passwords])

    async def close(self) -> None:
        pass

    def touch(self, key: Key = KEY, **changes: Any) -> None:
        """Change a Deployment as somebody else would."""
        found = self.deployments[key]
        for name, value in changes.items():
            setattr(found, name, value)
        found.version += 1
        self.changed(key)

    def _wrote(self, resource: Resource) -> WorkersObservation:
        self.deployments[resource.key].version += 1
        self.changed(resource.key)
        return self._observation(resource)

    def _observation(self, resource: Resource) -> WorkersObservation:
        found = self.deployments.get(resource.key)
        if found is None:
            return WorkersObservation()
        memory = resource.status.scaling.memory if resource.status and resource.status.scaling else None
        applied = memory.applied_fields if memory else None
        return WorkersObservation(
            ownership=found.ownership,
            replicas=found.replicas,
            ready=found.replicas,
            present=found.replicas,
            fingerprint=found.fingerprint,
            rollout_complete=found.rolled_out,
            drifted=applied is not None and applied != found.applied,
            applied_fields=found.applied,
            resource_version=str(found.version),
            uid="deployment",
        )


_FIELDS = {field.name: field.type for field in fields(QueueSnapshot)}
_COUNTS = {name: 0 for name, kind in _FIELDS.items() if kind is int and name != "now_ms"}
_ABSENT = {name: None for name, kind in _FIELDS.items() if kind == int | None}


@dataclass
class FakeRedis:
    """Queues by name; a queue that is not there was never used."""

    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: RedisReadError | None = None
    password: str | None = None
    reads: list[float] = field(default_factory=list)
    horizons: set[int] = field(default_factory=set)

    def open(self, settings: ConnectionSettings) -> FakeReader:
        return FakeReader(self, settings.password.get_secret_value() if settings.password else None)

    def snapshot(self, keys: QueueKeys) -> QueueSnapshot:
        values = self.queues.get(keys.queue)
        return QueueSnapshot(
            prefix=keys.prefix,
            queue=keys.queue,
            now_ms=int(now() * 1000),
            **{"exists": values is not None, "paused": False, **_COUNTS, **_ABSENT, **(values or {})},
        )


class FakeReader:
    def __init__(self, redis: FakeRedis, password: str | None) -> None:
        self._redis = redis
        self._password = password

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        await asyncio.sleep(0.002)
        self._redis.reads.append(clock())
        self._redis.horizons.add(horizon_ms)
        error = self._redis.error
        if self._redis.password is not None and self._redis.password != self._password:
            error = RedisReadError("authentication failed", reason="RedisAuthFailed")
        return {keys: error or self._redis.snapshot(keys) for keys in queues}

    async def aclose(self) -> None:
        pass


class World:
    """Loop, readers and reconciler of an operator, and the cluster and Redis around it."""

    def __init__(self, cluster: FakeCluster | None = None, redis: FakeRedis | None = None) -> None:
        self.cluster = cluster or FakeCluster()
        self.redis = redis or FakeRedis()
        self.store: dict[Key, Resource] = {}
        self.errors: list[Exception] = []
        self.metrics = Metrics(CollectorRegistry())
        self.queues: Queues[Key] = Queues(
            wake=lambda key: self.loop.wake(key), clock=clock, random=lambda: 0.5, open_reader=self.redis.open
        )
        self.reconciler = Reconciler(
            store=self.store,
            cluster=self.cluster,
            queues=self.queues,
            metrics=self.metrics,
            settings=ReconcilerSettings(tls_directory=Path("/nonexistent")),
            now=now,
            clock=clock,
        )
        self.loop: Loop[Key] = Loop(
            self.reconciler,
            clock=clock,
            random=lambda: 0.5,
            on_failure=lambda key, error: self.errors.append(error),
        )
        self.cluster.changed = self._workers_changed

    def _workers_changed(self, key: Key) -> None:
        self.reconciler.workers_changed(key)
        self.loop.wake(key)

    def put(self, body: Mapping[str, Any], **changes: Any) -> Resource:
        """Let the watch bring a QueueWorker, with the status that the cluster holds."""
        resource = resource_of(body)
        resource = replace(resource, status=self.cluster.statuses.get(resource.key), **changes)
        self.store[resource.key] = resource
        self.loop.wake(resource.key, fresh=True)
        return resource

    def delete(self, key: Key) -> None:
        del self.store[key]
        self.loop.wake(key, fresh=True)

    def status(self, key: Key = KEY) -> QueueWorkerStatus:
        return self.cluster.statuses[key]

    def condition(self, kind: str, key: Key = KEY) -> tuple[str, str]:
        found = next(one for one in self.status(key).conditions or () if one.type == kind)
        return found.status, found.reason


def live(story: Callable[[World], Awaitable[T]], *, start: float = 1000.0, **parts: Any) -> T:
    """Run a story in a world of its own, in virtual time that begins at `start`."""

    async def main() -> T:
        world = World(**parts)
        task = asyncio.create_task(world.loop.run())
        try:
            return await story(world)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await world.queues.close()

    return virtual_time.run(main(), start=start)
