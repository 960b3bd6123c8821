"""From a Deployment as the API server holds it to what the decision sees: pure."""

from typing import Final

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import GROUP, KIND
from queueworker_operator.cluster.kubernetes.errors import one_line
from queueworker_operator.cluster.kubernetes.fields import applied_fields
from queueworker_operator.cluster.port import JsonObject
from queueworker_operator.manifests.names import FINGERPRINT_ANNOTATION, SELECTOR_LABEL, selector
from queueworker_operator.scaling.observation import Ownership, Problem, WorkersObservation

_PAST_DEADLINE: Final = "ProgressDeadlineExceeded"
_COMPLETE: Final = "NewReplicaSetAvailable"


def workers_of(deployment: JsonObject, *, name: str, uid: str, applied_before: str | None) -> WorkersObservation:
    """Return the workers of the QueueWorker of that name and uid, but for the pods' own problem.

    `applied_before` is `applied_fields` as it was after the last apply, where that is known.
    """
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    owned = applied_fields(deployment)
    whose = ownership_of(deployment, name=name, uid=uid)
    return WorkersObservation(
        ownership=whose,
        replicas=spec.get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        present=status.get("replicas", 0),
        selector=selector(name),
        # A Deployment that was created and then not applied bears the annotation, but nobody keeps its template yet.
        fingerprint=(metadata.get("annotations") or {}).get(FINGERPRINT_ANNOTATION) if owned is not None else None,
        rollout_complete=is_rolled_out(deployment),
        rollout_problem=rollout_problem(deployment),
        drifted=whose is Ownership.OURS and None not in (owned, applied_before) and owned != applied_before,
        applied_fields=owned,
        resource_version=metadata["resourceVersion"],
        uid=metadata["uid"],
    )


def ownership_of(deployment: JsonObject, *, name: str, uid: str) -> Ownership:
    """Say whose a Deployment is, to the QueueWorker of that name and uid."""
    metadata = deployment["metadata"]
    whose = _ownership(deployment, name=name, uid=uid)
    if "deletionTimestamp" in metadata and whose is not Ownership.FOREIGN:
        return Ownership.TERMINATING
    return whose


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


def _ownership(deployment: JsonObject, *, name: str, uid: str) -> Ownership:
    references = deployment["metadata"].get("ownerReferences") or []
    controller = next((reference for reference in references if reference.get("controller")), None)
    if controller is None:
        return Ownership.ADOPTABLE if _bears_our_label(deployment, name) else Ownership.FOREIGN
    if controller["uid"] == uid:
        return Ownership.OURS
    # The garbage collector is about to take what an earlier QueueWorker of the name has left.
    earlier = controller["kind"] == KIND and controller["apiVersion"].startswith(f"{GROUP}/")
    return Ownership.TERMINATING if earlier and controller["name"] == name else Ownership.FOREIGN


def _bears_our_label(deployment: JsonObject, name: str) -> bool:
    labels = deployment["metadata"].get("labels") or {}
    ours = {SELECTOR_LABEL: name}
    return labels.get(SELECTOR_LABEL) == name and deployment["spec"]["selector"] == {"matchLabels": ours}
