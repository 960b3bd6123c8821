"""What the adapter for Kubernetes reads from pods: why they are not ready, and what a decision sees of them."""

from __future__ import annotations

from typing import Any

import pytest

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.pods import pod_of, pod_problem, pods_of
from queueworker_operator.scaling.observation import Pod


def pod(name: str, *, created: str = "2026-01-01T00:00:00Z", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": status}


def container(state: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"name": "worker", "state": state, "ready": False, **more}]


CRASHED = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "password=hunter2"}}


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"containerStatuses": container({"waiting": {"reason": "ContainerCreating"}})}, None),
        ({"initContainerStatuses": container({"waiting": {"reason": "PodInitializing"}})}, None),
        ({"containerStatuses": container({"running": {}})}, None),
        ({"containerStatuses": container({"running": {}}, lastState={"terminated": {"exitCode": 0}})}, None),
        ({}, None),
        (
            {
                "containerStatuses": container(
                    {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}}
                )
            },
            "pod a: container worker: ImagePullBackOff: Back-off pulling",
        ),
        (
            {"containerStatuses": container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=CRASHED)},
            "pod a: container worker: CrashLoopBackOff, ended with exit code 137 (OOMKilled)",
        ),
        (
            {"containerStatuses": container({"running": {}}, lastState=CRASHED, restartCount=2)},
            "pod a: container worker was restarted 2 times, ended with exit code 137 (OOMKilled)",
        ),
        (
            {"containerStatuses": container(CRASHED)},
            "pod a: container worker ended with exit code 137 (OOMKilled)",
        ),
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3\nnodes"}
                ]
            },
            "pod a: Unschedulable: 0/3 nodes",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}, "pod a: Evicted: low on memory"),
    ],
)
def test_why_a_pod_is_not_ready(status: dict[str, Any], said: str | None) -> None:
    problem = pod_problem([pod("a", **status)])

    assert (problem and problem.message) == said
    waits = said is not None and "Unschedulable" in said
    assert problem is None or problem.reason is (
        ConditionReason.PENDING if waits else ConditionReason.WORKERS_NOT_READY
    )


def ended(**ran: str) -> dict[str, Any]:
    return {"terminated": {**CRASHED["terminated"], **ran}}


WEEK = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-08T00:00:00Z"}
MOMENT = {"startedAt": "2026-01-08T00:00:00Z", "finishedAt": "2026-01-08T00:00:09Z"}


@pytest.mark.parametrize(
    ("state", "more", "lasting"),
    [
        ({"running": {}}, {"lastState": CRASHED, "restartCount": 1}, False),
        ({"running": {}}, {"lastState": CRASHED, "restartCount": 2}, True),
        ({"running": {}}, {"lastState": ended(**WEEK), "restartCount": 9}, False),
        ({"running": {}}, {"lastState": ended(**MOMENT), "restartCount": 9}, True),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"lastState": ended(**WEEK), "restartCount": 1}, True),
        ({"waiting": {"reason": "ErrImagePull"}}, {}, True),
        (CRASHED, {"restartCount": 0}, False),
        (CRASHED, {"restartCount": 1}, True),
        (ended(**WEEK), {"restartCount": 1, "lastState": ended(**MOMENT)}, False),
    ],
    ids=["once", "twice", "after a week", "after seconds", "loop", "image", "first end", "second end", "end of a week"],
)
def test_a_container_that_failed_once_is_told_and_does_not_make_a_pod_in_trouble(
    state: dict[str, Any], more: dict[str, Any], lasting: bool
) -> None:
    found = pod("a", containerStatuses=container(state, **more))

    assert pod_problem([found]) is not None
    assert (pod_of(found).problem is not None) == lasting


READY = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z"}]


@pytest.mark.parametrize(
    ("more", "failing"),
    [
        ({"lastState": CRASHED, "restartCount": 2}, True),
        ({"lastState": ended(**WEEK), "restartCount": 9}, False),
        ({"lastState": CRASHED, "restartCount": 1}, False),
        ({}, False),
    ],
    ids=["twice", "after a week", "once", "never"],
)
def test_a_pod_that_is_ready_tells_what_it_kept_failing_of(more: dict[str, Any], failing: bool) -> None:
    found = pod("a", conditions=READY, containerStatuses=container({"running": {}}, ready=True, **more))

    assert pod_problem([found]) is None
    assert (pod_of(found).problem is not None) == failing


@pytest.mark.parametrize("status", ["True", "False"])
@pytest.mark.parametrize(("started", "failing"), [("00:00:30", True), ("00:00:00", False)])
def test_a_streak_of_failures_is_over_once_the_container_ran_for_ten_minutes(
    status: str, started: str, failing: bool
) -> None:
    changed = [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:10:15Z"}]
    runs = {"running": {"startedAt": f"2026-01-01T{started}Z"}}
    statuses = container(runs, ready=status == "True", lastState=ended(**MOMENT), restartCount=3)

    assert (pod_of(pod("a", conditions=changed, containerStatuses=statuses)).problem is not None) == failing


def test_the_container_that_keeps_failing_is_named() -> None:
    once = container({"running": {}}, lastState=CRASHED, restartCount=1)
    loop = [{"name": "proxy", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]

    problem = pod_of(pod("a", containerStatuses=[*once, *loop])).problem

    assert problem is not None
    assert problem.message == "pod a: container proxy: CrashLoopBackOff"


def test_a_pod_that_keeps_failing_speaks_before_an_older_one_that_failed_once() -> None:
    older = pod("a", containerStatuses=container({"running": {}}, lastState=CRASHED, restartCount=1))
    looping = container({"waiting": {"reason": "CrashLoopBackOff"}})
    newer = pod("b", created="2026-01-01T00:00:01Z", containerStatuses=looping)

    problem = pod_problem([older, newer])

    assert problem is not None
    assert problem.message == "pod b: container worker: CrashLoopBackOff"


def test_since_when_a_pod_is_not_ready() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    lost = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T01:00:00Z"}

    found = pod_of(pod("a", conditions=[scheduled, lost]))

    born = 1767225600.0
    assert (found.scheduled_at, found.ready_at, found.unready_since) == (born, None, born + 3600)


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}


def test_trouble_speaks_before_an_older_pod_that_only_waits_for_a_node() -> None:
    waiting = pod("a", created="2026-01-01T00:00:00Z", conditions=[UNSCHEDULABLE])
    crashed = pod("b", created="2026-01-01T00:00:01Z", containerStatuses=container(CRASHED))

    problem = pod_problem([waiting, crashed])

    assert problem is not None
    assert (problem.reason, problem.message[:6]) == (ConditionReason.WORKERS_NOT_READY, "pod b:")


def test_a_pod_that_failed_is_silent_once_another_has_come_in_its_place() -> None:
    evicted = pod("a", created="2026-01-01T00:00:01Z", phase="Failed", reason="Evicted")
    older = pod("b", created="2026-01-01T00:00:00Z", conditions=[{"type": "Ready", "status": "True"}])
    newer = pod("c", created="2026-01-01T00:00:02Z")

    alone = pod_problem([evicted, older])
    assert alone is not None
    assert alone.message == "pod a: Evicted"
    assert pod_problem([evicted, older, newer]) is None
    assert [one.name for one in pods_of([evicted, older, newer]).pods or ()] == ["b", "c"]


def test_what_the_decision_sees_of_a_pod() -> None:
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:03Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"},
    ]
    found = pod("a", conditions=conditions)
    found["metadata"] |= {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-100"}}
    found["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    born = 1767225600.0

    assert pod_of(found) == Pod(
        name="a",
        ready=True,
        terminating=True,
        created_at=born,
        scheduled_at=born + 3,
        ready_at=born + 9,
        deletion_cost=-100,
    )
    waiting = pod_of(pod("b", conditions=[UNSCHEDULABLE]))
    assert waiting == Pod(name="b", ready=False, created_at=born)


@pytest.mark.parametrize("cost", ["", "x", "1.5"])
def test_a_deletion_cost_that_is_no_number_is_none(cost: str) -> None:
    found = pod("a")
    found["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": cost}

    assert pod_of(found).deletion_cost is None


def test_the_longest_grace_period_counts() -> None:
    found = [pod("a"), pod("b"), pod("c")]
    found[1]["spec"] = {"terminationGracePeriodSeconds": 75}

    assert pods_of(found).grace_seconds == 75
    assert pods_of(found[:1]).grace_seconds == 30
    assert pods_of([]).grace_seconds is None


def test_the_oldest_pod_that_suffers_speaks() -> None:
    pulling = {"containerStatuses": container({"waiting": {"reason": "ErrImagePull"}})}
    ready = pod("a", created="2026-01-01T00:00:00Z", conditions=[{"type": "Ready", "status": "True"}], **pulling)
    going = pod("b", created="2026-01-01T00:00:01Z", **pulling)
    going["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    old, new = pod("d", created="2026-01-01T00:00:02Z", **pulling), pod("c", created="2026-01-01T00:00:03Z", **pulling)

    problem = pod_problem([new, old, going, ready])

    assert problem is not None
    assert problem.message == "pod d: container worker: ErrImagePull"
