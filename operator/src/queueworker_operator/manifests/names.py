"""Labels, annotations and names that the operator writes on workers. They are part of the API."""

from typing import Final

SELECTOR_LABEL: Final = "queueworker.dev/queueworker"
"""On the Deployment and its pods: name of the QueueWorker. The whole selector."""
CREDENTIALS_LABEL: Final = "queueworker.dev/redis-credentials"
"""On a Secret: "true" lets the operator read it."""
FINGERPRINT_ANNOTATION: Final = "queueworker.dev/fingerprint"
"""On the Deployment: of the spec and the Secrets that the template was rendered from."""
RENDERER_ANNOTATION: Final = "queueworker.dev/renderer-revision"
"""On the Deployment: revision of the code that rendered the template."""
QUEUES_ANNOTATION: Final = "queueworker.dev/queues"
"""On the Deployment and its pods: names of the queues, separated by spaces (no name has one)."""
SECRETS_ANNOTATION: Final = "queueworker.dev/connection-secrets"
"""On the pods: HMAC of the connection Secrets; a change replaces the pods."""

CONTAINER: Final = "worker"
"""Name of the container that processes the jobs."""
TLS_VOLUME: Final = "queueworker-tls"
"""Volume with the authority and the client certificate of Redis."""
TEMPORARY_VOLUME: Final = "tmp"
"""Volume for temporary files: the root file system is read-only."""
MANAGED_BY: Final = "queueworker-operator"
CA_FILE: Final = "ca.crt"
CERTIFICATE_FILE: Final = "tls.crt"
KEY_FILE: Final = "tls.key"
"""Names of the TLS files in their directory; the last two are also keys of a Secret of type kubernetes.io/tls."""

DRAIN_MARGIN_SECONDS: Final = 15
"""The pod's grace period is the drain time and this: time to give jobs back and to end."""


def labels(name: str) -> dict[str, str]:
    """Return the labels of a QueueWorker's Deployment and pods."""
    return {
        "app.kubernetes.io/name": "queueworker",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": "worker",
        "app.kubernetes.io/part-of": "queueworker",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        SELECTOR_LABEL: name,
    }


def selector(name: str) -> str:
    """Return the label selector of a QueueWorker's pods, as a string."""
    return f"{SELECTOR_LABEL}={name}"
