"""What is wrong with the wish itself, so that no number can be right. Told in words that do not tremble."""

from collections.abc import Iterator

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.scaling.observation import Problem
from queueworker_operator.scaling.overrides import Overrides
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.rates.starts import StartUp
from queueworker_operator.scaling.rounding import two_digits

MEASURED = 3
"""So many starts must have been measured: on an assumption nobody is warned."""
CLEARLY_OLDER = 2.0


def infeasible(start_up: StartUp, *, target_seconds: float, minimum: int) -> Iterator[Problem]:
    """Warn where a job that finds no worker waits longer than the target, whatever the number."""
    if minimum == 0 and start_up.measured >= MEASURED and target_seconds < start_up.seconds:
        message = (
            f"a pod needs {two_digits(start_up.seconds)} s until it is ready, and jobs may wait {target_seconds:.0f} s "
            "when there is none: set autoscaling.minReplicas to 1, or raise autoscaling.target.maxWaitSeconds"
        )
        yield Problem(reason=ConditionReason.TARGET_INFEASIBLE, message=message)


def of_queue(queue: QueueView, *, target_seconds: float | None, drain: float, ours: bool) -> Iterator[Problem]:
    """Warn of jobs that outlast the drain time, and of jobs that never get their turn."""
    p99 = queue.rates.service_p99_seconds
    if p99 is not None and p99 > drain:
        remedy = "worker.drainTimeoutSeconds" if ours else "the pods' terminationGracePeriodSeconds"
        message = (
            f"one of 100 jobs of queue {queue.name} takes longer than {two_digits(p99)} s, and a pod that goes away "
            f"waits {drain:.0f} s: raise {remedy}"
        )
        yield Problem(reason=ConditionReason.DRAIN_TOO_SHORT, message=message)
    if target_seconds is not None and _starves(queue, target_seconds):
        message = (
            f"jobs with a priority wait in queue {queue.name} while those without one are taken first: give every job "
            "a priority, or none"
        )
        yield Problem(reason=ConditionReason.PRIORITY_STARVED, message=message)


def of_overrides(overrides: Overrides) -> Iterator[Problem]:
    """Tell what cannot be read of the annotations."""
    if overrides.problem is not None:
        yield Problem(reason=ConditionReason.SPEC_INVALID, message=overrides.problem)


def _starves(queue: QueueView, target_seconds: float) -> bool:
    snapshot = queue.snapshot
    if snapshot is None or queue.state is not QueueState.LIVE or not (snapshot.waiting and snapshot.prioritized):
        return False
    if snapshot.oldest_prioritized_ms is None or snapshot.oldest_waiting_ms is None:
        return False
    prioritized = (snapshot.now_ms - snapshot.oldest_prioritized_ms) / 1000
    waiting = (snapshot.now_ms - snapshot.oldest_waiting_ms) / 1000
    return prioritized > target_seconds and prioritized > CLEARLY_OLDER * max(0.0, waiting)
