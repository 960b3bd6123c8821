"""Read one Secret, where its owner lets the operator."""

import base64
import binascii

from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.kubernetes.requests import Requests, path_of
from queueworker_operator.cluster.port import ClusterError, Secret
from queueworker_operator.manifests.names import CREDENTIALS_LABEL


async def read_secret(requests: Requests, namespace: str, name: str) -> Secret:
    """Return a Secret that bears the label of Redis credentials; raises ClusterError.

    Without the label anybody who may create a QueueWorker, but not read Secrets, could have the operator send any
    Secret of the namespace to a Redis of his own.
    """
    path = path_of("api", "v1", "namespaces", namespace, "secrets", name)
    try:
        found = await requests.get(path, attempt=f"read the Secret {namespace}/{name}")
    except NotFoundError:
        message = f"there is no Secret {namespace}/{name}: create it, with the label {CREDENTIALS_LABEL}=true"
        raise ClusterError(message, reason=ConditionReason.SECRET_NOT_FOUND) from None
    if (found["metadata"].get("labels") or {}).get(CREDENTIALS_LABEL) != "true":
        message = (
            f"the Secret {namespace}/{name} is not for the operator to read; to allow it: "
            f"kubectl label secret -n {namespace} {name} {CREDENTIALS_LABEL}=true"
        )
        raise ClusterError(message, reason=ConditionReason.SECRET_NOT_ALLOWED)
    data = {key: _decoded(value, where=f"{namespace}/{name}") for key, value in (found.get("data") or {}).items()}
    return Secret(name=name, uid=found["metadata"]["uid"], data=data)


def _decoded(value: str, *, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        message = f"the Secret {where} came in a form that is not base64"
        raise ClusterError(message, reason=ConditionReason.SECRET_NOT_FOUND) from None
