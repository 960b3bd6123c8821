"""Which pods take jobs now, and when the others will."""

from collections.abc import Iterator
from dataclasses import dataclass

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import MOST_REPLICAS
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.observation import Ownership, Pod, Problem, WorkersObservation

COMING_SECONDS = 600.0
"""For so long a pod that is not ready counts as one that will be; 10 minutes, as a Deployment's progress deadline."""
STEADY_SECONDS = 10.0
"""A pod that kept failing is ready for good after so long: less than the kubelet's first pause before a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The pods as the votes count them."""

    ready: int
    """n"""
    starting: tuple[float, ...] = ()
    """In how many seconds the others are expected to be ready, ascending."""


def capacity(workers: WorkersObservation, history: History, now: float, *, current: int, start_up: float) -> Capacity:
    """Count the pods; `start_up` is how many seconds one takes until it is ready."""
    ready = ready_pods(workers)
    # Somebody else may have written any number, up to 2**31 - 1.
    missing = min(current - ready, MOST_REPLICAS)
    if missing <= 0:
        return Capacity(ready=ready)
    listed = [pod for pod in workers.pods or () if not pod.terminating]
    starting = sorted(_expected(listed, now, start_up=start_up))[:missing]
    # Pods that nobody has listed were asked for at the last change of the number at the latest.
    unlisted = missing - sum(not pod.ready for pod in listed)
    since = history.last_scale_at if history.last_scale_at is not None and history.last_scale_at <= now else now
    if unlisted > 0 and now - since < COMING_SECONDS:
        starting = sorted([*starting, *[max(0.0, since + start_up - now)] * unlisted])
    return Capacity(ready=ready, starting=tuple(starting))


def ready_pods(workers: WorkersObservation) -> int:
    """Return n: pods that take jobs."""
    if workers.ownership is Ownership.TARGET and workers.pods is not None:
        return sum(pod.ready and not pod.terminating for pod in workers.pods)
    return workers.ready


def is_coming(pod: Pod, now: float) -> bool:
    """Whether a pod that is not ready is on its way, or just short of a node, and may yet become ready."""
    return pod.problem is None and now < coming_until(pod)


def steady_at(pod: Pod) -> float | None:
    """Return when (Unix seconds) a pod that is ready, and kept failing before, is so for good; None for any other."""
    if not pod.ready or pod.terminating or pod.problem is None or pod.ready_at is None:
        return None
    return pod.ready_at + STEADY_SECONDS


def is_unsteady(pod: Pod, now: float) -> bool:
    """Whether a pod that is ready is not to be counted on yet, as it kept failing."""
    at = steady_at(pod)
    return at is not None and now < at


def trouble(workers: WorkersObservation, now: float) -> Problem | None:
    """Return what the workers that are asked for suffer from; also where one that kept failing is ready just now."""
    problem = workers.pod_problem
    if problem is not None and (workers.ready < workers.replicas or (workers.pods is None and is_of_pods(problem))):
        return problem
    return next((pod.problem for pod in workers.pods or () if is_unsteady(pod, now)), None)


def is_of_pods(problem: Problem | None) -> bool:
    """Whether pods suffer from it, rather than that they just wait, or could not be listed."""
    return problem is not None and problem.reason is ConditionReason.WORKERS_NOT_READY


def coming_until(pod: Pod) -> float:
    """Return until when (Unix seconds) a pod that is not ready counts as one that will be, unless it is in trouble.

    One that was ready before has as long from the moment it stopped being so as a new one has from its node.
    """
    return _began(pod) + COMING_SECONDS


def _began(pod: Pod) -> float:
    if pod.scheduled_at is None:
        return pod.created_at
    return pod.scheduled_at if pod.unready_since is None else max(pod.scheduled_at, pod.unready_since)


def _expected(pods: list[Pod], now: float, *, start_up: float) -> Iterator[float]:
    for pod in pods:
        if not pod.ready and is_coming(pod, now):
            yield start_up if pod.scheduled_at is None else max(0.0, _began(pod) + start_up - now)
