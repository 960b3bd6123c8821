"""The arithmetic of a decision, line by line, from what the status says of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.scaling.explain import limits, votes
from queueworker_operator.scaling.explain.facts import NOBODY, Facts, Recorded
from queueworker_operator.scaling.explain.words import count, jobs_per_time, seconds
from queueworker_operator.scaling.rates.starts import UNMEASURED_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One step: `label` is `inputs`, the rule of a vote, the reason of a limit, or `desired`."""

    label: str
    before: int | None = None
    """The number that a limit found."""
    after: int | None = None
    """The number that the step says; None for inputs."""
    detail: str = ""
    queue: str | None = None
    """The queue that it speaks of; None for the whole QueueWorker."""


def waterfall(scaling: api.Scaling, spec: api.QueueWorkerSpec) -> tuple[Line, ...]:
    """Return the inputs, every vote, every limit and the final number, in this order."""
    facts = facts_of(scaling)
    return (
        *_inputs(scaling),
        *_votes(scaling, spec, facts),
        *_limits(scaling, spec, facts),
        Line(label="desired", after=scaling.desired, detail=scaling.reason),
    )


def facts_of(scaling: api.Scaling) -> Facts:
    """Return what the status says of each queue, by its name."""
    return {queue.name: Recorded.of(queue, scaling.inputs) for queue in scaling.inputs.queues or ()}


def unix(time: datetime | None) -> float | None:
    """Return Unix seconds; a time without a zone is UTC."""
    if time is None:
        return None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _inputs(scaling: api.Scaling) -> Iterator[Line]:
    inputs = scaling.inputs
    parts = {
        "backlog": inputs.backlog,
        "waiting": inputs.waiting,
        "prioritized": inputs.prioritized,
        "due": inputs.delayed_due,
        "active": inputs.active,
        "delayed": inputs.delayed,
        "failed": inputs.failed,
    }
    known = [f"{name} {number}" for name, number in parts.items() if number is not None]
    if inputs.oldest_age_seconds is not None:
        known.append(f"the oldest waits {inputs.oldest_age_seconds} s")
    if known:
        yield Line(label="inputs", detail=", ".join(known))
    for queue in inputs.queues or ():
        yield Line(label="inputs", queue=queue.name, detail=_queue(queue))
    if inputs.queues:
        start = inputs.start_up_seconds
        needs = f"a pod needs {UNMEASURED_SECONDS if start is None else start:.0f} s until it is ready"
        yield Line(label="inputs", detail=needs if start is not None else f"{needs}, as long as that is not measured")


def _queue(queue: api.QueueInputs) -> str:
    if queue.backlog is None:
        return "not read"
    known = [f"backlog {queue.backlog}", f"active {queue.active or 0}", f"{count(queue.slots or 1, 'slot')} a pod"]
    if queue.service_milliseconds is None:
        known.append("how long a job takes is not known")
    else:
        source = f" ({queue.service_source})" if queue.service_source else ""
        known.append(f"a job takes {seconds(queue.service_milliseconds)}{source}")
    if queue.arrivals_per_minute is not None:
        known.append(f"{jobs_per_time(queue.arrivals_per_minute)} arriving")
    return ", ".join(known)


def _votes(scaling: api.Scaling, spec: api.QueueWorkerSpec, facts: Facts) -> Iterator[Line]:
    if spec.autoscaling is None:
        return
    for vote in scaling.votes or ():
        queue = facts.get(vote.queue or "", NOBODY)
        detail = votes.phrase(vote.rule, vote.replicas, queue, spec.autoscaling)
        yield Line(label=vote.rule, after=vote.replicas, detail=detail, queue=vote.queue)


def _limits(scaling: api.Scaling, spec: api.QueueWorkerSpec, facts: Facts) -> Iterator[Line]:
    memory = scaling.memory or api.Memory()
    peak = max((peak.replicas for peak in memory.recommendations or ()), default=None)
    for limit in scaling.limits or ():
        step = limits.Step(
            by=limit.by,
            before=limit.from_,
            after=limit.to,
            until=unix(limit.until),
            queue=facts.get(limit.queue) if limit.queue is not None else None,
            active=sum(queue.active for queue in facts.values()),
            peak=peak,
            idle_since=unix(memory.idle_since),
            next_due_at=unix(limit.until),
        )
        detail = limits.phrase(step, spec.autoscaling) if spec.autoscaling is not None else ""
        yield Line(label=limit.by, before=limit.from_, after=limit.to, detail=detail, queue=limit.queue)
