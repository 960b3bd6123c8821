"""The decision in one sentence with all its numbers. Times are UTC."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from queueworker_operator.api.reasons import ScalingReason
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec
from queueworker_operator.scaling.decision import Limit
from queueworker_operator.scaling.observation import HORIZON_SECONDS
from queueworker_operator.scaling.queues import QueueState, QueueView
from queueworker_operator.scaling.verdict import Verdict
from queueworker_operator.scaling.votes import BACKLOG, MINIMUM, ORPHANS, Ballot, winner

MAX_LENGTH = 1024
_NAMED = 3
_DAY = 86_400
_LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


def sentence(
    verdict: Verdict, spec: QueueWorkerSpec | None, reason: ScalingReason, now: float, *, paused_by: str | None
) -> str:
    """Return why the number is what it is, `6 of 1-20 replicas: ...`, at most 1024 characters."""
    autoscaling = spec.autoscaling if spec is not None else None
    if reason is ScalingReason.SPEC_INVALID or verdict.problem is not None or autoscaling is None:
        why = verdict.problem.rstrip(".") if verdict.problem is not None else "fixed by spec.replicas"
        clauses = [f"kept, {why}" if verdict.problem is not None else why]
        of = ""
    else:
        clauses = list(_clauses(verdict, autoscaling, now))
        of = f" of {_span(autoscaling)}"
    number = verdict.number
    if paused_by is not None:
        wish = f"otherwise {verdict.number}" if verdict.number != verdict.current else "otherwise the same"
        clauses = [f"paused by {paused_by}, {wish}", *clauses]
        number = verdict.current
    plural = number != 1 if autoscaling is None else autoscaling.max_replicas != 1
    return clip(f"{number}{of} replica{'s' if plural else ''}: {'; '.join(clauses)}.")


def without_head(message: str) -> str:
    """Return the sentence without the number that it begins with, for a text that has said it already."""
    return message.partition(": ")[2] or message


def clip(text: str) -> str:
    """Shorten a message to what the API allows."""
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def clock(at: float) -> str:
    """Return a time of day, hh:mm:ss in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def count(number: int, noun: str) -> str:
    """Return `1 job`, `2 jobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def queues_are(names: Sequence[str], *, one: str, many: str) -> str:
    """Return `queue a is ...` or `queues a, b are ...`."""
    return f"queue{'' if len(names) == 1 else 's'} {listed(names)} {one if len(names) == 1 else many}"


def _span(autoscaling: Autoscaling) -> str:
    low, high = autoscaling.min_replicas, autoscaling.max_replicas
    return f"{low}-{high}" if low != high else f"{high}"


def _clauses(verdict: Verdict, autoscaling: Autoscaling, now: float) -> Iterator[str]:
    yield from _demand(verdict, now)
    yield from _notes(verdict.queues)
    if verdict.winner is not None and verdict.winner.vote.rule == MINIMUM and autoscaling.min_replicas > 0:
        yield f"minReplicas is {autoscaling.min_replicas}"
    for limit in verdict.limits:
        yield _limit(limit, verdict, autoscaling)


def _demand(verdict: Verdict, now: float) -> Iterator[str]:
    asking = [ballot for ballot in verdict.ballots if ballot.vote.rule in (BACKLOG, ORPHANS)]
    if not asking:
        return
    best = winner(asking)
    queue = next(queue for queue in verdict.queues if queue.name == best.vote.queue)
    where = f"queue {queue.name}: " if len(verdict.queues) > 1 else ""
    if best.vote.rule == ORPHANS:
        yield f"{where}{count(queue.active, 'active job')} and no worker to see whether {_they(queue.active)} stalled"
    elif best.vote.replicas > 0:
        yield where + _backlog(queue, best)
    else:
        yield _nothing_ready(sum(queue.active for queue in verdict.queues))
        due = [q.snapshot.next_delayed_ms for q in verdict.queues if q.snapshot and q.next_due(now) is not None]
        if due:
            yield f"next delayed job due {_when(min(at for at in due if at is not None) / 1000, now)}"


def _they(number: int) -> str:
    return "it is" if number == 1 else "they are"


def _nothing_ready(active: int) -> str:
    if active == 0:
        return "no job is ready and none is active"
    return f"no job is ready, {active} {'is' if active == 1 else 'are'} active"


def _when(at: float, now: float) -> str:
    """The moment itself, in the clock of Redis: counted from now it would tremble, and each tremor cost a write."""
    if at - now < _DAY:
        return f"at {clock(at)}"
    return datetime.fromtimestamp(min(at, _LAST_DAY), UTC).strftime("on %Y-%m-%d")


def _backlog(queue: QueueView, ballot: Ballot) -> str:
    snapshot = queue.snapshot
    assert snapshot is not None  # noqa: S101 - only a queue that was read votes on its backlog
    parts = {"waiting": snapshot.waiting, "prioritized": snapshot.prioritized, "due": snapshot.delayed_due}
    detail = ", ".join(f"{name} {number}" for name, number in parts.items() if number)
    text = f"backlog {queue.backlog} ({detail}) at {queue.per_replica} per replica needs {ballot.vote.replicas}"
    if ballot.cap is None:
        return text
    soon = f", {queue.due_soon} due within {HORIZON_SECONDS:.0f} s" if queue.due_soon else ""
    slots = count(queue.concurrency, "slot")
    return f"{text}, but with {queue.active} active{soon} only {ballot.cap.after} of {slots} each would find a job"


def _notes(queues: Sequence[QueueView]) -> Iterator[str]:
    unknown = [queue for queue in queues if queue.state is QueueState.UNKNOWN]
    if unknown:
        names = [queue.name for queue in unknown]
        why = unknown[0].reason.rstrip(".") or "not read yet"
        yield f"{queues_are(names, one='cannot be read', many='cannot be read')} ({why})"
    missing = [queue for queue in queues if queue.state is QueueState.MISSING]
    if missing:
        until = missing[0].held_until
        hold = f", the number stays until {clock(until)}" if until is not None else ""
        yield queues_are([q.name for q in missing], one="was there and is gone", many="were there and are gone") + hold
    paused = [queue for queue in queues if queue.state is QueueState.PAUSED]
    if paused:
        ready = sum(queue.withheld for queue in paused)
        kept = f" with {count(ready, 'job')} ready" if ready else ""
        yield queues_are([queue.name for queue in paused], one="is paused", many="are paused") + kept
    unused = [queue.name for queue in queues if queue.state is QueueState.UNUSED]
    if unused:
        yield queues_are(unused, one="was never used", many="were never used")


def _limit(limit: Limit, verdict: Verdict, autoscaling: Autoscaling) -> str:
    until = clock(limit.until) if limit.until is not None else ""
    match limit.by:
        case ScalingReason.STABILIZING_SCALE_DOWN:
            window = autoscaling.behavior.scale_down.stabilization_window_seconds
            return f"scale-down held until {until} (peak {verdict.peak} in {window} s)"
        case ScalingReason.COOLING_DOWN:
            since = verdict.history.idle_since
            return f"zero at {until} (idle since {clock(since) if since is not None else 'now'})"
        case ScalingReason.CONFIRMING_SCALE_DOWN:
            return f"a second reading must confirm the scale-down to {limit.before}"
        case ScalingReason.HOLDING_METRICS_UNKNOWN:
            return "the number stays"
        case ScalingReason.BUSY_FLOOR:
            active = sum(queue.active for queue in verdict.queues)
            return (
                f"{count(active, 'active job')} keep{'s' if active == 1 else ''} {count(limit.after, 'replica')} busy"
            )
        case _:
            return f"maxReplicas is {limit.after} ({limit.before} asked for)"
