"""What the reconciler needs of a place where workers run, and the errors that such a place raises."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from queueworker.errors import QueueWorkerError
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec, QueueWorkerStatus
from queueworker_operator.scaling.observation import WorkersObservation


class Key(NamedTuple):
    """Which QueueWorker."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A QueueWorker as the cluster holds it."""

    key: Key
    uid: str
    generation: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    spec: QueueWorkerSpec | None
    """None where it could not be read; spec_error then says why."""
    spec_error: str | None = None
    status: QueueWorkerStatus | None = None
    deleting: bool = False
    created_at: float = 0.0
    """Unix seconds; of two QueueWorkers with one target the older one scales it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A Secret that the operator may read."""

    name: str
    uid: str
    data: Mapping[str, bytes] = field(repr=False)


class ClusterError(QueueWorkerError):
    """Something that the cluster refused or could not do; carries the reason for the condition."""

    def __init__(self, message: str, *, reason: ConditionReason) -> None:
        super().__init__(message)
        self.reason = reason


class ConflictError(ClusterError):
    """Somebody else wrote in between: look again."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason=ConditionReason.PENDING)


class GoneError(ConflictError):
    """The QueueWorker itself is gone, or another one has its name."""


class ClusterUnavailableError(ClusterError):
    """The cluster does not answer: nothing is known and nothing was done."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, reason=ConditionReason.PENDING)
        self.retry_after_seconds = retry_after_seconds


class Cluster(Protocol):
    """A place where workers run. Every method raises ClusterError and nothing else of its own."""

    async def observe(self, resource: Resource, *, fresh: bool = True, pods: bool | None = False) -> WorkersObservation:
        """Return the workers of a QueueWorker, or what its targetRef names, as they are.

        Not `fresh`: as the watch last told, where it did. `pods`: with the pods; False, where they are not asked for,
        may bring them too, None does not list them. Pods that cannot be listed are no error, their `pod_problem` says
        why: with the reason Pending it is worth another try. What cannot be scaled is a `target_problem`, no error.
        """
        ...

    async def set_deletion_costs(self, resource: Resource, costs: Mapping[str, int | None]) -> None:
        """Set the deletion cost of pods by name, or take it away; pods that are gone are passed over."""
        ...

    async def secret(self, namespace: str, name: str) -> Secret:
        """Return a Secret; raises ClusterError with SecretNotFound or SecretNotAllowed."""
        ...

    async def create(
        self, resource: Resource, *, secrets: Mapping[str, Secret], replicas: int, hurried: bool = False
    ) -> WorkersObservation:
        """Make the workers, `replicas` of them from the start; raises GoneError where the QueueWorker is gone.

        `hurried`: others wait to be made, so what else there is to do may be left to the next apply.
        """
        ...

    async def apply(
        self, resource: Resource, observed: WorkersObservation, *, secrets: Mapping[str, Secret]
    ) -> WorkersObservation:
        """Bring the template up to the spec, adopting the Deployment if need be; never touches the replicas."""
        ...

    async def scale(self, resource: Resource, observed: WorkersObservation, *, replicas: int) -> None:
        """Write the number of replicas; raises ConflictError if the workers changed since they were observed."""
        ...

    async def write_status(self, resource: Resource, status: QueueWorkerStatus) -> None:
        """Store the status; raises GoneError where the QueueWorker is gone."""
        ...

    async def publish(self, resource: Resource, *, kind: str, reason: str, message: str) -> None:
        """Publish an event; kind is Normal or Warning."""
        ...

    def fingerprint(self, resource: Resource, secrets: Mapping[str, Secret]) -> str:
        """Return what `WorkersObservation.fingerprint` will be once the template is up to the spec and Secrets."""
        ...

    async def close(self) -> None:
        """Let go of everything; workers of this host are drained."""
        ...


JsonObject = dict[str, Any]
