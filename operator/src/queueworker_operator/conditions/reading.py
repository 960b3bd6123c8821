"""Whether the queues can be read, and who else serves them."""

from queueworker_operator.api.reasons import ConditionReason as Reason
from queueworker_operator.conditions.finding import Finding, no, yes
from queueworker_operator.scaling.decision import Decision
from queueworker_operator.scaling.explain import listed, queues_are
from queueworker_operator.scaling.observation import Observation, QueueObservation
from queueworker_operator.scaling.votes import MISSING

FAILURES = 3
"""Reads that must fail in a row until a queue counts as unreachable,"""
FAILING_SECONDS = 15.0
"""or for how long they must have failed."""


def unread(observation: Observation) -> list[QueueObservation]:
    """Return the queues that say nothing now."""
    return [queue for queue in observation.queues if queue.snapshot is None]


def lost(observation: Observation, now: float) -> list[QueueObservation]:
    """Return the queues whose reads failed for so long that it is no hiccup."""
    return [queue for queue in unread(observation) if _is_lost(queue, now)]


def reachable(observation: Observation | None, decision: Decision | None, now: float) -> Finding | None:
    """Return QueueReachable."""
    if observation is None or not observation.queues:
        return None
    for queue in lost(observation, now):
        if queue.problem is not None:
            return Finding.of(queue.problem, status="False")
    if unread(observation):
        return None
    gone = [vote.queue or "" for vote in decision.votes if vote.rule == MISSING] if decision is not None else []
    if gone:
        text = queues_are(gone, one="was there and is gone", many="were there and are gone")
        return yes(Reason.QUEUE_MISSING, f"Redis answers, but {text}: look at prefix, database and queue name")
    names = [queue.name for queue in observation.queues]
    return yes(Reason.QUEUE_READ, queues_are(names, one="is read", many="are read"))


def shared(observation: Observation | None) -> Finding | None:
    """Return QueueShared."""
    if observation is None or not observation.queues:
        return None
    by_name = {queue.name: queue.shared_with for queue in observation.queues if queue.shared_with}
    if not by_name:
        return no(Reason.NOT_SHARED, "no other QueueWorker serves these queues")
    others = sorted({other for names in by_name.values() for other in names})
    text = queues_are(list(by_name), one="is served too by", many="are served too by")
    return yes(Reason.QUEUE_SHARED, f"{text} {listed(others)}: sharePercent says who does how much")


def _is_lost(queue: QueueObservation, now: float) -> bool:
    since = queue.failing_since
    return queue.failures >= FAILURES or (since is not None and now - since >= FAILING_SECONDS)
