"""Which writes are needed to bring the workers to what was decided."""

from __future__ import annotations

from enum import StrEnum

from queueworker_operator.cluster.port import Resource
from queueworker_operator.reconciler import costs, drift
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.observation import Ownership, WorkersObservation


class Step(StrEnum):
    """A write."""

    CREATE = "create"
    COSTS = "costs"
    """Take back deletion costs; those of a scale-in are set with it."""
    SCALE = "scale"
    APPLY = "apply"


def needed(
    resource: Resource,
    workers: WorkersObservation,
    *,
    decision: Decision,
    memory: Memory,
    in_rush: bool,
    now: float,
) -> list[Step]:
    """Return the writes that are needed, in their order; `now` is Unix seconds."""
    found = []
    changes = decision.write and decision.desired != workers.replicas
    if workers.ownership is Ownership.ABSENT and decision.write and _owns_pods(resource):
        found.append(Step.CREATE)
    if workers.ownership is Ownership.TARGET and changes and workers.target_problem is None:
        found.append(Step.SCALE)
    if workers.ownership in (Ownership.OURS, Ownership.ADOPTABLE):
        if changes:
            found.append(Step.SCALE)
        stale = is_outdated(workers, memory) or drift.is_due(workers, memory, now)
        if stale and _may_apply(resource) and not _may_wait(workers, memory, in_rush=in_rush):
            found.append(Step.APPLY)
    shrinks = Step.SCALE in found and decision.desired < workers.replicas
    if not shrinks and costs.to_take_back(decision, workers, memory):
        found.append(Step.COSTS)
    return found


def is_unfinished(workers: WorkersObservation) -> bool:
    """Whether they were created, and their template was not handed over yet."""
    return workers.ownership is Ownership.OURS and workers.applied_fields is None


def is_outdated(workers: WorkersObservation, memory: Memory) -> bool:
    """Whether their template is not that of the spec, or not ours yet."""
    return workers.ownership is Ownership.ADOPTABLE or workers.fingerprint != memory.fingerprint


def can_apply(resource: Resource, memory: Memory) -> bool:
    """Whether nothing stands against writing a template: no dryRun, no missing Secret and no refusal."""
    return _may_apply(resource) and memory.secrets_problem is None and Step.APPLY not in memory.refusals


def _owns_pods(resource: Resource) -> bool:
    return resource.spec is not None and resource.spec.worker is not None


def _may_apply(resource: Resource) -> bool:
    spec = resource.spec
    return spec is None or spec.autoscaling is None or not spec.autoscaling.dry_run


def _may_wait(workers: WorkersObservation, memory: Memory, *, in_rush: bool) -> bool:
    """Whether what is left of a creation can wait: until the others are made, or, after a start, are decided."""
    return is_unfinished(workers) and (memory.decision is None or in_rush)
