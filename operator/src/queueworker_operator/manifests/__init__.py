"""From a spec to the Deployment that carries it out: pure."""

from queueworker_operator.manifests.connection import OperatorConnection, operator_connection
from queueworker_operator.manifests.deployment import RENDERER_REVISION, Owner, deployment, with_replicas
from queueworker_operator.manifests.errors import ManifestError
from queueworker_operator.manifests.fingerprint import fingerprint
from queueworker_operator.manifests.secrets import SecretValues, operator_secrets, worker_secrets

__all__ = [
    "RENDERER_REVISION",
    "ManifestError",
    "OperatorConnection",
    "Owner",
    "SecretValues",
    "deployment",
    "fingerprint",
    "operator_connection",
    "operator_secrets",
    "with_replicas",
    "worker_secrets",
]
