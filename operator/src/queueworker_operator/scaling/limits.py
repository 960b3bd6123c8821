"""The rules that change what was voted for, in the order in which they apply."""

from collections.abc import Callable
from dataclasses import replace

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.scaling import stabilization
from queueworker_operator.scaling.decision import History
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import busy_floor

CONFIRM_SECONDS = 1.0
"""When to read again where a second reading must confirm the first."""

Rule = Callable[[Verdict, Autoscaling, float], Verdict]


def notice(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Remember what this look says of idleness and of a call for fewer; leaves the number as it is."""
    history = _idle(verdict.queues, verdict.history, now)
    return replace(verdict, history=_confirmation(verdict, history))


def stabilization_window(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Let the highest recommendation of the window hold the number up."""
    window = float(autoscaling.behavior.scale_down.stabilization_window_seconds)
    current, number, peaks = verdict.current, verdict.number, verdict.history.recommendations
    # A queue that says nothing makes no recommendation; what the others raise is one.
    if verdict.certain or number > current:
        peaks = stabilization.record(peaks, replicas=number, current=current, now=now, window=window)
        verdict = replace(verdict, history=replace(verdict.history, recommendations=peaks))
    if number >= current or not verdict.certain:
        return verdict
    held = stabilization.hold(peaks, current=current, window=window)
    by = ScalingReason.STABILIZING_SCALE_DOWN
    return replace(verdict.moved(held.replicas, by=by, until=held.until), peak=held.peak)


def cooldown(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Keep one replica until nothing was ready and nothing active for the cooldown and for the window."""
    since = verdict.history.idle_since
    if verdict.number > 0 or verdict.current == 0 or since is None:
        return verdict
    until = since + max(autoscaling.cooldown_seconds, autoscaling.behavior.scale_down.stabilization_window_seconds)
    return verdict if now >= until else verdict.moved(1, by=ScalingReason.COOLING_DOWN, until=until)


def confirmation(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Keep the number until a second reading calls for fewer too, after a start or an outage."""
    if verdict.number >= verdict.current or verdict.history.confirmed:
        return verdict
    return verdict.moved(verdict.current, by=ScalingReason.CONFIRMING_SCALE_DOWN, until=now + CONFIRM_SECONDS)


def nothing_known(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Keep the number where no queue could be read, even below the minimum."""
    if any(queue.state is not QueueState.UNKNOWN for queue in verdict.queues):
        return verdict
    return verdict.moved(verdict.current, by=ScalingReason.HOLDING_METRICS_UNKNOWN)


def busy(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Keep as many pods as the running jobs fill, of those that there are."""
    floor = min(verdict.current, busy_floor(verdict.queues))
    return verdict.moved(max(verdict.number, floor), by=ScalingReason.BUSY_FLOOR)


def maximum(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Verdict:
    """Never exceed the user's maximum, whatever else would hold the number."""
    return verdict.moved(min(verdict.number, autoscaling.max_replicas), by=ScalingReason.AT_MAXIMUM)


IN_ORDER: tuple[Rule, ...] = (
    notice,
    stabilization_window,
    cooldown,
    confirmation,
    nothing_known,
    busy,
    maximum,
)


def _idle(queues: tuple[QueueView, ...], history: History, now: float) -> History:
    """Begin, go on with or end the idle time; time without knowledge is left out of it."""
    since = history.idle_since
    if since is not None and since > now:
        since = None
    if any(queue.uncertain for queue in queues) or not queues:
        unknown = history.unknown_since
        return replace(
            history, idle_since=since, unknown_since=unknown if unknown is not None and unknown <= now else now
        )
    if any(queue.demand or queue.active for queue in queues):
        return replace(history, idle_since=None, unknown_since=None)
    if since is not None and history.unknown_since is not None:
        since = min(now, since + max(0.0, now - history.unknown_since))
    return replace(history, idle_since=now if since is None else since, unknown_since=None)


def _confirmation(verdict: Verdict, history: History) -> History:
    """Two readings in a row, not two looks at one, must call for fewer before the first shrink."""
    if not verdict.certain or not verdict.queues:
        return replace(history, confirmed=False, fewer_reading=None)
    if verdict.number >= verdict.current:
        return replace(history, fewer_reading=None)
    if history.confirmed:
        return history
    reading = tuple(queue.snapshot.now_ms for queue in verdict.queues if queue.snapshot is not None)
    first = history.fewer_reading
    if first is None or len(first) != len(reading):
        return replace(history, fewer_reading=reading)
    confirmed = all(one != other for one, other in zip(first, reading, strict=True))
    return replace(history, confirmed=confirmed, fewer_reading=None if confirmed else first)
