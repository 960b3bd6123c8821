"""What the Kubernetes adapter makes of Deployments, pods and refusals: pure functions over the API's own JSON."""

from __future__ import annotations

from typing import Any

import pytest

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.deployments import (
    deployment_of,
    is_rolled_out,
    is_target_rolled_out,
    misses_pods,
    ownership_of,
    rollout_problem,
    workers_of,
)
from queueworker_operator.cluster.kubernetes.errors import NotFoundError, refusal
from queueworker_operator.cluster.kubernetes.fields import applied_fields, handover
from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError, ConflictError
from queueworker_operator.scaling.observation import Ownership, WorkersObservation

SELECTOR = {"queueworker.dev/queueworker": "killmail"}
ROLLED_OUT = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
STEADY = {
    "observedGeneration": 2,
    "replicas": 3,
    "updatedReplicas": 3,
    "availableReplicas": 3,
    "readyReplicas": 3,
    "conditions": [ROLLED_OUT],
}


def reference(**changes: Any) -> dict[str, Any]:
    given = {"apiVersion": "queueworker.dev/v1alpha1", "kind": "QueueWorker", "name": "killmail", "uid": "now"}
    return {**given, "controller": True, **changes}


def deployment(
    *,
    owners: list[dict[str, Any]] | None = None,
    labels: dict[str, str] | None = None,
    selector: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    replicas: int = 3,
    **metadata: Any,
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "killmail",
            "generation": 2,
            "resourceVersion": "7",
            "uid": "deployment",
            "labels": SELECTOR if labels is None else labels,
            "ownerReferences": [reference()] if owners is None else owners,
            **metadata,
        },
        "spec": {"replicas": replicas, "selector": {"matchLabels": SELECTOR} if selector is None else selector},
        "status": STEADY if status is None else status,
    }


@pytest.mark.parametrize(
    ("found", "whose"),
    [
        (deployment(), Ownership.OURS),
        (deployment(labels={}), Ownership.OURS),
        (deployment(owners=[reference(uid="other", kind="Rollout", controller=False), reference()]), Ownership.OURS),
        (deployment(deletionTimestamp="2026-01-01T00:00:00Z"), Ownership.TERMINATING),
        (deployment(owners=[reference(uid="earlier")]), Ownership.TERMINATING),
        (deployment(owners=[reference(uid="earlier", apiVersion="queueworker.dev/v1")]), Ownership.TERMINATING),
        (deployment(owners=[reference(uid="x", name="other")]), Ownership.FOREIGN),
        (deployment(owners=[reference(uid="x", kind="Rollout", apiVersion="argoproj.io/v1")]), Ownership.FOREIGN),
        (
            deployment(owners=[reference(uid="x", kind="Rollout")], deletionTimestamp="2026-01-01T00:00:00Z"),
            Ownership.FOREIGN,
        ),
        (deployment(owners=[]), Ownership.ADOPTABLE),
        (deployment(owners=[reference(uid="earlier", controller=False)]), Ownership.ADOPTABLE),
        (deployment(owners=[], deletionTimestamp="2026-01-01T00:00:00Z"), Ownership.TERMINATING),
        (deployment(owners=[], labels={}), Ownership.FOREIGN),
        (deployment(owners=[], labels={"queueworker.dev/queueworker": "other"}), Ownership.FOREIGN),
        (deployment(owners=[], selector={"matchLabels": {**SELECTOR, "app": "x"}}), Ownership.FOREIGN),
        (deployment(owners=[], selector={"matchLabels": {"app": "x"}}), Ownership.FOREIGN),
    ],
)
def test_whose_a_deployment_is(found: dict[str, Any], whose: Ownership) -> None:
    assert ownership_of(deployment_of(found), name="killmail", uid="now") is whose


@pytest.mark.parametrize(
    ("changes", "complete"),
    [
        ({}, True),
        ({"observedGeneration": 1}, None),
        # Pods of another template are left, also while the condition still speaks of the earlier one.
        ({"updatedReplicas": 2}, False),
        ({"conditions": [{**ROLLED_OUT, "reason": "ReplicaSetUpdated"}]}, False),
        ({"conditions": [{**ROLLED_OUT, "status": "False", "reason": "ProgressDeadlineExceeded"}]}, False),
        ({"conditions": []}, False),
        # More were asked for and have not come yet: the number is no rollout.
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 0, "readyReplicas": 0}, True),
    ],
)
def test_a_rollout_is_complete_when_the_controller_says_so(changes: dict[str, Any], complete: bool | None) -> None:
    assert is_rolled_out(deployment(status={**STEADY, **changes})) is complete


@pytest.mark.parametrize(
    ("spec", "complete"),
    [({}, False), ({"progressDeadlineSeconds": 600}, False), ({"progressDeadlineSeconds": 2**31 - 1}, True)]
    + [({"paused": paused}, paused) for paused in (True, False)],
)
def test_a_targets_rollout_that_may_never_end_is_none(spec: dict[str, Any], complete: bool) -> None:
    found = deployment(status={**STEADY, "updatedReplicas": 2})
    found["spec"] |= spec

    assert is_target_rolled_out(found) is complete


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ({"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}, None),
        (
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "m"},
            ConditionReason.WORKERS_NOT_READY,
        ),
        ({"type": "Available", "status": "False", "message": "m"}, None),
        (
            {"type": "ReplicaFailure", "status": "True", "message": 'pods "a" is forbidden: exceeded quota: few'},
            ConditionReason.QUOTA_EXCEEDED,
        ),
        (
            {"type": "ReplicaFailure", "status": "True", "message": 'pods "a" is forbidden: violates PodSecurity'},
            ConditionReason.CLUSTER_DENIED,
        ),
        ({"type": "ReplicaFailure", "status": "False", "message": "m"}, None),
    ],
)
def test_why_a_rollout_does_not_go_on(condition: dict[str, Any], reason: ConditionReason | None) -> None:
    problem = rollout_problem(deployment(status={**STEADY, "conditions": [condition]}))

    assert (problem and problem.reason) == reason
    assert problem is None or problem.message == condition["message"]


@pytest.mark.parametrize(
    ("replicas", "present", "ready", "missed"),
    [(3, 3, 3, False), (3, 0, 0, True), (3, 4, 3, True), (1, 3, 3, False), (0, 0, 0, False)],
)
def test_pods_are_looked_at_while_one_is_missed(replicas: int, present: int, ready: int, missed: bool) -> None:
    assert misses_pods(WorkersObservation(replicas=replicas, present=present, ready=ready)) is missed


def managed(manager: str, operation: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


IMAGE = {"f:spec": {"f:template": {"f:image": {}}}}
REPLICAS = {"f:spec": {"f:replicas": {}}}


def test_the_fingerprint_counts_only_once_the_template_was_applied() -> None:
    annotated = {"annotations": {"queueworker.dev/fingerprint": "abc"}}
    created = deployment(**annotated, managedFields=[managed("queueworker-scale", "Update", IMAGE)])
    applied = deployment(**annotated, managedFields=[managed("queueworker-operator", "Apply", IMAGE)])

    assert workers_of(deployment_of(created), name="killmail", uid="now", applied_before=None).fingerprint is None
    assert workers_of(deployment_of(applied), name="killmail", uid="now", applied_before=None).fingerprint == "abc"


def test_drift_needs_something_to_compare_with() -> None:
    found = deployment(managedFields=[managed("queueworker-operator", "Apply", IMAGE)])
    digest = applied_fields(found)

    def drifted(before: str | None) -> bool:
        return workers_of(deployment_of(found), name="killmail", uid="now", applied_before=before).drifted

    assert (drifted(None), drifted(digest), drifted("other")) == (False, False, True)


def test_the_digest_knows_only_what_the_operator_applied() -> None:
    own = managed("queueworker-operator", "Apply", IMAGE)
    others = [
        managed("queueworker-operator", "Update", REPLICAS),
        managed("queueworker-scale", "Update", REPLICAS, subresource="scale"),
        managed("kubectl", "Apply", {"f:metadata": {}}),
    ]

    assert applied_fields(deployment(managedFields=[own])) == applied_fields(deployment(managedFields=[*others, own]))
    assert applied_fields(deployment(managedFields=others)) is None
    assert applied_fields(deployment()) is None


def test_what_was_created_is_handed_over_but_for_the_replicas() -> None:
    whole = {"f:metadata": {"f:labels": {}}, "f:spec": {**IMAGE["f:spec"], **REPLICAS["f:spec"]}}
    created = deployment(
        managedFields=[managed("kube-controller-manager", "Update", {}), managed("queueworker-scale", "Update", whole)]
    )

    patch = handover(created)

    assert patch is not None
    assert [(operation["op"], operation["path"]) for operation in patch] == [
        ("test", "/metadata/managedFields/1/manager"),
        ("test", "/metadata/managedFields/1/operation"),
        ("replace", "/metadata/managedFields/1"),
        ("add", "/metadata/managedFields/-"),
    ]
    assert patch[2]["value"]["fieldsV1"] == {"f:metadata": {"f:labels": {}}, **IMAGE}
    assert (patch[2]["value"]["manager"], patch[2]["value"]["operation"]) == ("queueworker-operator", "Apply")
    assert patch[3]["value"] == managed("queueworker-scale", "Update", REPLICAS)


def test_of_what_was_created_only_what_was_asked_for_counts_as_applied() -> None:
    body = {
        "metadata": {"labels": {"x": "y"}},
        "spec": {"list": [{"name": "a", "port": 1}], "empty": {}, "atomic": ["v"]},
    }
    whole = {
        "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        "f:spec": {
            **REPLICAS["f:spec"],
            "f:default": {},
            "f:list": {
                ".": {},
                'k:{"name":"a","protocol":"TCP"}': {".": {}, "f:default": {}, "f:name": {}, "f:port": {}},
                'k:{"name":"b"}': {".": {}, "f:name": {}},
            },
            "f:empty": {".": {}},
            "f:atomic": {},
        },
    }
    patch = handover(deployment(managedFields=[managed("queueworker-scale", "Update", whole)]), created=body)

    assert patch is not None
    assert patch[2]["value"]["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:x": {}}},
        "f:spec": {
            "f:list": {'k:{"name":"a","protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}},
            "f:empty": {},
            "f:atomic": {},
        },
    }


def test_there_is_nothing_to_hand_over_afterwards() -> None:
    entries = [
        managed("queueworker-operator", "Apply", IMAGE),
        managed("queueworker-scale", "Update", REPLICAS),
        managed("queueworker-scale", "Update", REPLICAS, subresource="scale"),
    ]

    assert handover(deployment(managedFields=entries)) is None


def refused(status: int, message: str = "no", **headers: str) -> ClusterError:
    invalid = ConditionReason.SPEC_INVALID
    return refusal(status, {"message": message}, headers, attempt="apply the Deployment a/b", invalid=invalid)


@pytest.mark.parametrize(
    ("status", "message", "kind", "reason"),
    [
        (404, "not found", NotFoundError, ConditionReason.PENDING),
        (409, "the object has been modified", ConflictError, ConditionReason.PENDING),
        (410, "The provided continue parameter is too old", ConflictError, ConditionReason.PENDING),
        (422, "the server rejected our request due to an error in our request", ConflictError, ConditionReason.PENDING),
        (500, "etcdserver: request timed out", ClusterUnavailableError, ConditionReason.PENDING),
        (503, "", ClusterUnavailableError, ConditionReason.PENDING),
        (
            500,
            "failed to create typed patch object (a/b): .spec.x: field not declared in schema",
            Exception,
            ConditionReason.SPEC_INVALID,
        ),
        (400, "strict decoding error", Exception, ConditionReason.SPEC_INVALID),
        (422, "spec.template: Invalid value", Exception, ConditionReason.SPEC_INVALID),
        (401, "Unauthorized", Exception, ConditionReason.CLUSTER_DENIED),
        (403, "cannot patch resource", Exception, ConditionReason.CLUSTER_DENIED),
        (403, "exceeded quota: few", Exception, ConditionReason.QUOTA_EXCEEDED),
    ],
)
def test_what_a_refusal_means(status: int, message: str, kind: type[Exception], reason: ConditionReason) -> None:
    error = refused(status, message)

    assert isinstance(error, kind)
    assert isinstance(error, ClusterUnavailableError) == (kind is ClusterUnavailableError)
    assert error.reason is reason
    assert str(error).startswith("cannot apply the Deployment a/b: ")
    assert message in str(error)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-3", 0.0)])
def test_a_busy_server_says_when_to_come_back(header: str, seconds: float | None) -> None:
    error = refused(429, "too many requests", **{"Retry-After": header})

    assert isinstance(error, ClusterUnavailableError)
    assert error.retry_after_seconds == seconds


def test_a_long_message_of_many_lines_becomes_one_of_bounded_length() -> None:
    text = str(refused(422, "line\n" * 1000))

    assert "\n" not in text
    assert len(text) < 1000
