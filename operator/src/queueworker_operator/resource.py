"""From a document, as the API server or a file holds it, to a Resource, or to what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec, QueueWorkerStatus
from queueworker_operator.cluster.port import Key, Resource

LONGEST_NAME = 52
"""Leaves room for what Deployment and ReplicaSet append to the name of a pod."""


def resource_of(document: Mapping[str, Any]) -> Resource:
    """Return the QueueWorker; where its spec cannot be carried out, `spec` is None and `spec_error` says why."""
    metadata = document["metadata"]
    spec, errors = read_spec(document)
    return Resource(
        key=Key(metadata.get("namespace") or "default", metadata["name"]),
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        annotations=dict(metadata.get("annotations") or {}),
        spec=None if errors else spec,
        spec_error="; ".join(errors) or None,
        status=_read_status(document.get("status")),
        deleting="deletionTimestamp" in metadata,
    )


def read_spec(document: Mapping[str, Any]) -> tuple[QueueWorkerSpec | None, list[str]]:
    """Return the spec and everything that is wrong with it, one line each, the field first."""
    try:
        spec = QueueWorkerSpec.model_validate(document.get("spec") or {})
    except ValidationError as error:
        # pydantic's own text repeats the input.
        details = error.errors(include_input=False, include_url=False)
        return None, [f"{_path(('spec', *detail['loc']))}: {detail['msg']}" for detail in details]
    return spec, list(_contradictions(document["metadata"]["name"], spec))


def unknown_fields(document: Mapping[str, Any], spec: QueueWorkerSpec) -> list[str]:
    """Return the fields of `spec` in the document that a QueueWorker does not have."""
    known = spec.model_dump(by_alias=True, exclude_unset=True)
    return [f"{_path(path)}: there is no such field" for path in _surplus(document["spec"], known, ("spec",))]


def _read_status(status: object) -> QueueWorkerStatus | None:
    try:
        return QueueWorkerStatus.model_validate(status) if status else None
    except ValidationError:
        # It can be rebuilt but for its memory, and a status that another version wrote must not stop the scaling.
        return None


def _contradictions(name: str, spec: QueueWorkerSpec) -> Iterator[str]:
    """Say again what the CRD's rules say: an older CRD, and a file, have no such rules."""
    if len(name) > LONGEST_NAME:
        yield f"metadata.name: {len(name)} characters, at most {LONGEST_NAME} are possible"
    if (spec.replicas is None) == (spec.autoscaling is None):
        yield "spec: set exactly one of replicas and autoscaling"
    scaling = spec.autoscaling
    if scaling is not None and scaling.min_replicas > scaling.max_replicas:
        yield f"spec.autoscaling: minReplicas {scaling.min_replicas} is above maxReplicas {scaling.max_replicas}"
    for queue, times in Counter(queue.name for queue in spec.queues).items():
        if times > 1:
            yield f"spec.queues: {queue} stands there {times} times"
    yield from _contradictions_of_redis(spec)
    for variable in spec.worker.env or ():
        if variable.name.startswith("QUEUEWORKER_"):
            yield f"spec.worker.env: {variable.name} is the operator's own, choose another name"


def _contradictions_of_redis(spec: QueueWorkerSpec) -> Iterator[str]:
    redis = spec.redis
    if sum(part is not None for part in (redis.host, redis.sentinel, redis.cluster)) != 1:
        yield "spec.redis: set exactly one of host, sentinel and cluster"
    if redis.cluster is not None and not ("{" in spec.prefix and "}" in spec.prefix.partition("{")[2][1:]):
        yield f"spec.prefix: a Redis Cluster needs a hash tag, write {{{spec.prefix}}}"
    if redis.cluster is not None and redis.db:
        yield "spec.redis.db: a Redis Cluster has database 0 only, leave db out"


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
