"""The cluster of the tests of the reconciler, in virtual time: a Deployment and its pods, and what was asked of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerStatus
from queueworker_operator.cluster.port import ClusterError, ConflictError, Key, Resource, Secret
from queueworker_operator.scaling.observation import Ownership, Pod, Problem, WorkersObservation

EPOCH = 1_800_000_000.0
KEY = Key("default", "mail")


def now() -> float:
    """Unix seconds of the virtual world."""
    return EPOCH + clock()


def clock() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class FakePod:
    name: str
    created_at: float
    """By the virtual clock, like all times of the fakes."""
    ready_at: float
    cost: int | None = None
    ends_at: float | None = None
    """Until when it is terminating."""
    failing: Problem | None = None
    """What it keeps failing of, though it may be ready in between."""

    def seen(self, problem: Problem | None) -> Pod:
        ready = self.ready_at <= clock()
        return Pod(
            name=self.name,
            ready=ready,
            terminating=self.ends_at is not None,
            created_at=EPOCH + self.created_at,
            scheduled_at=EPOCH + self.created_at,
            ready_at=EPOCH + self.ready_at if ready else None,
            problem=self.failing if ready else self.failing or problem,
            deletion_cost=self.cost,
        )


@dataclass
class Deployment:
    replicas: int
    fingerprint: str | None
    ownership: Ownership = Ownership.OURS
    rolled_out: bool | None = True
    """None: the Deployment controller has not looked yet."""
    version: int = 1
    applied: str | None = "fields-1"
    """Digest of the fields that we own."""
    pods: list[FakePod] = field(default_factory=list)
    conflict: str | None = None
    conflict_problem: Problem | None = None
    target_problem: Problem | None = None
    pod_problem: Problem | None = None
    rollout_problem: Problem | None = None
    grace_seconds: int | None = None
    ordinal: bool = False
    made: int = 0

    def staying(self) -> list[FakePod]:
        return [pod for pod in self.pods if pod.ends_at is None]

    def settle(self, *, start_seconds: float, drain_seconds: float) -> None:
        """Do what a ReplicaSet controller does: the cheapest pods go first, then the youngest."""
        self.pods = [pod for pod in self.pods if pod.ends_at is None or pod.ends_at > clock()]
        while len(self.staying()) < self.replicas:
            self.made += 1
            self.pods.append(FakePod(f"pod-{self.made}", clock(), clock() + start_seconds))
        going = sorted(self.staying(), key=lambda p: (p.ready_at <= clock(), p.cost or 0, -p.created_at, p.name))
        for pod in going[: len(going) - self.replicas]:
            pod.ends_at = clock() + drain_seconds


class FakeCluster:
    """Keeps Deployments in a dictionary; their pods are ready at once, unless told otherwise. Counts every call."""

    def __init__(self) -> None:
        self.deployments: dict[Key, Deployment] = {}
        self.secrets: dict[str, Secret] = {}
        self.statuses: dict[Key, QueueWorkerStatus] = {}
        self.events: list[tuple[str, str, str]] = []
        self.calls: list[tuple[float, str, object]] = []
        self.fail: dict[str, Callable[[], Exception]] = {}
        """What each kind of call raises."""
        self.changed: Callable[[Key], None] = lambda key: None
        self.rolled_out_at_once = True
        self.latency = 0.003
        self.start_seconds = 0.0
        self.drain_seconds = 0.0
        self.pods_denied: Problem | None = None
        """Why the pods cannot be listed."""
        self.pods_hidden = False
        """Whether nobody says which pods there are, as of a target without a selector."""

    def count(self, *, since: float = 0.0) -> Counter[str]:
        return Counter(what for at, what, _ in self.calls if at >= since)

    def writes(self, *, since: float = 0.0) -> list[tuple[str, object]]:
        reads = {"observe", "glance", "pods", "secret"}
        return [(what, detail) for at, what, detail in self.calls if at >= since and what not in reads]

    def numbers(self, *, since: float = 0.0) -> list[object]:
        """Return the numbers that were written."""
        return [detail for what, detail in self.writes(since=since) if what in ("create", "scale")]

    async def _call(self, what: str, detail: object = None) -> None:
        self.calls.append((clock(), what, detail))
        if what != "glance":
            await asyncio.sleep(self.latency)
        if what in self.fail:
            raise self.fail[what]()

    async def set_deletion_costs(self, resource: Resource, costs: Mapping[str, int | None]) -> None:
        await self._call("costs", dict(costs))
        for pod in self.deployments[resource.key].pods:
            pod.cost = costs.get(pod.name, pod.cost)

    async def observe(self, resource: Resource, *, fresh: bool = True, pods: bool | None = False) -> WorkersObservation:
        await self._call("observe" if fresh else "glance", resource.key)
        try:
            if pods:
                await self._call("pods", resource.key)
        except ClusterError as error:
            return replace(
                self._observation(resource), pod_problem=Problem(reason=error.reason, message=f"no pods: {error}")
            )
        return self._observation(resource, pods=bool(pods))

    async def secret(self, namespace: str, name: str) -> Secret:
        await self._call("secret", name)
        if name not in self.secrets:
            raise ClusterError(f"the Secret {name} is not there", reason=ConditionReason.SECRET_NOT_FOUND)
        return self.secrets[name]

    async def create(
        self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int, hurried: bool = False
    ) -> WorkersObservation:
        await self._call("create", replicas)
        rolled_out = True if self.rolled_out_at_once else None
        made = Deployment(replicas, self.fingerprint(resource, secrets), rolled_out=rolled_out)
        if hurried:
            made.fingerprint = made.applied = None
        self.deployments[resource.key] = made
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
        return "|".join([resource.spec.pods.image, *passwords])

    async def close(self) -> None:
        pass

    def touch(self, key: Key = KEY, **changes: Any) -> None:
        """Change a Deployment as somebody else would."""
        found = self.deployments[key]
        for name, value in changes.items():
            setattr(found, name, value)
        self._settle(key)

    def _wrote(self, resource: Resource) -> WorkersObservation:
        self._settle(resource.key)
        return self._observation(resource)

    def _settle(self, key: Key) -> None:
        found = self.deployments.get(key)
        if found is not None:
            found.version += 1
            found.settle(start_seconds=self.start_seconds, drain_seconds=self.drain_seconds)
            times = {at for pod in found.pods for at in (pod.ready_at, pod.ends_at) if at is not None and at > clock()}
            for at in times:
                # The loop calls up to its resolution too soon, and would be asked again for the same moment, for ever.
                asyncio.get_running_loop().call_at(at + 0.001, self._settle_once, key, found.version)
        self.changed(key)

    def _shows_pods(self) -> bool:
        return self.pods_denied is None and not self.pods_hidden

    def _settle_once(self, key: Key, version: int) -> None:
        """Let time pass for the pods; what was planned before another change is void."""
        if key in self.deployments and self.deployments[key].version == version:
            self._settle(key)

    def _observation(self, resource: Resource, *, pods: bool = False) -> WorkersObservation:
        found = self.deployments.get(resource.key)
        if found is None:
            return WorkersObservation()
        if not found.pods and found.replicas:
            found.settle(start_seconds=0.0, drain_seconds=0.0)
        memory = resource.status.scaling.memory if resource.status and resource.status.scaling else None
        applied = memory.applied_fields if memory else None
        here = found.staying()
        return WorkersObservation(
            ownership=found.ownership,
            replicas=found.replicas,
            ready=sum(pod.ready_at <= clock() for pod in here),
            present=len(here),
            selector=f"app={resource.key.name}",
            fingerprint=found.fingerprint,
            rollout_complete=found.rolled_out,
            drifted=applied is not None and applied != found.applied,
            applied_fields=found.applied,
            resource_version=str(found.version),
            uid="deployment",
            pods=tuple(pod.seen(found.pod_problem) for pod in found.pods) if pods and self._shows_pods() else None,
            grace_seconds=found.grace_seconds,
            ordinal=found.ordinal,
            conflict=found.conflict,
            conflict_problem=found.conflict_problem,
            target_problem=found.target_problem,
            pod_problem=(self.pods_denied or found.pod_problem or _failing(here)) if pods else None,
            rollout_problem=found.rollout_problem,
        )


def _failing(pods: list[FakePod]) -> Problem | None:
    return next((pod.failing for pod in pods if pod.failing is not None and pod.ready_at > clock()), None)
