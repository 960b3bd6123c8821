"""The decision: from one look at the world to the number of replicas, and why. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.scaling import behavior, caps, headroom, limits, memory, schedules, stabilization
from queueworker_operator.scaling.busy import drain_seconds
from queueworker_operator.scaling.capacity import capacity
from queueworker_operator.scaling.conclusion import Grounds, conclude
from queueworker_operator.scaling.decision import Decision, History, Recommendation
from queueworker_operator.scaling.limits import Circumstances
from queueworker_operator.scaling.measuring import Measured, measure
from queueworker_operator.scaling.memory import NOT_CONSUMING_SECONDS, Noticed
from queueworker_operator.scaling.observation import Observation, Ownership, WorkersObservation
from queueworker_operator.scaling.overrides import Overrides, is_paused, pause_source
from queueworker_operator.scaling.queues import Seen, seen, views
from queueworker_operator.scaling.rates.starts import StartUp
from queueworker_operator.scaling.schedules import Minimum
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import Ballot, Pods, minimum_ballot, winner

__all__ = ["NOT_CONSUMING_SECONDS", "decide", "is_paused", "pause_source", "refuse", "standing"]

_NO_OVERRIDES = Overrides()
_STANDING = frozenset({Ownership.OURS, Ownership.ADOPTABLE, Ownership.TARGET})


def decide(
    observation: Observation,
    spec: QueueWorkerSpec,
    history: History,
    now: float,
    *,
    overrides: Overrides = _NO_OVERRIDES,
) -> Decision:
    """Return how many replicas there shall be, why, and what to remember; `now` is in Unix seconds.

    The history that comes back supposes that the decision is carried out: where it was not, keep `unwritten` of it.
    """
    current = standing(observation.workers, history)
    measured = measure(observation, spec, history, now)
    known = seen(observation, history, now)
    queues = views(observation, spec, now, known=known, measured=measured)
    noticed = memory.noticed(history, queues, observation.workers, now, ended=measured.ended)
    grounds = Grounds(
        observation=observation,
        spec=spec,
        overrides=overrides,
        now=now,
        measured=measured,
        known=known,
        minimum=_minimum(spec, now),
    )
    start = Verdict(number=current, current=current, queues=queues, history=history, noticed=noticed)
    return conclude(_pinned(_number(start, spec, grounds), overrides, now), grounds)


def refuse(observation: Observation, history: History, now: float, *, problem: str) -> Decision:
    """Return the decision on a spec that cannot be read: the number stays and nothing is written."""
    current = standing(observation.workers, history)
    # Nobody reads the queues meanwhile, so this is an outage like any other.
    since = history.unknown_since if history.unknown_since is not None else now
    noticed = Noticed(
        idle_since=history.idle_since,
        unknown_since=since,
        lost_since=history.lost_since,
        storm_since=history.storm_since,
        not_consuming_since=history.not_consuming_since,
    )
    verdict = Verdict(
        number=current,
        current=current,
        queues=(),
        history=history,
        noticed=noticed,
        peaks=history.recommendations,
        lows=history.lows,
        problem=problem,
    )
    measured = Measured(rates={}, learned=history.learned, starts=history.starts, start_up=StartUp(), ended=False)
    known = Seen(queues=history.seen_queues, missing=history.missing_queues, missing_since=history.missing_since)
    grounds = Grounds(
        observation=observation, spec=None, overrides=_NO_OVERRIDES, now=now, measured=measured, known=known
    )
    return conclude(verdict, grounds)


def standing(workers: WorkersObservation, history: History) -> int:
    """Return the number that stands; without a Deployment of ours, the one that it is to come back to."""
    if workers.ownership in _STANDING and workers.target_problem is None:
        return workers.replicas
    return history.desired or 0


def _minimum(spec: QueueWorkerSpec, now: float) -> Minimum | None:
    """Return the minimum in force; None where the spec is not one for autoscaling."""
    if spec.autoscaling is None or spec.replicas is not None:
        return None
    return schedules.in_force(spec.autoscaling, now)


def _number(start: Verdict, spec: QueueWorkerSpec, grounds: Grounds) -> Verdict:
    if spec.autoscaling is not None and grounds.minimum is not None:
        among = Circumstances(
            autoscaling=spec.autoscaling,
            workers=grounds.observation.workers,
            minimum=grounds.minimum,
            start_up=grounds.measured.start_up,
            drain=drain_seconds(spec, grounds.observation.workers),
            now=grounds.now,
        )
        return _autoscaled(start, among)
    if spec.replicas is not None and spec.autoscaling is None:
        return replace(start, number=spec.replicas)
    problem = "exactly one of spec.replicas and spec.autoscaling is needed; set one and remove the other"
    return replace(start, problem=problem)


def _autoscaled(start: Verdict, among: Circumstances) -> Verdict:
    history, queues, current = start.history, start.queues, start.current
    pods = _pods(history, among, current=current)
    ballots = (*caps.ballots(queues, pods, among.autoscaling), minimum_ballot(among.minimum))
    best = winner(ballots)
    tolerated = _tolerated(ballots, among, number=best.replicas, current=current)
    withheld_until = headroom.withheld_until(start, ballots, among) if tolerated > current else None
    if withheld_until is not None:
        tolerated = current
    certain = start.noticed.unknown_since is None
    confirmed, reading = memory.confirmation(history, queues, certain=certain, fewer=tolerated < current)
    verdict = Verdict(
        number=best.replicas,
        current=current,
        queues=queues,
        history=history,
        noticed=start.noticed,
        ballots=ballots,
        winner=best,
        tolerated=tolerated,
        withheld_until=withheld_until,
        peaks=_peaks(history, among, number=tolerated, current=current, certain=certain),
        lows=_lows(history, among, number=tolerated, current=current),
        confirmed=confirmed,
        fewer_reading=reading,
    )
    for rule in limits.IN_ORDER:
        verdict = rule(verdict, among)
    return verdict


def _pods(history: History, among: Circumstances, *, current: int) -> Pods:
    now, start_up = among.now, among.start_up
    return Pods(
        current=current,
        capacity=capacity(among.workers, history, now, current=current, start_up=start_up.seconds),
        start_up=start_up,
        target_seconds=float(among.autoscaling.target.max_wait_seconds),
        now=now,
    )


def _tolerated(ballots: Sequence[Ballot], among: Circumstances, *, number: int, current: int) -> int:
    """The minimum, the maximum and zero are reached exactly."""
    if number in (0, current, among.minimum.replicas) or number >= among.autoscaling.max_replicas:
        return number
    return behavior.tolerated(ballots, number=number, current=current, autoscaling=among.autoscaling)


def _peaks(
    history: History, among: Circumstances, *, number: int, current: int, certain: bool
) -> tuple[Recommendation, ...]:
    # A queue that says nothing makes no recommendation; what the others raise is one.
    if not certain and number <= current:
        return history.recommendations
    window = float(among.autoscaling.behavior.scale_down.stabilization_window_seconds)
    return stabilization.record(history.recommendations, replicas=number, current=current, now=among.now, window=window)


def _lows(history: History, among: Circumstances, *, number: int, current: int) -> tuple[Recommendation, ...]:
    window = float(among.autoscaling.behavior.scale_up.stabilization_window_seconds)
    if window == 0:
        return ()
    return stabilization.record_low(history.lows, replicas=number, current=current, now=among.now, window=window)


def _pinned(verdict: Verdict, overrides: Overrides, now: float) -> Verdict:
    pin = overrides.pin(now)
    if pin is None or verdict.problem is not None:
        return verdict
    return replace(verdict.moved(pin, by=ScalingReason.PINNED, until=overrides.pinned_until), pinned=True)
