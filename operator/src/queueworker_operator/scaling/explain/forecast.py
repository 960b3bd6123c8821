"""What happens next if nothing else does, and what would make the number higher: from the status alone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from queueworker_operator.api import v1alpha1 as api
from queueworker_operator.api.reasons import ScalingReason as Reason
from queueworker_operator.scaling import demand
from queueworker_operator.scaling.behavior import is_tolerable
from queueworker_operator.scaling.explain.facts import QueueFacts
from queueworker_operator.scaling.explain.votes import DEMANDS, per_replica
from queueworker_operator.scaling.explain.waterfall import facts_of
from queueworker_operator.scaling.explain.words import count
from queueworker_operator.scaling.rounding import two_digits

_HIGHEST = 2**40
_WAITS = {
    Reason.STABILIZING_SCALE_DOWN: "{} when the peak leaves the window, unless more is asked for by then",
    Reason.COOLING_DOWN: "{} when the cooldown is over, unless a job comes by then",
    Reason.CONFIRMING_SCALE_DOWN: "{} when a second reading confirms it",
    Reason.WITHIN_TOLERANCE: "{} if they are still asked for when the scale-in is past",
    Reason.SCALE_UP_RATE_LIMITED: "more, towards the {} asked for, as behavior.scaleUp allows",
    Reason.SCALE_DOWN_RATE_LIMITED: "fewer, towards the {} asked for, as behavior.scaleDown allows",
    Reason.NEXT_JOB_DUE: "the next job is due",
    Reason.RETRY_STORM: "more are tried again, up to the {} asked for",
    Reason.PINNED: "{} when the pin ends",
}
_REMEDIES = {
    Reason.AT_MAXIMUM: "a higher autoscaling.maxReplicas",
    Reason.LIMITED_BY_GLOBAL_CONCURRENCY: "a higher concurrency set at the queue",
    Reason.LIMITED_BY_RATE_LIMIT: "a higher rate limit of the queue or its workers",
    Reason.THROUGHPUT_LIMITED: "a higher autoscaling.throughputLimit",
    Reason.WORKERS_NOT_READY: "new pods that come up",
    Reason.QUOTA_EXCEEDED: "a larger quota",
    Reason.RETRY_STORM: "fewer jobs that fail",
    Reason.SCALE_UP_RATE_LIMITED: "a wider behavior.scaleUp, or time",
}
_UNWRITTEN = {
    Reason.PAUSED_BY_USER: "nothing is written until it is resumed",
    Reason.DRY_RUN: "nothing is written until autoscaling.dryRun is false",
    Reason.CONFLICTING_AUTOSCALER: "nothing is written until the other autoscaler of the target is deleted",
}
_HELD = {
    **_UNWRITTEN,
    Reason.FIXED_REPLICAS: "it changes with spec.replicas",
    Reason.PINNED: "it changes with the pin: annotation queueworker.dev/pinned-replicas",
    Reason.HOLDING_METRICS_UNKNOWN: "it changes when a queue can be read again: look at the condition QueueReachable",
    Reason.ROLE_NOT_MASTER: "it changes when the master is read: look at the condition QueueReachable",
    Reason.REDIS_MEMORY_FULL: "it changes when there is room in Redis, which is at maxmemory",
    Reason.QUEUE_PAUSED: "it changes when the queue is resumed",
    Reason.SPEC_INVALID: "it changes with a spec that can be carried out: look at the condition Stalled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upcoming:
    """The next thing that happens by itself."""

    at: datetime
    text: str


def next_change(scaling: api.Scaling, spec: api.QueueWorkerSpec) -> Upcoming | None:
    """Return the earliest moment at which a limit ends, and what it then gives way to; None where none does.

    Where nothing is written nothing happens by itself, and while a pin holds its own end alone counts.
    """
    if scaling.reason in _UNWRITTEN:
        return None
    timed = [(limit.until, limit) for limit in scaling.limits or () if limit.until is not None]
    if scaling.reason == Reason.PINNED:
        timed = [(until, limit) for until, limit in timed if limit.by == Reason.PINNED]
    if not timed:
        return None
    at, first = min(timed, key=lambda one: one[0])
    text = next((text for by, text in _WAITS.items() if by == first.by), "{} asked for")
    return Upcoming(at=at, text=text.format(count(first.from_, "replica")))


def would_change(scaling: api.Scaling, spec: api.QueueWorkerSpec) -> str | None:
    """Return what would make the number higher, `7 replicas at backlog 1201`; None where nothing simple does.

    Where the number does not follow the queues, it is what must come before it does.

    The backlog is found with the arithmetic of the votes on the rounded numbers of the status; where these do not give
    the votes that the status holds, it is an estimate and says so. All else is taken to stay as it is.
    """
    if scaling.reason in _HELD:
        return _HELD[scaling.reason]
    autoscaling = spec.autoscaling
    if autoscaling is None:
        return None
    wanted = _next_number(scaling.desired, autoscaling)
    if remedy := _remedy(scaling, autoscaling):
        return f"more than {count(scaling.desired, 'replica')} only with {remedy}"
    paths = [_path(queue, wanted, scaling, autoscaling) for queue in _asking(scaling)]
    best = min((path for path in paths if path is not None), key=lambda path: path.more, default=None)
    if best is None or wanted > autoscaling.max_replicas:
        return None
    of = f" of queue {best.queue}" if len(scaling.inputs.queues or ()) > 1 else ""
    at = f"backlog {best.backlog}" if best.exact else f"a backlog of about {two_digits(best.backlog)}"
    return f"{count(wanted, 'replica')} at {at}{of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Path:
    queue: str
    backlog: int
    more: int
    exact: bool


def _next_number(desired: int, autoscaling: api.Autoscaling) -> int:
    wanted = desired + 1
    while wanted < autoscaling.max_replicas and desired > 0 and is_tolerable(wanted, desired, autoscaling):
        wanted += 1
    return wanted


def _remedy(scaling: api.Scaling, autoscaling: api.Autoscaling) -> str | None:
    if scaling.desired >= autoscaling.max_replicas:
        return _REMEDIES[Reason.AT_MAXIMUM]
    holding = [limit.by for limit in scaling.limits or () if limit.from_ > limit.to == scaling.desired]
    return next((remedy for by in reversed(holding) for reason, remedy in _REMEDIES.items() if reason == by), None)


def _asking(scaling: api.Scaling) -> list[QueueFacts]:
    """Return the queues whose backlog counts: those that could be read, are there and are not paused."""
    facts = facts_of(scaling)
    rules = (*DEMANDS, "queueUnused")
    names = {vote.queue for vote in scaling.votes or () if vote.rule in rules}
    return [queue for name, queue in facts.items() if name in names and queue.backlog is not None]


def _path(queue: QueueFacts, wanted: int, scaling: api.Scaling, autoscaling: api.Autoscaling) -> _Path | None:
    rules = _rules(queue, scaling, autoscaling)
    present = queue.backlog or 0
    backlog = _lowest(lambda jobs: max(rule(jobs) for rule in rules.values()) >= wanted, above=present)
    if backlog is None:
        return None
    said = {vote.rule: vote.replicas for vote in scaling.votes or () if vote.queue == queue.name}
    plain = _plain(queue, scaling, autoscaling)
    exact = all(plain[name](present) == said[name] for name in plain.keys() & said.keys())
    # While a scale-in stands, it counts too for how long the jobs would wait.
    exact = exact and not scaling.inputs.delayed and not _stands(scaling)
    return _Path(queue=queue.name, backlog=backlog, more=backlog - present, exact=exact)


def _rules(queue: QueueFacts, scaling: api.Scaling, autoscaling: api.Autoscaling) -> dict[str, Callable[[int], int]]:
    """Return how many replicas each rule asks for at a backlog, after what its slots would find."""

    def capped(rule: Callable[[int], int]) -> Callable[[int], int]:
        return lambda jobs: min(rule(jobs), demand.ceil_div(jobs + queue.active, queue.slots))

    plain = _plain(queue, scaling, autoscaling)
    if len(plain) > 1 and _stands(scaling):
        # Headroom is withheld for a while.
        plain.pop("keepUp", None)
    return {name: rule if name == "keepUp" else capped(rule) for name, rule in plain.items()}


def _stands(scaling: api.Scaling) -> bool:
    """Whether a scale-in stands against headroom."""
    return any(limit.by == Reason.WITHIN_TOLERANCE and limit.until is not None for limit in scaling.limits or ())


def _plain(queue: QueueFacts, scaling: api.Scaling, autoscaling: api.Autoscaling) -> dict[str, Callable[[int], int]]:
    """Return how many replicas each rule asks for at a backlog."""
    rules: dict[str, Callable[[int], int]] = {}
    took = queue.service_milliseconds
    if autoscaling.target.backlog_per_replica is not None or took is None:
        rules["backlogPerReplica"] = lambda jobs: demand.ceil_div(jobs, per_replica(queue, autoscaling))
    if took is None:
        return rules
    arrivals, seconds = (queue.arrivals_per_minute or 0) / 60, took / 1000
    left = demand.wait_left(
        target=float(autoscaling.target.max_wait_seconds),
        oldest_age=float(scaling.inputs.oldest_age_seconds or 0),
        start_up=float(queue.start_up_seconds),
    )
    rules["maxWait"] = lambda jobs: demand.ceil(
        demand.maximum_wait(arrivals=arrivals, seconds=seconds, slots=queue.slots, backlog=jobs, left=left)
    )
    if queue.arrivals_per_minute is not None:
        rules["keepUp"] = lambda jobs: demand.ceil(
            demand.keep_up(arrivals=arrivals, seconds=seconds, slots=queue.slots, in_system=jobs + queue.active)
        )
    return rules


def _lowest(enough: Callable[[int], bool], *, above: int) -> int | None:
    """Return the lowest number above one that is enough; what is enough stays so for all higher numbers."""
    low, high = above, max(1, above)
    while not enough(high):
        low, high = high, 2 * high
        if high > _HIGHEST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(high, above + 1)
