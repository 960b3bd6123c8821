"""What speaks against more pods: those that are there do not come up, or more of them did not help."""

from collections.abc import Sequence

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.capacity import is_coming, is_unsteady
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.observation import Pod, Problem, WorkersObservation
from queueworker_operator.scaling.queues import QueueView

STUCK_PART = 5
"""One in so many pods must be in trouble: a single bad node does not stop the growth of a large fleet."""
STORM_SECONDS = 60.0
"""For so long most jobs must have failed,"""
STORM_HOLD_SECONDS = 600.0
"""and for so long at most that holds the number."""

_NO_PODS = frozenset({ConditionReason.QUOTA_EXCEEDED, ConditionReason.CLUSTER_DENIED})


def obstacle(workers: WorkersObservation, now: float) -> Problem | None:
    """Return why new pods do not come up; None where they do, or are on their way, short of a node for example.

    While the pods are not listed nothing speaks against more: how many are in trouble is not known then, and where some
    are not ready the decision asks for the list before it is carried out (`Decision.wants_pods`).
    """
    if workers.rollout_problem is not None and workers.rollout_problem.reason in _NO_PODS:
        return workers.rollout_problem
    there = [pod for pod in workers.pods or () if not pod.terminating]
    stuck = [pod for pod in there if (is_unsteady(pod, now) if pod.ready else not is_coming(pod, now))]
    if not stuck or STUCK_PART * len(stuck) < len(there):
        return None
    return _first_problem(stuck, workers)


def storm_since(queues: Sequence[QueueView], history: History, now: float) -> float | None:
    """Return since when (Unix seconds) most jobs that end fail; None where they do not. No news changes nothing."""
    since = history.storm_since if history.storm_since is not None and history.storm_since <= now else None
    failed, completed = _per_second(queues)
    if failed is None or completed is None:
        return since
    return (now if since is None else since) if failed > completed else None


def storm_until(queues: Sequence[QueueView], history: History, since: float | None, now: float) -> float | None:
    """Return until when (Unix seconds) no pods are to be added because most jobs fail `since` then; None: no matter."""
    grown, then = history.last_growth_at, history.last_growth_completions
    if since is None or grown is None or then is None or grown > now:
        return None
    began = max(since + STORM_SECONDS, grown)
    _, completed = _per_second(queues)
    helped = completed is not None and completed > then
    return began + STORM_HOLD_SECONDS if not helped and began <= now < began + STORM_HOLD_SECONDS else None


def completions(queues: Sequence[QueueView]) -> float | None:
    """Return how many jobs complete per second, over all queues of which that is known."""
    return _per_second(queues)[1]


def _per_second(queues: Sequence[QueueView]) -> tuple[float | None, float | None]:
    failed = [one for queue in queues if (one := queue.rates.failures_per_second) is not None]
    completed = [one for queue in queues if (one := queue.rates.completions_per_second) is not None]
    return sum(failed) if failed else None, sum(completed) if completed else None


def _first_problem(stuck: Sequence[Pod], workers: WorkersObservation) -> Problem:
    first = min(stuck, key=lambda pod: (pod.problem is None, pod.created_at, pod.name))
    if first.problem is not None:
        return first.problem
    if workers.pod_problem is not None:
        return workers.pod_problem
    waits = "has no node" if first.scheduled_at is None else "is not ready"
    message = f"pod {first.name} {waits} after 10 minutes"
    return Problem(reason=ConditionReason.WORKERS_NOT_READY, message=message)
