"""What one look leaves behind for the next: idle time, outages, confirmation, storms."""

from collections.abc import Sequence
from dataclasses import dataclass

from queueworker_operator.scaling import growth
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.observation import WorkersObservation
from queueworker_operator.scaling.queues import QueueState, QueueView

NOT_CONSUMING_SECONDS = 30.0
"""How long jobs may wait before ready workers until something must be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """What this look says of itself, whatever is decided; the fields are those of History."""

    idle_since: float | None = None
    unknown_since: float | None = None
    lost_since: float | None = None
    storm_since: float | None = None
    not_consuming_since: float | None = None


def noticed(
    history: History, queues: Sequence[QueueView], workers: WorkersObservation, now: float, *, ended: bool
) -> Noticed:
    """Go on from what was known before; `ended`: jobs ended since the look before."""
    idle_since, unknown_since = _idle(queues, history, now, ended=ended)
    return Noticed(
        idle_since=idle_since,
        unknown_since=unknown_since,
        lost_since=_lost_since(queues, history, now),
        storm_since=growth.storm_since(queues, history, now),
        not_consuming_since=_not_consuming_since(queues, workers, history, now),
    )


def confirmation(
    history: History, queues: Sequence[QueueView], *, certain: bool, fewer: bool
) -> tuple[bool, tuple[int, ...] | None]:
    """Return `confirmed` and `fewer_reading`: two readings in a row, not two looks at one, must call for fewer."""
    if not certain:
        return False, None
    if not fewer:
        return history.confirmed, None
    if history.confirmed:
        return True, history.fewer_reading
    reading = tuple(queue.snapshot.now_ms for queue in queues if queue.snapshot is not None)
    first = history.fewer_reading
    if first is None or len(first) != len(reading):
        return False, reading
    confirmed = all(one != other for one, other in zip(first, reading, strict=True))
    return confirmed, None if confirmed else first


def _idle(
    queues: Sequence[QueueView], history: History, now: float, *, ended: bool
) -> tuple[float | None, float | None]:
    """Begin, go on with or end the idle time; time without knowledge is left out of it."""
    since, unknown = history.idle_since, history.unknown_since
    if since is not None and since > now:
        since = None
    if any(queue.uncertain for queue in queues) or not queues:
        return since, unknown if unknown is not None and unknown <= now else now
    if any(queue.demand or queue.active for queue in queues):
        return None, None
    if ended:
        return now, None
    if since is not None and unknown is not None:
        since = min(now, since + max(0.0, now - unknown))
    return now if since is None else since, None


def _lost_since(queues: Sequence[QueueView], history: History, now: float) -> float | None:
    if any(queue.state is not QueueState.UNKNOWN for queue in queues):
        return None
    since = history.lost_since
    return since if since is not None and since <= now else now


def _not_consuming_since(
    queues: Sequence[QueueView], workers: WorkersObservation, history: History, now: float
) -> float | None:
    since = history.not_consuming_since
    if workers.ready == 0:
        return None
    if any(queue.stuck for queue in queues):
        return since if since is not None and since <= now else now
    # A failed read is no sign of life.
    return since if any(queue.state is QueueState.UNKNOWN for queue in queues) else None
