"""What the decision sees: one look at the queues and at the workers."""

from dataclasses import dataclass
from enum import StrEnum

from queueworker.details import QueueDetails
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.api.reasons import ConditionReason

START_UP_SECONDS = 30.0
"""How long a pod takes to become ready, as long as nobody has measured it."""
HORIZON_SECONDS = START_UP_SECONDS + 2.0
"""How far ahead a queue is read: jobs that fall due within this are in `QueueSnapshot.delayed_due_soon`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong, as a condition says it: one word and one sentence."""

    reason: ConditionReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueObservation:
    """One queue of the spec as it was read: exactly one of snapshot and problem is there."""

    name: str
    concurrency: int
    snapshot: QueueSnapshot | None = None
    problem: Problem | None = None
    """Why the queue is unknown."""
    failures: int = 0
    """Reads that failed in a row up to this one."""
    failing_since: float | None = None
    """Unix seconds of the first of them."""
    details: QueueDetails | None = None
    """What was last read beyond the counts; it may be older than the snapshot, see its `now_ms`."""
    shared_with: tuple[str, ...] = ()
    """Names of the other QueueWorkers that serve this very queue."""


class Ownership(StrEnum):
    """Whose the Deployment of the QueueWorker's name is."""

    ABSENT = "absent"
    OURS = "ours"
    TARGET = "target"
    """What targetRef names: only its number is ours to write."""
    ADOPTABLE = "adoptable"
    """It bears our label and selector and has no controller."""
    FOREIGN = "foreign"
    TERMINATING = "terminating"
    """It belonged to an earlier QueueWorker of the name and is on its way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod, or process, of the workers; times are Unix seconds."""

    name: str
    """What our workers begin their lock tokens with."""
    ready: bool
    terminating: bool = False
    created_at: float
    scheduled_at: float | None = None
    """When it got its node; None while it waits for one."""
    ready_at: float | None = None
    unready_since: float | None = None
    """Since when it is not ready: since its start, or since it stopped being so; None where it is, or nobody tells."""
    problem: Problem | None = None
    """Why it does not become ready: a crash loop, an image that cannot be pulled. Of one that is ready: why it was not,
    over and over."""
    deletion_cost: int | None = None
    """`controller.kubernetes.io/pod-deletion-cost`, where it is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersObservation:
    """The workers as they are; counts are pods, or processes of this host."""

    ownership: Ownership = Ownership.ABSENT
    replicas: int = 0
    """The number that is asked for now."""
    ready: int = 0
    present: int = 0
    """Pods that exist, ready or not, terminating ones left out."""
    selector: str = ""
    fingerprint: str | None = None
    """Of the spec and Secrets that the template was last rendered from."""
    rollout_complete: bool | None = False
    """Whether all run the present template; None where nothing newer is known than what was said before."""
    rollout_problem: Problem | None = None
    """Why the rollout does not go on: refused, out of quota, or past its deadline."""
    pod_problem: Problem | None = None
    """Why the first pod that is not ready is not, or was not when the pods were last listed. Only WorkersNotReady is a
    trouble of the pod itself: with Pending it waits for a node and is coming capacity, or the pods could not be listed;
    with ClusterDenied they may not be."""
    drifted: bool = False
    """Somebody else changed fields that the operator had applied."""
    applied_fields: str | None = None
    """Digest of the fields that the operator owns as of its last apply; belongs into `Memory.applied_fields`."""
    resource_version: str | None = None
    uid: str | None = None
    pods: tuple[Pod, ...] | None = None
    """The pods, terminating ones too; None where they were not listed."""
    grace_seconds: int | None = None
    """The pods' own grace period, where they are not ours (targetRef)."""
    ordinal: bool = False
    """Whether the highest ordinal goes first, as in a StatefulSet: no victim can be chosen."""
    conflict: str | None = None
    """Another autoscaler that writes the number of the same target, as `HorizontalPodAutoscaler mail`."""
    conflict_problem: Problem | None = None
    """Why it is not known whether there is another one."""
    left_behind: str | None = None
    """Workers of an earlier spec.worker that go on beside a targetRef, as `Deployment jobs/mail`."""
    target_problem: Problem | None = None
    """Why what targetRef names cannot be scaled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at everything that one QueueWorker concerns."""

    queues: tuple[QueueObservation, ...]
    workers: WorkersObservation
