"""What a scale-in withholds for the length of its window: pods that would only keep slots free.

Arrivals of a minute tremble by more than the tolerance: without this, the pods would go and come all day.
"""

from collections.abc import Sequence

from queueworker_operator.api.v1alpha1.autoscaling import Autoscaling
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.limits import Circumstances
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import KEEP_UP, MAX_WAIT, Ballot

MOST_PERCENT = 10
"""Of the pods that there are, `maxWait` may ask for so many more, and for one whole pod at the most,"""
WAIT_PART = 1 / 6
"""while whatever waits is started within this part of the time that it may wait."""


def withheld_until(start: Verdict, ballots: Sequence[Ballot], among: Circumstances) -> float | None:
    """Return until when (Unix seconds) more pods are withheld; None where a scale-in is not fresh or they are needed.

    Only `keepUp` may go unheard, and the fraction of a pod that `maxWait` adds to it: chance lets a few jobs wait for a
    moment. Where they wait for long, or any other rule asks for more than there is, it is given at once.
    """
    until = _settling_until(start.history, among.autoscaling, among.now)
    if until is None or start.current == 0:
        return None
    missed = [one for one in ballots if one.vote.rule != KEEP_UP and one.replicas > start.current]
    most = start.current + min(1.0, start.current * _percent(among) / 100)
    small = all(one.vote.rule == MAX_WAIT and one.unrounded is not None and one.unrounded <= most for one in missed)
    return until if not missed or (small and _starts_soon(start.queues, among)) else None


def _settling_until(history: History, autoscaling: Autoscaling, now: float) -> float | None:
    newest = history.changes[0] if history.changes else None
    if newest is None or newest.after >= newest.before:
        return None
    until = newest.at + autoscaling.behavior.scale_down.stabilization_window_seconds
    return until if newest.at <= now < until else None


def _percent(among: Circumstances) -> int:
    return min(MOST_PERCENT, among.autoscaling.behavior.scale_down.tolerance_percent)


def _starts_soon(queues: Sequence[QueueView], among: Circumstances) -> bool:
    """Whether the pods that are ready begin with every job that waits, before it has waited for long."""
    most, ready = WAIT_PART * among.autoscaling.target.max_wait_seconds, among.workers.ready
    return all(_wait_seconds(queue, ready) <= most for queue in queues if queue.state is QueueState.LIVE)


def _wait_seconds(queue: QueueView, ready: int) -> float:
    """Return for how long the oldest job has waited, or the newest will, whichever is longer."""
    if queue.backlog == 0:
        return 0.0
    age = queue.snapshot.oldest_age_seconds if queue.snapshot is not None else None
    seconds = queue.rates.service_seconds
    if age is None or seconds is None or ready == 0:
        return float("inf")
    return max(age, queue.backlog * seconds / (ready * queue.concurrency))
