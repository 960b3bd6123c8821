"""The decision in one sentence with all its numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec
from queueworker_operator.scaling.capacity import trouble
from queueworker_operator.scaling.decision import Decision, Limit, Vote
from queueworker_operator.scaling.explain import limits, votes
from queueworker_operator.scaling.explain.facts import NOBODY, Facts, Seen
from queueworker_operator.scaling.explain.words import clip, clock, count, moment, queues_are
from queueworker_operator.scaling.observation import Observation
from queueworker_operator.scaling.queues import MISSING_SECONDS

_OVERLAYS = (Reason.PAUSED_BY_USER, Reason.DRY_RUN, Reason.CONFLICTING_AUTOSCALER)
"""Reasons that say why the number is not written."""
_EXEMPT = {
    "keepUp": (Reason.LIMITED_BY_SLOTS,),
    "lookAhead": (Reason.QUEUE_SHARED,),
    "feedback": (Reason.QUEUE_SHARED,),
}


def message(
    decision: Decision,
    observation: Observation,
    spec: QueueWorkerSpec | None,
    now: float,
    *,
    paused_by: str | None = None,
    problem: str | None = None,
) -> str:
    """Return why the number is what it is, `6 of 1-20 replicas: ...`, at most 1024 characters.

    All of it comes from the decision (its own message aside) and the look that it was made on; `problem` is why the
    spec cannot be carried out. Moments are absolute and measured numbers rounded, so that nothing trembles.
    """
    autoscaling = spec.autoscaling if spec is not None else None
    number, of, plural = decision.desired, "", decision.desired != 1
    if decision.reason is Reason.SPEC_INVALID or problem is not None or autoscaling is None:
        fixed = _pin(decision) or "fixed by spec.replicas"
        clauses = [f"kept, {problem.rstrip('.')}" if problem is not None else fixed]
    else:
        clauses = list(_clauses(_Told.of(decision, observation, autoscaling, now)))
        low, high = autoscaling.min_replicas, autoscaling.max_replicas
        of, plural = f" of {low}-{high}" if low != high else f" of {high}", high != 1
    if decision.reason in _OVERLAYS:
        clauses.insert(0, _overlay(decision, observation, paused_by))
        number = decision.current
        plural = plural if of else number != 1
    return clip(f"{number}{of} replica{'s' if plural else ''}: {'; '.join(clauses)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    decision: Decision
    observation: Observation
    autoscaling: Autoscaling
    facts: Facts
    now: float

    @classmethod
    def of(cls, decision: Decision, observation: Observation, autoscaling: Autoscaling, now: float) -> "_Told":
        rates, start_up = decision.inputs.rates, decision.inputs.start_up
        facts = {queue.name: Seen(queue, rates.get(queue.name), start_up) for queue in observation.queues}
        return cls(decision=decision, observation=observation, autoscaling=autoscaling, facts=facts, now=now)

    def silent(self, rule: str) -> list[str]:
        return [vote.queue for vote in self.decision.votes if vote.rule == rule and vote.queue is not None]


def _overlay(decision: Decision, observation: Observation, paused_by: str | None) -> str:
    wish = f"otherwise {decision.desired}" if decision.desired != decision.current else "otherwise the same"
    match decision.reason:
        case Reason.DRY_RUN:
            return f"dry run, {wish}"
        case Reason.CONFLICTING_AUTOSCALER:
            other = observation.workers.conflict or "another autoscaler"
            return f"{other} writes this number too, so it is left alone, {wish}"
    return f"paused by {paused_by or 'the user'}, {wish}"


def _clauses(told: _Told) -> Iterator[str]:
    best = _demand(told)
    if best is not None and best.replicas > 0:
        yield from _asked(told, best)
    elif any(vote.rule in votes.DEMANDS for vote in told.decision.votes):
        yield from _idle(told)
    yield from _notes(told)
    yield from _minimum(told, best)
    for limit in told.decision.limits:
        if limit.queue is None and limit.by is not Reason.PINNED:
            yield _limit(told, limit)
    if pin := _pin(told.decision):
        yield pin


def _pin(decision: Decision) -> str | None:
    """Say a pin even where it changes nothing: then there is no limit of it."""
    limit = next((limit for limit in decision.limits if limit.by is Reason.PINNED), None)
    if limit is not None:
        return limits.pinned(limit.after, limit.until)
    return limits.pinned(decision.desired, None) if decision.reason is Reason.PINNED else None


def _demand(told: _Told) -> Vote | None:
    """Return the vote that the jobs speak with: what is left of it after the caps of its queue decides."""
    asking = [vote for vote in told.decision.votes if vote.rule in votes.DEMANDS]
    return max(asking, key=lambda vote: (_left(told, vote), -votes.DEMANDS.index(vote.rule)), default=None)


def _left(told: _Told, vote: Vote) -> int:
    chain = caps(vote, told.decision.limits)
    return chain[-1].after if chain else vote.replicas


def caps(vote: Vote, limits_: Sequence[Limit]) -> list[Limit]:
    """Return the limits that lowered a vote, in order: each begins where the one before it ended.

    The slots are no limit on keeping up, which has its own, and a share is one of what the whole queue asks for.
    """
    number, chain = vote.replicas, list[Limit]()
    for limit in limits_:
        own = limit.queue is not None and limit.queue == vote.queue and limit.before == number > limit.after
        if own and limit.by not in _EXEMPT.get(vote.rule, ()):
            chain.append(limit)
            number = limit.after
    return chain


def _asked(told: _Told, vote: Vote) -> Iterator[str]:
    queue = told.facts.get(vote.queue or "", NOBODY)
    where = f"queue {queue.name}: " if len(told.facts) > 1 else ""
    lowered = [_limit(told, limit) for limit in caps(vote, told.decision.limits)]
    text = votes.phrase(vote.rule, vote.replicas, queue, told.autoscaling)
    yield where + (f"{text}, but {', then '.join(lowered)}" if lowered else text)


def _idle(told: _Told) -> Iterator[str]:
    active = sum(queue.active for queue in told.facts.values())
    running = f"no job is ready, {active} {'is' if active == 1 else 'are'} active"
    yield running if active else "no job is ready and none is active"
    due = [queue.next_due_at for queue in told.facts.values() if queue.next_due_at is not None]
    if due:
        yield f"next delayed job due {moment(min(due), told.now)}"


def _notes(told: _Told) -> Iterator[str]:
    if not any(vote.rule in votes.SILENCES for vote in told.decision.votes):
        return
    unknown = told.silent("unknown")
    if unknown:
        why = told.facts[unknown[0]].trouble or "not read yet"
        yield f"{queues_are(unknown, one='cannot be read', many='cannot be read')} ({why})"
    missing = told.silent("queueMissing")
    if missing:
        yield queues_are(missing, one="was there and is gone", many="were there and are gone") + _held(told)
    paused = told.silent("queuePaused")
    if paused:
        ready = sum(told.facts[name].withheld for name in paused if name in told.facts)
        kept = f" with {count(ready, 'job')} ready" if ready else ""
        yield queues_are(paused, one="is paused", many="are paused") + kept
    unused = told.silent("queueUnused")
    if unused:
        yield queues_are(unused, one="was never used", many="were never used")


def _held(told: _Told) -> str:
    since = told.decision.history.missing_since
    if since is None or told.now >= since + MISSING_SECONDS:
        return ""
    return f", the number stays until {clock(since + MISSING_SECONDS)}"


def _minimum(told: _Told, best: Vote | None) -> Iterator[str]:
    floors = [vote for vote in told.decision.votes if vote.rule in ("minReplicas", "schedule") and vote.replicas > 0]
    highest = max(floors, key=lambda vote: (vote.replicas, vote.rule == "schedule"), default=None)
    if highest is None or (best is not None and highest.replicas <= _left(told, best)):
        return
    others = [_left(told, vote) for vote in told.decision.votes if vote not in floors]
    if highest.replicas >= max(others, default=0):
        yield votes.phrase(highest.rule, highest.replicas, NOBODY, told.autoscaling)


def _limit(told: _Told, limit: Limit) -> str:
    workers, history = told.observation.workers, told.decision.history
    problem = workers.rollout_problem or trouble(workers, told.now)
    due = [queue.next_due_at for queue in told.facts.values() if queue.next_due_at is not None]
    step = limits.Step(
        by=limit.by,
        before=limit.before,
        after=limit.after,
        until=limit.until,
        queue=told.facts.get(limit.queue) if limit.queue is not None else None,
        active=sum(queue.active for queue in told.facts.values()),
        peak=max((peak.replicas for peak in history.recommendations), default=None),
        idle_since=history.idle_since,
        next_due_at=min(due, default=None),
        why=problem.message.rstrip(".") if problem is not None else "",
    )
    return limits.phrase(step, told.autoscaling)
