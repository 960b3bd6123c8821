"""What the decision sees: one look at the queues and at the workers."""

from dataclasses import dataclass
from enum import StrEnum

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


class Ownership(StrEnum):
    """Whose the Deployment of the QueueWorker's name is."""

    ABSENT = "absent"
    OURS = "ours"
    ADOPTABLE = "adoptable"
    """It bears our label and selector and has no controller."""
    FOREIGN = "foreign"
    TERMINATING = "terminating"
    """It belonged to an earlier QueueWorker of the name and is on its way out."""


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
    """Why the first pod that is not ready is not."""
    drifted: bool = False
    """Somebody else changed fields that the operator had applied."""
    applied_fields: str | None = None
    """Digest of the fields that the operator owns as of its last apply; belongs into `Memory.applied_fields`."""
    resource_version: str | None = None
    uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at everything that one QueueWorker concerns."""

    queues: tuple[QueueObservation, ...]
    workers: WorkersObservation
