"""What follows from a number: whether it is written, who goes, what is told and what is remembered."""

from dataclasses import dataclass, replace

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec
from queueworker_operator.scaling import behavior, explain, growth, rechecks, warnings
from queueworker_operator.scaling.busy import drain_seconds
from queueworker_operator.scaling.decision import Change, Decision, History, Limit, ScaleEvent
from queueworker_operator.scaling.history import MAX_CHANGES
from queueworker_operator.scaling.measuring import Measured
from queueworker_operator.scaling.observation import Observation, Ownership, Problem, WorkersObservation
from queueworker_operator.scaling.overrides import Overrides, pause_source
from queueworker_operator.scaling.queues import Seen, inputs
from queueworker_operator.scaling.reasons import reason_of, unwritten_reason
from queueworker_operator.scaling.schedules import Minimum
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.victims import spared, victims
from queueworker_operator.scaling.votes import orphans_unknown

_NOT_WRITTEN = frozenset({Ownership.FOREIGN, Ownership.TERMINATING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """What a decision rests on beside the verdict; without a spec, nothing is written and nobody is warned."""

    observation: Observation
    spec: QueueWorkerSpec | None
    overrides: Overrides
    now: float
    measured: Measured
    known: Seen
    minimum: Minimum | None = None

    @property
    def autoscaling(self) -> Autoscaling | None:
        """What the spec says of autoscaling."""
        return self.spec.autoscaling if self.spec is not None else None


def conclude(verdict: Verdict, grounds: Grounds) -> Decision:
    """Return the decision that a verdict makes."""
    spec, workers = grounds.spec, grounds.observation.workers
    paused_by = pause_source(spec, by_annotation=grounds.overrides.paused) if spec is not None else None
    why_not = unwritten_reason(verdict, spec, workers, paused_by=paused_by)
    write = why_not is None and workers.ownership not in _NOT_WRITTEN and workers.target_problem is None
    decision = _decision(verdict, grounds, why_not or reason_of(verdict), write=write)
    message = explain.message(
        decision, grounds.observation, spec, grounds.now, paused_by=paused_by, problem=verdict.problem
    )
    return replace(decision, message=message)


def _decision(verdict: Verdict, grounds: Grounds, reason: ScalingReason, *, write: bool) -> Decision:
    """Return all of the decision but its message, which tells the rest."""
    workers, read = grounds.observation.workers, inputs(verdict.queues, grounds.measured.start_up)
    going = _victims(verdict, grounds) if write and verdict.shrinks else ()
    orphans = any(orphans_unknown(queue, workers.ready) for queue in verdict.queues)
    return Decision(
        desired=verdict.number,
        current=verdict.current,
        write=write,
        reason=reason,
        message="",
        inputs=read,
        votes=tuple([ballot.vote for ballot in verdict.ballots]),
        limits=_caps(verdict) + verdict.limits,
        history=_history(verdict, grounds, reason, read.backlog, write=write),
        victims=going,
        spared=spared(workers, going, desired=verdict.number) if write else (),
        wants_pods=orphans or (write and _rests_on_pods(verdict, workers)),
        wants_details=orphans or (write and verdict.shrinks),
        warnings=_warnings(verdict, grounds),
        recheck_at=_recheck_at(verdict, grounds),
    )


def _rests_on_pods(verdict: Verdict, workers: WorkersObservation) -> bool:
    doubtful = workers.ready < verdict.current or workers.pod_problem is not None
    return verdict.shrinks or (verdict.grows and doubtful)


def _recheck_at(verdict: Verdict, grounds: Grounds) -> float | None:
    workers, start_up = grounds.observation.workers, grounds.measured.start_up
    moments = rechecks.moments(
        verdict, grounds.autoscaling, workers, grounds.overrides, grounds.minimum, start_up, grounds.now
    )
    return rechecks.earliest(moments, grounds.now)


def _history(verdict: Verdict, grounds: Grounds, reason: ScalingReason, backlog: int | None, *, write: bool) -> History:
    kept = _remembered(verdict, grounds, reason, write=write)
    if not write or verdict.number == verdict.current:
        return kept
    return _with_the_change(kept, verdict, reason, backlog, grounds.now)


def _remembered(verdict: Verdict, grounds: Grounds, reason: ScalingReason, *, write: bool) -> History:
    """Return what to keep of this look, whether the number changes or not."""
    before, noticed, known = verdict.history, verdict.noticed, grounds.known
    desired = verdict.number if write else verdict.current
    moved = reason is not before.reason or desired != before.desired
    # Only autoscaling needs some of it: it begins afresh when it comes back.
    keeps = verdict.winner is not None or verdict.problem is not None
    change = desired - verdict.current
    return replace(
        before,
        recommendations=verdict.peaks,
        idle_since=noticed.idle_since if keeps else None,
        desired=desired,
        reason=reason,
        seen_queues=known.queues,
        missing_queues=known.missing,
        missing_since=known.missing_since,
        unknown_since=noticed.unknown_since if keeps else None,
        not_consuming_since=noticed.not_consuming_since,
        confirmed=verdict.confirmed,
        fewer_reading=verdict.fewer_reading,
        learned=grounds.measured.learned,
        starts=grounds.measured.starts,
        lows=verdict.lows,
        scale_events=_scale_events(before, grounds, change=change),
        lost_since=noticed.lost_since if keeps else None,
        storm_since=noticed.storm_since,
        last_change_at=grounds.now if moved else before.last_change_at,
    )


def _with_the_change(
    kept: History, verdict: Verdict, reason: ScalingReason, backlog: int | None, now: float
) -> History:
    entry = Change(at=now, before=verdict.current, after=verdict.number, reason=reason, backlog=backlog)
    changed = replace(kept, last_scale_at=now, changes=(entry, *kept.changes)[:MAX_CHANGES])
    if not verdict.grows:
        return changed
    return replace(changed, last_growth_at=now, last_growth_completions=growth.completions(verdict.queues))


def _scale_events(before: History, grounds: Grounds, *, change: int) -> tuple[ScaleEvent, ...]:
    autoscaling = grounds.autoscaling
    if autoscaling is None or not (change or before.scale_events):
        return ()
    return behavior.remembered(before.scale_events, autoscaling, change=change, now=grounds.now)


def _warnings(verdict: Verdict, grounds: Grounds) -> tuple[Problem, ...]:
    spec, autoscaling = grounds.spec, grounds.autoscaling
    if spec is None:
        return ()
    told = list(warnings.of_overrides(grounds.overrides))
    drain, ours = drain_seconds(spec, grounds.observation.workers), spec.worker is not None
    target = float(autoscaling.target.max_wait_seconds) if autoscaling is not None else None
    if target is not None and grounds.minimum is not None:
        start_up = grounds.measured.start_up
        told += warnings.infeasible(start_up, target_seconds=target, minimum=grounds.minimum.replicas)
    for queue in verdict.queues:
        told += warnings.of_queue(queue, target_seconds=target, drain=drain, ours=ours)
    return tuple(told)


def _victims(verdict: Verdict, grounds: Grounds) -> tuple[str, ...]:
    spec, workers = grounds.spec, grounds.observation.workers
    drain = drain_seconds(spec, workers) if spec is not None else 0.0
    return victims(verdict.queues, workers, desired=verdict.number, current=verdict.current, drain=drain)


def _caps(verdict: Verdict) -> tuple[Limit, ...]:
    found = [cap for ballot in verdict.ballots for cap in ballot.caps]
    return tuple(dict.fromkeys(found)) if found else ()
