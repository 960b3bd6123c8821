"""The rules that change what was voted for, in the order in which they apply: a later one may undo an earlier."""

from collections.abc import Callable
from dataclasses import dataclass

from queueworker_operator.api.reasons import ConditionReason, ScalingReason
from queueworker_operator.api.v1alpha1 import Autoscaling
from queueworker_operator.scaling import behavior, growth, stabilization
from queueworker_operator.scaling.busy import busy_floor
from queueworker_operator.scaling.capacity import is_coming
from queueworker_operator.scaling.observation import Ownership, WorkersObservation
from queueworker_operator.scaling.queues import QueueState
from queueworker_operator.scaling.rates.starts import StartUp
from queueworker_operator.scaling.schedules import Minimum
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import unknown_reason

CONFIRM_SECONDS = 1.0
"""When to read again where a second reading must confirm the first."""
STARTS_TO_PAY = 5
"""Going to zero pays where the next job is further away than so many starts of a pod."""

_SCALED = frozenset({Ownership.OURS, Ownership.ADOPTABLE, Ownership.TARGET})
_REDIS_ANSWERS = frozenset(
    {
        ConditionReason.REDIS_AUTH_FAILED,
        ConditionReason.REDIS_DENIED,
        ConditionReason.REDIS_TLS_ERROR,
        ConditionReason.INVALID_QUEUE_KEY,
        ConditionReason.SECRET_NOT_FOUND,
        ConditionReason.SECRET_NOT_ALLOWED,
        ConditionReason.CLUSTER_DENIED,
    }
)
"""Why queues may be unreadable for us alone, while the workers go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the rules need to know beside the number."""

    autoscaling: Autoscaling
    workers: WorkersObservation
    minimum: Minimum
    start_up: StartUp
    drain: float
    """How many seconds a pod is given to end its jobs."""
    now: float


Rule = Callable[[Verdict, Circumstances], Verdict]


def scale_down_window(verdict: Verdict, among: Circumstances) -> Verdict:
    """Let the highest recommendation of the window hold the number up."""
    if not verdict.shrinks or verdict.noticed.unknown_since is not None:
        return verdict
    window = float(among.autoscaling.behavior.scale_down.stabilization_window_seconds)
    held = stabilization.hold(verdict.peaks, current=verdict.current, window=window)
    return verdict.moved(held.replicas, by=ScalingReason.STABILIZING_SCALE_DOWN, until=held.until)


def scale_up_window(verdict: Verdict, among: Circumstances) -> Verdict:
    """Let the lowest recommendation of the window hold the number down; the minimum waits for nothing."""
    if not verdict.grows or not verdict.lows:
        return verdict
    window = float(among.autoscaling.behavior.scale_up.stabilization_window_seconds)
    held = stabilization.hold_low(verdict.lows, current=verdict.current, window=window)
    number = min(verdict.number, max(held.replicas, among.minimum.replicas))
    return verdict.moved(number, by=ScalingReason.SCALE_UP_RATE_LIMITED, until=held.until)


def tolerance(verdict: Verdict, among: Circumstances) -> Verdict:
    """Leave a number that is nearly right, or stop short of it: see `behavior.tolerated` and `headroom`."""
    return verdict.moved(verdict.tolerated, by=ScalingReason.WITHIN_TOLERANCE, until=verdict.withheld_until)


def policies(verdict: Verdict, among: Circumstances) -> Verdict:
    """Move no faster than the policies allow; up to the minimum nothing slows."""
    rules, events = among.autoscaling.behavior, verdict.history.scale_events
    if verdict.grows:
        most = behavior.highest(rules.scale_up, events, current=verdict.current, now=among.now)
        if most is None:
            return verdict
        number = min(verdict.number, max(most.replicas, among.minimum.replicas))
        return verdict.moved(number, by=ScalingReason.SCALE_UP_RATE_LIMITED, until=most.until)
    if verdict.shrinks:
        least = behavior.lowest(rules.scale_down, events, current=verdict.current, now=among.now)
        if least is None:
            return verdict
        number = max(verdict.number, least.replicas)
        return verdict.moved(number, by=ScalingReason.SCALE_DOWN_RATE_LIMITED, until=least.until)
    return verdict


def cooldown(verdict: Verdict, among: Circumstances) -> Verdict:
    """Keep one replica until nothing was ready and nothing active for the cooldown and for the window."""
    since = verdict.noticed.idle_since
    if verdict.number > 0 or verdict.current == 0 or since is None:
        return verdict
    window = among.autoscaling.behavior.scale_down.stabilization_window_seconds
    until = since + max(among.autoscaling.cooldown_seconds, window)
    return verdict if among.now >= until else verdict.moved(1, by=ScalingReason.COOLING_DOWN, until=until)


def next_job_due(verdict: Verdict, among: Circumstances) -> Verdict:
    """Keep one replica where the next job comes so soon that a pod would hardly be gone before it is started again."""
    if verdict.number > 0 or verdict.current == 0:
        return verdict
    live = (queue.next_job_in for queue in verdict.queues if queue.state is QueueState.LIVE)
    due = min((seconds for seconds in live if seconds is not None), default=None)
    pays = max(float(among.autoscaling.cooldown_seconds), STARTS_TO_PAY * among.start_up.seconds)
    if due is None or due > pays:
        return verdict
    return verdict.moved(1, by=ScalingReason.NEXT_JOB_DUE, until=among.now + due)


def confirmation(verdict: Verdict, among: Circumstances) -> Verdict:
    """Keep the number until a second reading calls for fewer too, after a start or an outage."""
    if not verdict.shrinks or verdict.confirmed:
        return verdict
    until = among.now + CONFIRM_SECONDS
    return verdict.moved(verdict.current, by=ScalingReason.CONFIRMING_SCALE_DOWN, until=until)


def obstacles(verdict: Verdict, among: Circumstances) -> Verdict:
    """Add no pods where new ones do not come up, but for the minimum."""
    if not verdict.grows:
        return verdict
    obstacle = growth.obstacle(among.workers, among.now)
    if obstacle is None:
        return verdict
    quota = obstacle.reason is ConditionReason.QUOTA_EXCEEDED
    by = ScalingReason.QUOTA_EXCEEDED if quota else ScalingReason.WORKERS_NOT_READY
    return verdict.moved(_at_least_minimum(verdict, among), by=by)


def retry_storm(verdict: Verdict, among: Circumstances) -> Verdict:
    """Add no pods where most jobs fail and more pods did not help."""
    if not verdict.grows or verdict.current == 0:
        return verdict
    until = growth.storm_until(verdict.queues, verdict.history, verdict.noticed.storm_since, among.now)
    if until is None:
        return verdict
    return verdict.moved(_at_least_minimum(verdict, among), by=ScalingReason.RETRY_STORM, until=until)


def rollout(verdict: Verdict, among: Circumstances) -> Verdict:
    """Take no pod away while a rollout is under way, until its progress deadline."""
    workers = among.workers
    scaled = workers.ownership in _SCALED and workers.target_problem is None
    if not verdict.shrinks or not scaled or workers.rollout_complete is not False:
        return verdict
    if workers.rollout_problem is not None or (workers.ordinal and _is_stuck(workers, among.now)):
        return verdict
    return verdict.moved(verdict.current, by=ScalingReason.ROLLOUT_IN_PROGRESS)


def nothing_known(verdict: Verdict, among: Circumstances) -> Verdict:
    """Keep the number where no queue could be read, even below the minimum."""
    return verdict.moved(verdict.current, by=unknown_reason(verdict.queues)) if verdict.unknown else verdict


def metrics_loss(verdict: Verdict, among: Circumstances) -> Verdict:
    """Raise the number as onMetricsLoss says, where it is our reading alone that is lost."""
    loss, since = among.autoscaling.on_metrics_loss, verdict.noticed.lost_since
    if not verdict.unknown or loss is None or since is None or among.now < since + loss.after_seconds:
        return verdict
    if not redis_answers(verdict):
        return verdict
    if verdict.number == loss.replicas and verdict.history.reason is ScalingReason.METRICS_LOSS_FALLBACK:
        # What it raised stands, and is told for as long as it is in force.
        return verdict.kept(by=ScalingReason.METRICS_LOSS_FALLBACK)
    return verdict.moved(max(verdict.number, loss.replicas), by=ScalingReason.METRICS_LOSS_FALLBACK)


def redis_answers(verdict: Verdict) -> bool:
    """Whether something other than Redis itself keeps the queues from being read."""
    return any(queue.problem is not None and queue.problem.reason in _REDIS_ANSWERS for queue in verdict.queues)


def busy(verdict: Verdict, among: Circumstances) -> Verdict:
    """Keep the pods that running jobs occupy, of those that there are."""
    if not verdict.shrinks:
        return verdict
    floor = busy_floor(verdict.queues, among.workers, drain=among.drain, current=verdict.current)
    return verdict.moved(max(verdict.number, floor), by=ScalingReason.BUSY_FLOOR)


def maximum(verdict: Verdict, among: Circumstances) -> Verdict:
    """Never exceed the user's maximum, whatever else would hold the number."""
    return verdict.moved(min(verdict.number, among.autoscaling.max_replicas), by=ScalingReason.AT_MAXIMUM)


IN_ORDER: tuple[Rule, ...] = (
    tolerance,
    scale_down_window,
    scale_up_window,
    policies,
    cooldown,
    next_job_due,
    confirmation,
    obstacles,
    retry_storm,
    rollout,
    nothing_known,
    metrics_loss,
    busy,
    maximum,
)


def _is_stuck(workers: WorkersObservation, now: float) -> bool:
    """Whether a StatefulSet's rollout waits for a pod that does not come up: it has no progress deadline of its own.

    Where its pods may not be listed nobody could tell that, and the wait for the rollout might never end.
    """
    if workers.pods is None:
        return True
    return any(not pod.ready and not pod.terminating and not is_coming(pod, now) for pod in workers.pods)


def _at_least_minimum(verdict: Verdict, among: Circumstances) -> int:
    return min(verdict.number, max(verdict.current, among.minimum.replicas))
