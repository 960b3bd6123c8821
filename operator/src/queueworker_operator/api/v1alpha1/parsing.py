"""From the raw `spec` of a stored object to the model, for objects that an older CRD let through.

The API server has checked what it can; the rules without which nothing can be decided are checked here again.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from queueworker_operator.api.errors import InvalidSpecError
from queueworker_operator.api.v1alpha1.name import MAX_LENGTH
from queueworker_operator.api.v1alpha1.spec import QueueWorkerSpec


def parse_spec(raw: Mapping[str, Any], *, name: str | None = None) -> QueueWorkerSpec:
    """Return the model of a raw `spec`; `name` is the object's metadata.name, checked where it is given.

    Raises InvalidSpecError with one line that names the first field at fault. No value of the spec is repeated in it.
    """
    if name is not None and len(name) > MAX_LENGTH:
        raise InvalidSpecError(f"metadata.name: has {len(name)} characters, at most {MAX_LENGTH} are allowed")
    try:
        spec = QueueWorkerSpec.model_validate(raw)
    except ValidationError as error:
        raise InvalidSpecError(_line(error, raw)) from None
    for fault in _faults(spec):
        raise InvalidSpecError(fault)
    return spec


def _faults(spec: QueueWorkerSpec) -> Iterator[str]:
    if spec.replicas is not None and spec.autoscaling is not None:
        yield "spec: replicas and autoscaling exclude each other; remove one of them"
    if spec.replicas is None and spec.autoscaling is None:
        yield "spec: one of replicas and autoscaling is needed"
    if spec.autoscaling and spec.autoscaling.min_replicas > spec.autoscaling.max_replicas:
        limits = f"minReplicas ({spec.autoscaling.min_replicas}) exceeds maxReplicas ({spec.autoscaling.max_replicas})"
        yield f"spec.autoscaling.minReplicas: {limits}; lower the one or raise the other"
    redis = spec.redis
    named = [key for key in ("host", "sentinel", "cluster") if getattr(redis, key) is not None]
    if len(named) != 1:
        yield f"spec.redis: exactly one of host, sentinel and cluster is needed, not {' and '.join(named) or 'none'}"
    names = [queue.name for queue in spec.queues]
    for position, queue in enumerate(names):
        if ":" in queue:
            yield f"spec.queues[{position}].name: a queue name holds no ':'"
        if queue in names[:position]:
            yield f"spec.queues[{position}].name: this queue is listed twice"


def _line(error: ValidationError, raw: Mapping[str, Any]) -> str:
    errors = error.errors(include_input=False, include_context=False, include_url=False)
    rest = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{_path(errors[0], raw)}: {errors[0]['msg']}{rest}"


def _path(error: ErrorDetails, raw: Mapping[str, Any]) -> str:
    """Return the place as Kubernetes writes it, without the names that pydantic gives to the members of a union."""
    path = "spec"
    here: Any = raw
    for part in error["loc"]:
        known = part in here if isinstance(here, Mapping) else isinstance(here, list) and isinstance(part, int)
        if not known and error["type"] != "missing":
            break
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
        here = here[part] if known else {}
    return path
