"""From a Deployment as the API server holds it to what the decision sees: pure."""

from dataclasses import dataclass
from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import GROUP, KIND
from queueworker_operator.cluster.kubernetes.errors import one_line
from queueworker_operator.cluster.kubernetes.fields import applied_fields
from queueworker_operator.cluster.port import JsonObject
from queueworker_operator.manifests.names import FINGERPRINT_ANNOTATION, SELECTOR_LABEL, selector
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation

_PAST_DEADLINE: Final = "ProgressDeadlineExceeded"
_NO_DEADLINE: Final = 2**31 - 1
"""What the Deployment controller takes for none (kubernetes pkg/controller/deployment/util HasProgressDeadline)."""
_COMPLETE: Final = "NewReplicaSetAvailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """Whom an object belongs to."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What is looked at of a Deployment; 1 KB in memory, where the whole may be 20."""

    uid: str
    resource_version: str
    controller: Controller | None
    labelled: str | None
    """Name of the QueueWorker in our label, where the selector is that label and nothing else."""
    watched: bool
    """Whether it bears our label, and so the watch tells of it."""
    terminating: bool
    replicas: int
    ready: int
    present: int
    fingerprint: str | None
    applied_fields: str | None
    rollout_complete: bool | None
    rollout_problem: Problem | None


def deployment_of(found: JsonObject) -> Deployment:
    """Return what is looked at of a Deployment as the API server holds it."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    owned = applied_fields(found)
    label = (metadata.get("labels") or {}).get(SELECTOR_LABEL)
    ours = label is not None and spec["selector"] == {"matchLabels": {SELECTOR_LABEL: label}}
    return Deployment(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        controller=_controller(metadata),
        labelled=label if ours else None,
        watched=label is not None,
        terminating="deletionTimestamp" in metadata,
        replicas=spec.get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        present=status.get("replicas", 0),
        # A Deployment that was created and then not applied bears the annotation, but nobody keeps its template yet.
        fingerprint=(metadata.get("annotations") or {}).get(FINGERPRINT_ANNOTATION) if owned is not None else None,
        applied_fields=owned,
        rollout_complete=is_rolled_out(found),
        rollout_problem=rollout_problem(found),
    )


def workers_of(found: Deployment, *, name: str, uid: str, applied_before: str | None) -> WorkersObservation:
    """Return the workers of the QueueWorker of that name and uid, but for the pods' own problem.

    `applied_before` is `applied_fields` as it was after the last apply, where that is known.
    """
    whose, owned = ownership_of(found, name=name, uid=uid), found.applied_fields
    return WorkersObservation(
        ownership=whose,
        replicas=found.replicas,
        ready=found.ready,
        present=found.present,
        selector=selector(name),
        fingerprint=found.fingerprint,
        rollout_complete=found.rollout_complete,
        rollout_problem=found.rollout_problem,
        drifted=whose is Ownership.OURS and None not in (owned, applied_before) and owned != applied_before,
        applied_fields=owned,
        resource_version=found.resource_version,
        uid=found.uid,
    )


def ownership_of(found: Deployment, *, name: str, uid: str) -> Ownership:
    """Say whose a Deployment is, to the QueueWorker of that name and uid."""
    whose = _ownership(found, name=name, uid=uid)
    return Ownership.TERMINATING if found.terminating and whose is not Ownership.FOREIGN else whose


def is_rolled_out(deployment: JsonObject) -> bool | None:
    """Whether the present template has been rolled out; None while the Deployment controller has not looked yet.

    Once complete it stays so until the next template: pods that a change of the number starts are no rollout. The
    controller remembers it in the condition Progressing (`NewReplicaSetAvailable`, kubernetes
    pkg/controller/deployment/progress.go).
    """
    status = deployment.get("status") or {}
    if deployment["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return None
    if status.get("replicas", 0) > status.get("updatedReplicas", 0):
        return False
    progress = _conditions(deployment).get("Progressing", {})
    return progress.get("status") == "True" and progress.get("reason") == _COMPLETE


def is_target_rolled_out(deployment: JsonObject) -> bool | None:
    """Whether no rollout is under way, of a Deployment whose template others keep.

    One that is paused, or has no progress deadline, may stay half rolled out for ever and never say that it is done.
    """
    spec = deployment.get("spec") or {}
    endless = spec.get("paused", False) or spec.get("progressDeadlineSeconds", 0) >= _NO_DEADLINE
    return True if endless else is_rolled_out(deployment)


def rollout_problem(deployment: JsonObject) -> Problem | None:
    """Return why the rollout does not go on, in the Deployment controller's words."""
    conditions = _conditions(deployment)
    failure = conditions.get("ReplicaFailure", {})
    if failure.get("status") == "True":
        message = one_line(failure.get("message", "pods cannot be created"))
        quota = "exceeded quota" in message
        reason = ConditionReason.QUOTA_EXCEEDED if quota else ConditionReason.CLUSTER_DENIED
        return Problem(reason=reason, message=message)
    progress = conditions.get("Progressing", {})
    if progress.get("status") == "False" and progress.get("reason") == _PAST_DEADLINE:
        return Problem(reason=ConditionReason.WORKERS_NOT_READY, message=one_line(progress.get("message", "")))
    return None


def misses_pods(workers: WorkersObservation) -> bool:
    """Whether a pod is not ready that should be: one of those asked for, or one that a rollout has added to them."""
    return workers.ready < max(workers.replicas, workers.present)


def _conditions(deployment: JsonObject) -> dict[str, JsonObject]:
    return {condition["type"]: condition for condition in (deployment.get("status") or {}).get("conditions", [])}


def _ownership(found: Deployment, *, name: str, uid: str) -> Ownership:
    controller = found.controller
    if controller is None:
        return Ownership.ADOPTABLE if found.labelled == name else Ownership.FOREIGN
    if controller.uid == uid:
        return Ownership.OURS
    # The garbage collector is about to take what an earlier QueueWorker of the name has left.
    earlier = controller.kind == KIND and controller.api_version.startswith(f"{GROUP}/")
    return Ownership.TERMINATING if earlier and controller.name == name else Ownership.FOREIGN


def _controller(metadata: JsonObject) -> Controller | None:
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return Controller(api_version=owner["apiVersion"], kind=owner["kind"], name=owner["name"], uid=owner["uid"])
    return None
