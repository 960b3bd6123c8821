"""What each vote says, in words with its numbers."""

from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.scaling import demand
from queueworker_operator.scaling.explain.facts import QueueFacts
from queueworker_operator.scaling.explain.words import count, jobs_per_time, seconds

DEMANDS = ("backlogPerReplica", "maxWait", "keepUp", "lookAhead", "orphanRescue", "feedback")
"""Rules that ask for pods because of jobs; of equal votes the one that stands first is told."""
SILENCES = ("unknown", "queueMissing", "queuePaused", "queueUnused")
"""Rules of queues that ask for nothing of their own."""


def phrase(rule: str, replicas: int, queue: QueueFacts, autoscaling: Autoscaling) -> str:
    """Return what a rule asks for and why, without the queue's name."""
    match rule:
        case "keepUp":
            return f"{_arrivals(queue)}, {_work(queue)}, keeping up needs {replicas}"
        case "maxWait":
            wait = _wait(queue, autoscaling.target.max_wait_seconds)
            return f"{backlog(queue)}, {_work(queue)}, {wait} needs {replicas}"
        case "backlogPerReplica":
            return f"{backlog(queue)} at {per_replica(queue, autoscaling)} per replica needs {replicas}"
        case "lookAhead":
            within = f" within {queue.horizon_seconds} s" if queue.horizon_seconds else " soon"
            due = "the jobs that fall due" if queue.soon is None else f"{queue.soon} due"
            return f"{backlog(queue)} and {due}{within}, before a new pod would be ready, need {replicas}"
        case "feedback":
            slots = f"{queue.active} active on {count(queue.slots, 'slot')} each"
            return f"{backlog(queue)}, {slots}, how long a job takes is not known yet: so full, they ask for {replicas}"
        case "orphanRescue":
            they = "it is" if queue.active == 1 else "they are"
            return f"{count(queue.active, 'active job')} and no worker to see whether {they} stalled"
    return {
        "minReplicas": f"minReplicas is {autoscaling.min_replicas}",
        "schedule": f"a schedule asks for at least {replicas}",
        "unknown": f"cannot be read ({queue.trouble or 'no reading'}), so the number stays",
        "queueMissing": "was there and is gone",
        "queuePaused": "is paused",
        "queueUnused": "was never used",
    }.get(rule, f"asks for {replicas}")


def backlog(queue: QueueFacts) -> str:
    """Return `backlog 12 (waiting 10, due 2)`."""
    detail = ", ".join(f"{name} {number}" for name, number in queue.parts if number)
    return f"backlog {queue.backlog or 0}" + (f" ({detail})" if detail else "")


def per_replica(queue: QueueFacts, autoscaling: Autoscaling) -> int:
    """Return how many ready jobs one replica is to answer for."""
    return autoscaling.target.backlog_per_replica or 2 * queue.slots


def _arrivals(queue: QueueFacts) -> str:
    """Say what comes; where nobody counts that, the jobs in work stand for it (Little's law)."""
    if queue.arrivals_per_minute is None:
        return f"{queue.active} active"
    verb = "arrives" if queue.arrivals_per_minute <= 1 else "arrive"
    return f"{jobs_per_time(queue.arrivals_per_minute)} {verb}"


def _work(queue: QueueFacts) -> str:
    took = "an unknown time" if queue.service_milliseconds is None else seconds(queue.service_milliseconds)
    return f"a job takes {took} on {count(queue.slots, 'slot')}"


def _wait(queue: QueueFacts, target: int) -> str:
    """Return W of T. An age is told in few steps, because each of them costs a write."""
    left = demand.wait_left(
        target=target, oldest_age=queue.oldest_age_seconds or 0, start_up=float(queue.start_up_seconds)
    )
    return f"{target} s to wait" if left >= target else f"{left:.0f} of {target} s left to wait"
