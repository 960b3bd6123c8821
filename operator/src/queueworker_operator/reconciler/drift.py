"""What somebody else changed in the template of the workers: put right once a minute, and told where it goes on.

Times are Unix seconds.
"""

from __future__ import annotations

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.reconciler.look import Applied
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.observation import Problem, WorkersObservation

DRIFT_SECONDS = 60.0
_FIGHT = "somebody keeps changing the template of the workers; it is corrected once a minute: find who does"
_CORRECTED = "somebody else had changed the template of the workers; it is as the QueueWorker says again"


def is_due(workers: WorkersObservation, memory: Memory, now: float) -> bool:
    """Whether there is drift to be corrected now."""
    last = memory.drift_corrected_at
    return workers.drifted and (last is None or not 0 <= now - last < DRIFT_SECONDS)


def corrected(memory: Memory, now: float) -> Applied:
    """Take note of a correction; return what is to be told of it."""
    last = memory.drift_corrected_at
    # Twice within two periods: somebody does not give in.
    memory.drift_fight = last is not None and now - last < 2 * DRIFT_SECONDS
    memory.drift_corrected_at = now
    if memory.drift_fight:
        return Applied(reason=ConditionReason.DRIFT_FIGHT, message=_FIGHT, warning=True)
    return Applied(reason=ConditionReason.DRIFT_CORRECTED, message=_CORRECTED, warning=True)


def fight(memory: Memory, now: float) -> Problem | None:
    """Return that somebody does not give in, where that was so lately."""
    last = memory.drift_corrected_at
    if not memory.drift_fight or last is None or now - last >= 2 * DRIFT_SECONDS:
        return None
    return Problem(reason=ConditionReason.DRIFT_FIGHT, message=_FIGHT)


def due_in(memory: Memory, now: float) -> float | None:
    """Return in how many seconds drift that was seen may be corrected; None where there is none to wait with."""
    if memory.workers is None or not memory.workers.drifted or memory.drift_corrected_at is None:
        return None
    return max(1.0, memory.drift_corrected_at + DRIFT_SECONDS - now)
