"""The decision: from one look at the world to the number of replicas, and why. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec
from queueworker_operator.scaling import explain, limits
from queueworker_operator.scaling.decision import Change, Decision, History, Limit
from queueworker_operator.scaling.history import MAX_CHANGES
from queueworker_operator.scaling.observation import HORIZON_SECONDS, Observation, Ownership, WorkersObservation
from queueworker_operator.scaling.queues import QueueState, QueueView, inputs, remember, views
from queueworker_operator.scaling.reasons import reason_of
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import ballots, winner

NOT_CONSUMING_SECONDS = 30.0
"""How long jobs may wait before ready workers until something must be wrong."""
PAUSED_ANNOTATION = "queueworker.dev/paused"
_NOT_PAUSED = frozenset({"false", "f", "0"})


def decide(
    observation: Observation,
    spec: QueueWorkerSpec,
    history: History,
    now: float,
    *,
    paused_by_annotation: bool = False,
) -> Decision:
    """Return how many replicas there shall be, why, and what to remember; `now` is in Unix seconds.

    The history that comes back supposes that the decision is carried out: where it was not, keep `unwritten` of it.
    """
    current = standing(observation.workers, history)
    history = replace(history, **remember(observation, history, now))  # type: ignore[arg-type]  # named fields
    target = spec.autoscaling.target.backlog_per_replica if spec.autoscaling else None
    queues = views(observation, history, now, backlog_per_replica=target)
    history = replace(history, not_consuming_since=_not_consuming_since(queues, observation.workers, history, now))
    if spec.autoscaling is not None and spec.replicas is None:
        verdict = _autoscaled(queues, spec.autoscaling, history, current=current, now=now)
    elif spec.replicas is not None and spec.autoscaling is None:
        history = _without_autoscaling(history)
        verdict = Verdict.fixed(spec.replicas, current=current, queues=queues, history=history)
    else:
        problem = "exactly one of spec.replicas and spec.autoscaling is needed; set one and remove the other"
        verdict = Verdict.refused(problem, current=current, queues=queues, history=history)
    paused_by = pause_source(spec, by_annotation=paused_by_annotation)
    return _conclude(verdict, spec, observation.workers, before=history, now=now, paused_by=paused_by)


def refuse(observation: Observation, history: History, now: float, *, problem: str) -> Decision:
    """Return the decision on a spec that cannot be read: the number stays and nothing is written."""
    current = standing(observation.workers, history)
    # Nobody reads the queues meanwhile, so this is an outage like any other.
    since = history.unknown_since if history.unknown_since is not None else now
    history = replace(history, unknown_since=since, confirmed=False, fewer_reading=None)
    verdict = Verdict.refused(problem, current=current, queues=(), history=history)
    return _conclude(verdict, None, observation.workers, before=history, now=now, paused_by=None)


def standing(workers: WorkersObservation, history: History) -> int:
    """Return the number that stands; without a Deployment of ours, the one that it is to come back to."""
    if workers.ownership in (Ownership.OURS, Ownership.ADOPTABLE):
        return workers.replicas
    return history.desired or 0


def is_paused(annotations: Mapping[str, str]) -> bool:
    """Whether the annotation pauses the QueueWorker: with any value but a plain no, for who sets it wants a halt."""
    value = annotations.get(PAUSED_ANNOTATION)
    return value is not None and value.strip().lower() not in _NOT_PAUSED


def pause_source(spec: QueueWorkerSpec, *, by_annotation: bool) -> str | None:
    """Return by what the user paused it, the annotation first; None where nobody did."""
    if by_annotation:
        return f"the annotation {PAUSED_ANNOTATION}"
    return "spec.autoscaling.paused" if spec.autoscaling is not None and spec.autoscaling.paused else None


def _autoscaled(
    queues: tuple[QueueView, ...], autoscaling: Autoscaling, history: History, *, current: int, now: float
) -> Verdict:
    votes = ballots(queues, current=current, min_replicas=autoscaling.min_replicas)
    verdict = Verdict(
        number=winner(votes).replicas,
        current=current,
        queues=queues,
        history=history,
        ballots=votes,
        winner=winner(votes),
    )
    for rule in limits.IN_ORDER:
        verdict = rule(verdict, autoscaling, now)
    return verdict


def _without_autoscaling(history: History) -> History:
    """Forget what only autoscaling needs, so that it begins afresh when it comes back."""
    return replace(
        history, recommendations=(), idle_since=None, unknown_since=None, confirmed=False, fewer_reading=None
    )


def _conclude(
    verdict: Verdict,
    spec: QueueWorkerSpec | None,
    workers: WorkersObservation,
    *,
    before: History,
    now: float,
    paused_by: str | None,
) -> Decision:
    reason = ScalingReason.PAUSED_BY_USER if paused_by else reason_of(verdict)
    refused = reason is ScalingReason.SPEC_INVALID
    write = not paused_by and not refused and workers.ownership not in (Ownership.FOREIGN, Ownership.TERMINATING)
    seen = inputs(verdict.queues)
    return Decision(
        desired=verdict.number,
        current=verdict.current,
        write=write,
        reason=reason,
        message=explain.sentence(verdict, spec, reason, now, paused_by=paused_by),
        inputs=seen,
        votes=tuple(ballot.vote for ballot in verdict.ballots),
        limits=tuple(_caps(verdict)) + verdict.limits,
        history=_remembered(verdict, reason, now, write=write, backlog=seen.backlog),
        recheck_at=_recheck_at(verdict, now),
    )


def _remembered(verdict: Verdict, reason: ScalingReason, now: float, *, write: bool, backlog: int | None) -> History:
    before, number, current = verdict.history, verdict.number, verdict.current
    after = replace(before, reason=reason, desired=number if write else current)
    if reason is not before.reason or after.desired != before.desired:
        after = replace(after, last_change_at=now)
    if write and number != current:
        change = Change(at=now, before=current, after=number, reason=reason, backlog=backlog)
        after = replace(after, last_scale_at=now, changes=(change, *before.changes)[:MAX_CHANGES])
    return after


def _caps(verdict: Verdict) -> list[Limit]:
    return [ballot.cap for ballot in verdict.ballots if ballot.cap is not None]


def _not_consuming_since(
    queues: tuple[QueueView, ...], workers: WorkersObservation, history: History, now: float
) -> float | None:
    since = history.not_consuming_since
    if workers.ready == 0:
        return None
    if any(queue.stuck for queue in queues):
        return since if since is not None and since <= now else now
    # A failed read is no sign of life.
    return since if any(queue.state is QueueState.UNKNOWN for queue in queues) else None


def _recheck_at(verdict: Verdict, now: float) -> float | None:
    """Return when the same inputs would first be decided otherwise."""
    moments = [limit.until for limit in verdict.limits]
    if verdict.winner is not None:
        moments += [queue.held_until for queue in verdict.queues]
        moments += _due(verdict, now)
    if verdict.history.not_consuming_since is not None:
        moments.append(verdict.history.not_consuming_since + NOT_CONSUMING_SECONDS)
    return min((moment for moment in moments if moment is not None and moment > now), default=None)


def _due(verdict: Verdict, now: float) -> list[float]:
    """Return when delayed jobs begin to count: as backlog when due, as a reason for a slot one horizon before."""
    due = {q.name: at for q in verdict.queues if q.state is QueueState.LIVE and (at := q.next_due(now)) is not None}
    return [*due.values(), *(due[cap.queue] - HORIZON_SECONDS for cap in _caps(verdict) if cap.queue in due)]
