"""The fingerprint that decides whether a template is rendered and applied again."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.manifests.secrets import SecretValues, connection_digest

_TEMPLATE_FIELDS: Final[Any] = {
    "queues": {"__all__": {"name", "concurrency", "limiter"}},
    "prefix": True,
    "redis": True,
    "worker": True,
}
"""What of the spec has a part in the template. A field joins them when it does."""


def spec_fingerprint(spec: QueueWorkerSpec, secrets: Mapping[str, SecretValues]) -> str:
    """Return a digest of what the user asks for as far as the template goes, and of the connection Secrets.

    It speaks of the user's words alone: fields that stand at their default do not count, nor does the code that
    renders them. An operator of another version therefore finds the same fingerprint and leaves the workers alone.
    Raises ManifestError where a Secret or a key of one is missing.
    """
    asked = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        include=_TEMPLATE_FIELDS,
        exclude={"redis": {"operator_auth"}},
    )
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode())
    digest.update((connection_digest(spec.redis, secrets) or "").encode())
    return digest.hexdigest()
