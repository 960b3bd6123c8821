"""What `why` has to say of one QueueWorker, from its object and its pods (pure)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from queueworker_operator.api.reasons import ConditionReason, ConditionType
from queueworker_operator.cli.freshness import NOT_YET
from queueworker_operator.cli.rows import Row, row_of
from queueworker_operator.cluster.resource import resource_of
from queueworker_operator.scaling import explain
from queueworker_operator.scaling.overrides import (
    PAUSED_ANNOTATION,
    PINNED_ANNOTATION,
    PINNED_UNTIL_ANNOTATION,
    is_paused,
)

if TYPE_CHECKING:
    from queueworker_operator.api.v1alpha1 import Autoscaling, Change, QueueWorkerSpec, QueueWorkerStatus, Scaling
    from queueworker_operator.cluster.port import JsonObject

STALE = "nothing, until an operator looks at it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pods:
    """How many there are."""

    ready: int
    starting: int
    """Neither ready nor on their way out."""
    draining: int
    """Ending: they finish their jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that is said; a field that is None or empty is left out of the text."""

    row: Row
    message: str
    lines: tuple[explain.Line, ...] = ()
    upcoming: explain.Upcoming | None = None
    would_change: str | None = None
    history: tuple[Change, ...] = ()
    pods: Pods | None = None
    commands: tuple[tuple[str, str], ...] = ()
    """What one may want to do now, and how."""
    now: datetime

    def as_json(self) -> dict[str, Any]:
        """Return it as the command prints it."""
        return {
            "name": self.row.name,
            "namespace": self.row.namespace,
            "reason": self.row.reason,
            "message": self.message,
            "desired": self.row.desired,
            "replicas": self.row.replicas,
            "ready_replicas": self.row.ready_replicas,
            "observed_at": _time(self.now),
            "lines": [_line(line) for line in self.lines],
            "next": {"at": _time(self.upcoming.at), "text": self.upcoming.text} if self.upcoming else None,
            "would_change": self.would_change,
            "wrong": list(self.row.problems),
            "history": [change.model_dump(mode="json", by_alias=True) for change in self.history],
            "pods": _pods_json(self.pods),
            "commands": dict(self.commands),
        }


def explanation_of(document: JsonObject, pods: Sequence[JsonObject] | None, *, now: datetime) -> Explanation:
    """Return what there is to say at this moment; `pods` is None where they could not be listed."""
    row, resource = row_of(document, now=now), resource_of(document)
    scaling = resource.status.scaling if resource.status is not None else None
    counted = None if pods is None else _counted(pods)
    if scaling is None:
        return Explanation(row=row, message=NOT_YET, pods=counted, now=now)
    spec = resource.spec
    halt = STALE if row.stale is not None else _halt(spec, resource.status)
    return Explanation(
        row=row,
        message=scaling.message,
        lines=explain.waterfall(scaling, spec) if spec is not None else (),
        upcoming=_upcoming(scaling, spec, now) if halt is None else None,
        would_change=_would_change(scaling, spec) if halt is None else halt,
        history=tuple(scaling.history or ()),
        pods=counted,
        commands=tuple(_commands(row, spec, resource.annotations)),
        now=now,
    )


def _halt(spec: QueueWorkerSpec | None, status: QueueWorkerStatus | None) -> str | None:
    """Say that nothing is written where what should be scaled is not there, or is somebody else's."""
    conditions = (status.conditions if status is not None else None) or ()
    stalled = next((one for one in conditions if one.type is ConditionType.STALLED and one.status == "True"), None)
    if stalled is None or spec is None:
        return None
    foreign = stalled.reason == ConditionReason.NAME_CONFLICT
    return "nothing is written until it is Ready" if foreign or spec.target_ref is not None else None


def _upcoming(scaling: Scaling, spec: QueueWorkerSpec | None, now: datetime) -> explain.Upcoming | None:
    found = explain.next_change(scaling, spec) if spec is not None else None
    # What was to come may have come since the status was written.
    return found if found is not None and found.at > now else None


def _would_change(scaling: Scaling, spec: QueueWorkerSpec | None) -> str | None:
    return explain.would_change(scaling, spec) if spec is not None else None


def _commands(row: Row, spec: QueueWorkerSpec | None, annotations: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    target = f"qw {shlex.quote(row.name)} -n {shlex.quote(row.namespace)}"
    # The end of a pin without the pin would be trouble of its own.
    pins = [name for name in (PINNED_ANNOTATION, PINNED_UNTIL_ANNOTATION) if name in annotations]
    annotate = f"kubectl annotate {target} --overwrite"
    if spec is None:
        # What is wrong with it must go first: until then the API server may refuse every other change too.
        yield "edit", f"kubectl edit {target}"
    elif spec.autoscaling is None:
        yield "scale", f"kubectl scale {target} --replicas={row.desired or 0}"
    else:
        yield from _writing(target, spec.autoscaling, paused=is_paused(annotations))
        yield "pin", f"{annotate} {PINNED_ANNOTATION}={row.desired or 0}"
    if pins:
        yield "unpin", f"{annotate} {' '.join(f'{name}-' for name in pins)}"
    if spec is not None and spec.autoscaling is not None:
        yield "simulate", f"kubectl get {target} -o yaml > qw.yaml && queueworker simulate -f qw.yaml --pattern burst"


def _writing(target: str, autoscaling: Autoscaling, *, paused: bool) -> Iterator[tuple[str, str]]:
    """Say how to have the number written, or not; an annotation and the spec may both stand against it."""
    annotate = f"kubectl annotate {target} --overwrite {PAUSED_ANNOTATION}"
    if paused:
        yield "resume", f"{annotate}-"
    if autoscaling.paused:
        yield "resume in the spec" if paused else "resume", _cleared(target, "paused")
    if not paused and not autoscaling.paused:
        yield "pause", f"{annotate}=true"
    if autoscaling.dry_run:
        yield "end the dry run", _cleared(target, "dryRun")


def _cleared(target: str, field: str) -> str:
    patch = json.dumps({"spec": {"autoscaling": {field: False}}}, separators=(",", ":"))
    return f"kubectl patch {target} --type=merge -p '{patch}'"


def _counted(pods: Sequence[JsonObject]) -> Pods:
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    staying = [pod for pod in running if "deletionTimestamp" not in pod["metadata"]]
    ready = sum(map(_is_ready, staying))
    return Pods(ready=ready, starting=len(staying) - ready, draining=len(running) - len(staying))


def _is_ready(pod: JsonObject) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _line(line: explain.Line) -> dict[str, Any]:
    return {
        "label": str(line.label),
        "queue": line.queue,
        "before": line.before,
        "after": line.after,
        "detail": line.detail,
    }


def _pods_json(pods: Pods | None) -> dict[str, int] | None:
    return None if pods is None else {"ready": pods.ready, "starting": pods.starting, "draining": pods.draining}


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
