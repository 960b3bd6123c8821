"""What annotations on the QueueWorker override: for incidents, and where GitOps holds the spec."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from queueworker_operator.api.v1alpha1 import MOST_REPLICAS, QueueWorkerSpec

PAUSED_ANNOTATION = "queueworker.dev/paused"
PINNED_ANNOTATION = "queueworker.dev/pinned-replicas"
PINNED_UNTIL_ANNOTATION = "queueworker.dev/pinned-until"

_NOT_PAUSED = frozenset({"false", "f", "0"})
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_NUMBER = re.compile(r"\d{1,5}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the annotations say."""

    paused: bool = False
    pinned_replicas: int | None = None
    """The number for as long as the pin holds, whatever the queues and the limits say."""
    pinned_until: float | None = None
    """Unix seconds when the pin ends; None: when it is taken away."""
    problem: str | None = None
    """What cannot be read of them, and how to write it; it changes nothing."""

    def pin(self, now: float) -> int | None:
        """Return the pinned number, None where no pin holds at this moment."""
        return self.pinned_replicas if self.pinned_until is None or now < self.pinned_until else None


def overrides_of(annotations: Mapping[str, str]) -> Overrides:
    """Return what the annotations say; a value that cannot be read is a problem and pins nothing."""
    paused = is_paused(annotations)
    pin, until = annotations.get(PINNED_ANNOTATION), annotations.get(PINNED_UNTIL_ANNOTATION)
    if pin is None:
        lonely = f"annotation {PINNED_UNTIL_ANNOTATION} does nothing without {PINNED_ANNOTATION}: set that too"
        return Overrides(paused=paused, problem=None if until is None else lonely)
    replicas = _replicas(pin)
    if replicas is None:
        wrong = f"annotation {PINNED_ANNOTATION} is no number of replicas from 0 to {MOST_REPLICAS}: set such a one"
        return Overrides(paused=paused, problem=wrong)
    at = None if until is None else _moment(until)
    if until is not None and at is None:
        wrong = f"annotation {PINNED_UNTIL_ANNOTATION} is no time such as 2026-01-02T15:04:05Z: set such a one"
        return Overrides(paused=paused, problem=wrong)
    return Overrides(paused=paused, pinned_replicas=replicas, pinned_until=at)


def is_paused(annotations: Mapping[str, str]) -> bool:
    """Whether the annotation pauses the QueueWorker: with any value but a plain no, for who sets it wants a halt."""
    value = annotations.get(PAUSED_ANNOTATION)
    return value is not None and value.strip().lower() not in _NOT_PAUSED


def pause_source(spec: QueueWorkerSpec, *, by_annotation: bool) -> str | None:
    """Return by what the user paused it, the annotation first; None where nobody did."""
    if by_annotation:
        return f"the annotation {PAUSED_ANNOTATION}"
    return "spec.autoscaling.paused" if spec.autoscaling is not None and spec.autoscaling.paused else None


def _replicas(text: str) -> int | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text) or int(text) > MOST_REPLICAS:
        return None
    return int(text)


def _moment(text: str) -> float | None:
    text = text.strip()
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None
