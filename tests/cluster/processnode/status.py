"""What the pod's containers do, as the pod's status says it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from processnode.client import Object


def timestamp(moment: datetime) -> str:
    """Return a moment as Kubernetes writes it: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def phase(containers: Sequence[Object], *, restarts: bool, initialized: bool) -> str:
    """Return the pod's phase; `restarts` says that a container that ended may run again."""
    states = [container["state"] for container in containers]
    if not initialized or any("waiting" in c["state"] and "terminated" not in c["lastState"] for c in containers):
        return "Pending"
    if restarts or not all("terminated" in state for state in states):
        return "Running"
    return "Failed" if any(state["terminated"]["exitCode"] for state in states) else "Succeeded"


def conditions(containers: Sequence[Object], *, phase: str, initialized: bool) -> list[Object]:
    """Return the conditions that a kubelet sets, without their times."""
    unready = [container["name"] for container in containers if not container["ready"]]
    complete = phase in ("Succeeded", "Failed")
    ready: Object = {"status": "False" if unready else "True"}
    if complete:
        ready["reason"] = "PodCompleted"
    elif unready:
        ready |= {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"}
    first: Object = {"type": "Initialized", "status": "True" if initialized else "False"}
    return [first, {"type": "ContainersReady", **ready}, {"type": "Ready", **ready}]


def dated(new: Sequence[Object], old: Sequence[Object], now: datetime) -> list[Object]:
    """Give each condition the time of its last transition: the old one's while the status is the same."""
    before = {condition["type"]: condition for condition in old}
    result = []
    for condition in new:
        previous = before.get(condition["type"], {})
        same = previous.get("status") == condition["status"]
        moment = previous["lastTransitionTime"] if same else timestamp(now)
        result.append({"reason": None, "message": None, **condition, "lastTransitionTime": moment})
    return result
