"""One QueueWorker on one line, from the object as the API server holds it (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from queueworker.cli.output import duration
from queueworker_operator.cli.freshness import staleness, time_of

if TYPE_CHECKING:
    from queueworker_operator.cluster.port import JsonObject

COLUMNS = ("NAME", "QUEUE", "REPLICAS", "READY", "BACKLOG", "AGE-OLDEST", "REASON", "READY?", "AGE")
WIDE = ("MIN", "MAX", "ACTIVE", "DELAYED", "PAUSED", "LASTSCALE")
# Conditions that are wrong when they are False; the others tell, and do not judge.
_JUDGED = ("Ready", "QueueReachable", "WorkersAvailable", "WorkersConsuming")
_WRONG = (
    # Another autoscaler writes the number, or may do so and nobody can see it.
    ("ScalingActive", "False", "ConflictingAutoscaler"),
    ("ScalingActive", "Unknown", "ClusterDenied"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a table says of one QueueWorker; None is unknown."""

    namespace: str
    name: str
    queues: tuple[str, ...]
    replicas: int | None
    ready_replicas: int | None
    desired: int | None
    minimum: int | None
    maximum: int | None
    backlog: int | None
    active: int | None
    delayed: int | None
    oldest_age_seconds: float | None
    reason: str | None
    message: str | None
    ready: str | None
    paused: str | None
    created: datetime | None
    last_scale: datetime | None
    stale: str | None
    """Why the status is not of the present; None where it is."""
    problems: tuple[str, ...]
    """What is wrong: that the status is stale, an annotation that cannot be read, and messages of conditions."""


def row_of(document: JsonObject, *, now: datetime) -> Row:
    """Return the line of a QueueWorker, whatever of its status is there."""
    metadata, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    scaling = status.get("scaling") or {}
    inputs, autoscaling = scaling.get("inputs") or {}, spec.get("autoscaling") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or []}
    stale = staleness(document, now=now)
    return Row(
        namespace=metadata["namespace"],
        name=metadata["name"],
        queues=tuple(queue.get("name", "?") for queue in spec.get("queues") or []),
        replicas=status.get("replicas"),
        ready_replicas=status.get("readyReplicas"),
        desired=scaling.get("desired"),
        minimum=autoscaling.get("minReplicas", spec.get("replicas")),
        maximum=autoscaling.get("maxReplicas", spec.get("replicas")),
        backlog=inputs.get("backlog"),
        active=inputs.get("active"),
        delayed=inputs.get("delayed"),
        oldest_age_seconds=inputs.get("oldestAgeSeconds"),
        reason=scaling.get("reason"),
        message=scaling.get("message"),
        ready=(conditions.get("Ready") or {}).get("status"),
        paused=(conditions.get("Paused") or {}).get("status"),
        created=time_of(metadata.get("creationTimestamp")),
        last_scale=time_of(scaling.get("lastScaleTime")),
        stale=stale,
        problems=tuple(_problems(stale, metadata.get("annotations") or {}, conditions)),
    )


def cells(row: Row, *, now: datetime, wide: bool = False) -> tuple[object, ...]:
    """Return the texts of a line; None prints as a dash."""
    narrow = (
        row.name,
        queues_text(row.queues),
        row.replicas,
        row.ready_replicas,
        row.backlog,
        duration(row.oldest_age_seconds),
        row.reason,
        row.ready,
        since(row.created, now),
    )
    if not wide:
        return narrow
    return (
        *narrow,
        row.minimum,
        row.maximum,
        row.active,
        row.delayed,
        row.paused,
        since(row.last_scale, now),
    )


def queues_text(queues: tuple[str, ...]) -> str:
    """Return the first queue, and how many more there are."""
    more = f"+{len(queues) - 1}" if len(queues) > 1 else ""
    return (queues[0] if queues else "-") + more


def none_in(namespace: str | None) -> str:
    """Say that there are none in a namespace; None for all of them."""
    return f"there are no QueueWorkers in {f'namespace {namespace}' if namespace is not None else 'any namespace'}"


def since(time: datetime | None, now: datetime) -> str | None:
    """Return how long ago a time was, as people read it."""
    return None if time is None else duration(max(0.0, (now - time).total_seconds() // 1))


def _problems(stale: str | None, annotations: Mapping[str, str], conditions: Mapping[Any, JsonObject]) -> Iterator[str]:
    from queueworker_operator.scaling.overrides import overrides_of

    if stale is not None:
        yield stale
    # Read here: of the conditions that could tell of it, another reason may take the place.
    if (unreadable := overrides_of(annotations).problem) is not None:
        yield unreadable
    said: set[str] = set()
    for kind, condition in conditions.items():
        if _is_wrong(kind, condition) and (news := _unsaid(condition, said)):
            yield f"{kind}: {news}"


def _is_wrong(kind: str, condition: JsonObject) -> bool:
    if kind in _JUDGED:
        return condition.get("status") == "False"
    return (kind, condition.get("status"), condition.get("reason")) in _WRONG


def _unsaid(condition: JsonObject, said: set[str]) -> str:
    """Return what a condition says that none before it said: the first pod's own words belong to several of them."""
    clauses = [one for one in str(condition.get("message") or condition.get("reason")).split("; ") if one not in said]
    said.update(clauses)
    return "; ".join(clauses)
