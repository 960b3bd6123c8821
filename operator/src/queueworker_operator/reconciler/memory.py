"""What the reconciler keeps of one QueueWorker between two looks. All of it can be lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.cluster.port import ClusterError, Resource, Secret
from queueworker_operator.scaling.decision import Decision, History
from queueworker_operator.scaling.history import restore
from queueworker_operator.scaling.observation import Problem, WorkersObservation
from queueworker_operator.scaling.record import Difference

LONG_AGO = -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A write that the cluster refused; times are of the loop's clock."""

    problem: Problem
    subject: object
    """What was to be written: another one is tried at once."""
    again_at: float
    pause: float


@dataclass(slots=True)
class Memory:
    """Of one QueueWorker; times are of the loop's clock but where they say otherwise."""

    uid: str
    history: History
    status: api.QueueWorkerStatus | None
    """As the cluster holds it, as far as we know."""
    status_written_at: float = LONG_AGO
    status_refused_until: float = LONG_AGO
    first_status_until: float | None = None
    """How long the first status of all may wait."""
    status_slots: dict[Difference, float] = field(default_factory=dict)
    """From when on the next status may be written, by what it tells."""
    generation: int | None = None
    workers: WorkersObservation | None = None
    workers_seen_at: float = LONG_AGO
    workers_stale: bool = True
    secrets: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    secrets_read_at: float = LONG_AGO
    secrets_problem: Problem | None = None
    fingerprint: str | None = None
    """What the workers' template is to bear; None where a Secret is missing."""
    refusals: dict[str, Refusal] = field(default_factory=dict)
    applied_fields: str | None = None
    drift_corrected_at: float | None = None
    """Unix seconds."""
    drift_fight: bool = False
    conflicts: int = 0
    decision: Decision | None = None

    @classmethod
    def of(cls, resource: Resource, now: float) -> Memory:
        """Return what the status of the QueueWorker remembers."""
        scaling = resource.status.scaling if resource.status else None
        kept = scaling.memory if scaling else None
        autoscaling = resource.spec.autoscaling if resource.spec else None
        window = autoscaling.behavior.scale_down.stabilization_window_seconds if autoscaling else None
        queues = [queue.name for queue in resource.spec.queues] if resource.spec else None
        corrected = kept.drift_corrected_at if kept else None
        return cls(
            uid=resource.uid,
            history=restore(resource.status, now, window=window, queues=queues),
            status=resource.status,
            applied_fields=kept.applied_fields if kept else None,
            drift_corrected_at=corrected.timestamp() if corrected and corrected.timestamp() <= now else None,
        )

    def with_memory(self, resource: Resource) -> Resource:
        """Return the QueueWorker with what is known to have been applied last, for the cluster to find drift by."""
        status = self.status or api.QueueWorkerStatus()
        if status.scaling is None:
            return replace(resource, status=status)
        kept = (status.scaling.memory or api.Memory()).model_copy(update={"applied_fields": self.applied_fields})
        scaling = status.scaling.model_copy(update={"memory": kept})
        return replace(resource, status=status.model_copy(update={"scaling": scaling}))

    def saw(self, workers: WorkersObservation, at: float) -> None:
        """Keep a fresh look at the workers."""
        self.workers, self.workers_seen_at = workers, at
        if self.applied_fields is None:
            self.applied_fields = workers.applied_fields

    def forget_secrets(self) -> None:
        """Read the Secrets again at the next look, and try again what was refused."""
        self.secrets_read_at = LONG_AGO
        self.refusals.clear()

    def may_try(self, what: str, subject: object, at: float) -> bool:
        """Whether a write that was refused before may be tried again: after a pause, or at once if it is another."""
        refusal = self.refusals.get(what)
        return refusal is None or refusal.subject != subject or at >= refusal.again_at

    def refused(self, what: str, subject: object, error: ClusterError, at: float) -> None:
        """Take note of a refusal; the next try comes after 5 s, then after twice the pause, up to 5 minutes."""
        before = self.refusals.get(what)
        pause = min(300.0, before.pause * 2) if before is not None and before.subject == subject else 5.0
        problem = Problem(reason=error.reason, message=str(error))
        self.refusals[what] = Refusal(problem=problem, subject=subject, again_at=at + pause, pause=pause)
