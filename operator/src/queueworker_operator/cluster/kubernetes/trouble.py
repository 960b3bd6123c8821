"""Why a pod does not become ready, in the words of who keeps it from it: pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from queueworker_operator.cluster.port import JsonObject

_STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
_RECOVERED_SECONDS: Final = 600.0
"""The kubelet's back-off begins anew after a run of so long: twice its longest pause (kubernetes client-go
util/flowcontrol Backoff, MaxContainerBackOff)."""


def has_failed(pod: JsonObject) -> bool:
    """Whether it has ended for good, as an evicted one has; its owner makes another in its place."""
    return bool((pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"))


def trouble_of(pod: JsonObject) -> str | None:
    """Return what a pod that is not ready suffers from; None where it is just starting, or waits for a node."""
    return _trouble(pod, lambda container: True)


def lasting_trouble_of(pod: JsonObject) -> str | None:
    """Return `trouble_of` but for a container that failed once, out of memory for example, and is started again."""
    return _trouble(pod, lambda container: _keeps_failing(container, pod))


def past_trouble_of(pod: JsonObject) -> str | None:
    """Return what kept ending a container that runs again: where nothing probes it, it is ready until it ends anew."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    failing = (_restarted(container) for container in statuses if _keeps_failing(container, pod))
    return next((said for said in failing if said is not None), None)


def _trouble(pod: JsonObject, counts: Callable[[JsonObject], bool]) -> str | None:
    status = pod.get("status") or {}
    if status.get("phase") == "Failed":
        return _said(status.get("reason") or "Failed", status.get("message"))
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return next((trouble for trouble in map(_container_trouble, filter(counts, statuses)) if trouble is not None), None)


def waiting_for(pod: JsonObject) -> str | None:
    """Return why it has no node yet, in the scheduler's words; None where it has one, or nobody has looked."""
    condition = condition_of(pod, "PodScheduled")
    if condition.get("status") != "False":
        return None
    return _said(condition.get("reason") or "Unschedulable", condition.get("message"))


def condition_of(pod: JsonObject, kind: str) -> JsonObject:
    """Return a condition of a pod, empty where it does not have it."""
    conditions: list[JsonObject] = (pod.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _container_trouble(container: JsonObject) -> str | None:
    """Return what a container suffers from; never its termination message, which is the program's own output."""
    state = container.get("state") or {}
    waiting = state.get("waiting")
    ended = _ending((container.get("lastState") or {}).get("terminated"))
    if waiting and waiting.get("reason") not in _STARTING:
        said = _said(waiting.get("reason") or "waiting", waiting.get("message"))
        return f"container {container['name']}: {said}" + (f", {ended}" if ended else "")
    now = _ending(state.get("terminated"))
    if now is not None:
        return f"container {container['name']} {now}"
    return None if container.get("ready") else _restarted(container)


def _restarted(container: JsonObject) -> str | None:
    ended = _ending((container.get("lastState") or {}).get("terminated"))
    if ended is None:
        return None
    return f"container {container['name']} was restarted {container.get('restartCount', 0)} times, {ended}"


def _keeps_failing(container: JsonObject, pod: JsonObject) -> bool:
    """Whether it is kept from starting, or ended for at least the second time, and has not run for long since."""
    state = container.get("state") or {}
    if state.get("waiting") and state["waiting"].get("reason") not in _STARTING:
        return True
    terminated = state.get("terminated")
    last = terminated or (container.get("lastState") or {}).get("terminated") or {}
    ends = container.get("restartCount", 0) + bool(terminated)
    # That it runs now is of old where the pod's readiness has changed late in the run: it missed a probe.
    changed_at = condition_of(pod, "Ready").get("lastTransitionTime")
    longest = max(
        _seconds_between(last.get("startedAt"), last.get("finishedAt")),
        _seconds_between((state.get("running") or {}).get("startedAt"), changed_at),
    )
    return ends > 1 and longest < _RECOVERED_SECONDS


def _seconds_between(began: str | None, ended: str | None) -> float:
    if not began or not ended:
        return 0.0
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def _ending(terminated: JsonObject | None) -> str | None:
    if not terminated or terminated.get("exitCode") == 0:
        return None
    return f"ended with exit code {terminated.get('exitCode')} ({terminated.get('reason') or 'Error'})"


def _said(reason: str, message: str | None) -> str:
    return f"{reason}: {message}" if message else reason
