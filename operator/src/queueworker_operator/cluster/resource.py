"""From a document, as the API server or a file holds it, to a Resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from queueworker_operator.api.errors import InvalidSpecError
from queueworker_operator.api.v1alpha1 import QueueWorkerSpec, QueueWorkerStatus, parse_spec
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.scaling.schedules import faults

DEFAULT_NAMESPACE = "default"


def resource_of(document: Mapping[str, Any]) -> Resource:
    """Return the QueueWorker; where its spec cannot be carried out, `spec` is None and `spec_error` says why."""
    metadata = document["metadata"]
    spec: QueueWorkerSpec | None = None
    error: str | None = None
    try:
        spec = _read_spec(document.get("spec") or {}, name=metadata["name"])
    except InvalidSpecError as invalid:
        error = str(invalid)
    return Resource(
        key=Key(metadata.get("namespace") or DEFAULT_NAMESPACE, metadata["name"]),
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        annotations=dict(metadata.get("annotations") or {}),
        spec=spec,
        spec_error=error,
        status=_status(document.get("status")),
        deleting="deletionTimestamp" in metadata,
        created_at=_seconds(metadata.get("creationTimestamp")),
    )


def unknown_fields(document: Mapping[str, Any], spec: QueueWorkerSpec) -> list[str]:
    """Return a line for each field of `spec` in the document that a QueueWorker does not have."""
    known = spec.model_dump(by_alias=True, exclude_unset=True)
    return [f"{_path(path)}: there is no such field" for path in _surplus(document["spec"], known, ("spec",))]


def _read_spec(given: Mapping[str, Any], *, name: str) -> QueueWorkerSpec:
    """Raise InvalidSpecError also for what only the calendar can tell: times that never come, unknown time zones."""
    spec = parse_spec(given, name=name)
    wrong = list(faults(spec.autoscaling)) if spec.autoscaling is not None else []
    if wrong:
        raise InvalidSpecError("; ".join(wrong))
    return spec


def _seconds(time: str | None) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _status(status: object) -> QueueWorkerStatus | None:
    try:
        return QueueWorkerStatus.model_validate(status) if status else None
    except ValidationError:
        # It can be rebuilt but for its memory, and a status that another version wrote must not stop the scaling.
        return None


def _surplus(given: object, known: object, path: tuple[int | str, ...]) -> Iterator[tuple[int | str, ...]]:
    if isinstance(given, Mapping) and isinstance(known, Mapping):
        for name, value in given.items():
            if name not in known:
                yield (*path, name)
            else:
                yield from _surplus(value, known[name], (*path, name))
    elif isinstance(given, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(given, known, strict=False)):
            yield from _surplus(value, other, (*path, index))


def _path(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
