"""A world for the reconciler without I/O: a cluster and a Redis that implement our own Protocols, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import virtual_time
from prometheus_client import CollectorRegistry
from reconciler_cluster import KEY, FakeCluster, clock, now
from snapshots import empty_but_for

from queueworker.details import QueueDetails
from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.v1alpha1 import QueueWorkerStatus
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.cluster.rivals import Rivals
from queueworker_operator.loop import Loop
from queueworker_operator.metrics import Metrics
from queueworker_operator.queues import Queues
from queueworker_operator.reconciler import Reconciler, ReconcilerSettings

T = TypeVar("T")


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


class FakeQueues(dict[str, dict[str, Any]]):
    """Queues by name; one that is set speaks in its stream of events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: dict[str, str] = {}
        self._spoke: asyncio.Event | None = None

    def __setitem__(self, name: str, values: dict[str, Any]) -> None:
        super().__setitem__(name, values)
        self.speak(name)

    def remove(self, name: str) -> None:
        """Let a queue be gone without a word."""
        del self[name]
        self.events.pop(name, None)

    def speak(self, name: str) -> None:
        self.events[name] = f"{int(now() * 1000)}-{len(self.events)}"
        if self._spoke is not None:
            self._spoke.set()
            self._spoke = None

    async def news(self, after: Mapping[QueueKeys, str], seconds: float) -> dict[QueueKeys, str]:
        """Wait for an event that is not the one named."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    came = {keys: at for keys, old in after.items() if (at := self.events.get(keys.queue, old)) != old}
                    if came:
                        return came
                    self._spoke = self._spoke or asyncio.Event()
                    await self._spoke.wait()
        except TimeoutError:
            return {}


@dataclass
class FakeRedis:
    """A queue that is not there was never used; `details` overrides what is read beyond the counts."""

    queues: FakeQueues = field(default_factory=FakeQueues)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: RedisReadError | None = None
    details_error: RedisReadError | None = None
    password: str | None = None
    can_wait: bool = True
    reads: list[float] = field(default_factory=list)
    horizons: set[int] = field(default_factory=set)

    def open(self, settings: ConnectionSettings) -> FakeReader:
        return FakeReader(self, settings.password.get_secret_value() if settings.password else None)

    def snapshot(self, keys: QueueKeys, horizon_ms: int) -> QueueSnapshot:
        values = self.queues.get(keys.queue)
        found = {"exists": values is not None, **(values or {})}
        found |= {"prefix": keys.prefix, "queue": keys.queue, "now_ms": int(now() * 1000), "horizon_ms": horizon_ms}
        return empty_but_for(**found | {"last_event_id": self.queues.events.get(keys.queue)})

    def all_details(self, keys: QueueKeys) -> QueueDetails:
        active = (self.queues.get(keys.queue) or {}).get("active", 0)
        values = {"active_total": active, "next_names": {}, "last_names": {}} | self.details.get(keys.queue, {})
        return QueueDetails(prefix=keys.prefix, queue=keys.queue, now_ms=int(now() * 1000), **values)


class FakeReader:
    server_seconds_per_queue = 0.00001

    def __init__(self, redis: FakeRedis, password: str | None) -> None:
        self._redis = redis
        self._password = password

    @property
    def can_wait(self) -> bool:
        return self._redis.can_wait

    async def read(
        self, queues: Sequence[QueueKeys], *, horizon_ms: int | Mapping[QueueKeys, int], deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueSnapshot | RedisReadError]:
        await asyncio.sleep(0.002)
        self._redis.reads.append(clock())
        ahead = {keys: horizon_ms if isinstance(horizon_ms, int) else horizon_ms[keys] for keys in queues}
        self._redis.horizons |= set(ahead.values())
        error = self._error()
        return {keys: error or self._redis.snapshot(keys, ahead[keys]) for keys in queues}

    async def read_details(
        self, queues: Sequence[QueueKeys], *, deadline_seconds: float
    ) -> Mapping[QueueKeys, QueueDetails | RedisReadError]:
        await asyncio.sleep(0.002)
        error = self._error() or self._redis.details_error
        return {keys: error or self._redis.all_details(keys) for keys in queues}

    async def wait(self, after: Mapping[QueueKeys, str], *, block_ms: int) -> Mapping[QueueKeys, str]:
        if (error := self._error()) is not None:
            raise error
        return await self._redis.queues.news(after, block_ms / 1000)

    def _error(self) -> RedisReadError | None:
        if self._redis.password is not None and self._redis.password != self._password:
            return RedisReadError("authentication failed", reason="RedisAuthFailed")
        return self._redis.error

    async def aclose(self) -> None:
        pass


class World:
    """Loop, readers and reconciler of an operator, and the cluster and Redis around it."""

    def __init__(self, cluster: FakeCluster | None = None, redis: FakeRedis | None = None) -> None:
        self.cluster = cluster or FakeCluster()
        self.redis = redis or FakeRedis()
        self.store: dict[Key, Resource] = {}
        self.errors: list[Exception] = []
        self.looks: list[float] = []
        """When QueueWorkers were looked at,"""
        self.tellings: list[float] = []
        """and when it was seen to it that they are told of."""
        self.rivals = Rivals(self.store)
        self.rivals.look_again = self._workers_may_differ
        self.metrics = Metrics(CollectorRegistry(), clock=clock)
        self.queues: Queues[Key] = Queues(
            wake=self._queue_spoke, clock=clock, random=lambda: 0.5, open_reader=self.redis.open
        )
        self.reconciler = Reconciler(
            store=self.store,
            cluster=self.cluster,
            queues=self.queues,
            metrics=self.metrics,
            settings=ReconcilerSettings(tls_directory=Path("/nonexistent")),
            now=now,
            clock=clock,
            tell_in=lambda key, seconds: self.telling.wake_in(key, seconds),
            dropped=self.rivals.dropped,
        )
        self.loop: Loop[Key] = Loop(
            self._look,
            clock=clock,
            random=lambda: 0.5,
            on_failure=lambda key, error: self.errors.append(error),
        )
        self.telling: Loop[Key] = Loop(
            self._tell,
            clock=clock,
            random=lambda: 0.5,
            on_failure=lambda key, error: self.errors.append(error),
        )
        self.cluster.changed = self._workers_changed

    async def _look(self, key: Key) -> float | None:
        self.looks.append(clock())
        return await self.reconciler(key)

    async def _tell(self, key: Key) -> float | None:
        self.tellings.append(clock())
        return await self.reconciler.tell(key)

    def _queue_spoke(self, key: Key) -> None:
        self.loop.wake(key, urgent=self.reconciler.is_urgent(key))

    def _workers_changed(self, key: Key) -> None:
        self.loop.wake_in(key, self.reconciler.workers_changed(key))

    def _workers_may_differ(self, key: Key) -> None:
        self.reconciler.workers_changed(key)
        self.loop.wake(key, fresh=True)

    def put(self, body: Mapping[str, Any], **changes: Any) -> Resource:
        """Let the watch bring a QueueWorker, with the status that the cluster holds."""
        resource = resource_of(body)
        resource = replace(resource, status=self.cluster.statuses.get(resource.key), **changes)
        self.store[resource.key] = resource
        self.rivals.took(resource)
        self.loop.wake(resource.key, fresh=True)
        return resource

    def delete(self, key: Key) -> None:
        del self.store[key]
        self.rivals.dropped(key)
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
        tasks = [asyncio.create_task(loop.run()) for loop in (world.loop, world.telling)]
        try:
            return await story(world)
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await world.queues.close()

    return virtual_time.run(main(), start=start)
