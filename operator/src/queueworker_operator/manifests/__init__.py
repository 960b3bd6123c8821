"""From a spec to the Deployment that carries it out: pure."""

from queueworker_operator.manifests.connection import OperatorConnection, operator_connection
from queueworker_operator.manifests.deployment import RENDERER_REVISION, Owner, render_deployment, with_replicas
from queueworker_operator.manifests.errors import ManifestError
from queueworker_operator.manifests.fingerprint import spec_fingerprint
from queueworker_operator.manifests.secrets import SecretValues, operator_secrets, worker_secrets

__all__ = [
    "RENDERER_REVISION",
    "ManifestError",
    "OperatorConnection",
    "Owner",
    "SecretValues",
    "operator_connection",
    "operator_secrets",
    "render_deployment",
    "spec_fingerprint",
    "with_replicas",
    "worker_secrets",
]
