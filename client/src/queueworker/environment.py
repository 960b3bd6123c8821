"""The environment variables of a worker, apart from the connection (that of `queueworker.settings`).

They are the contract between operator and worker, and are written only here.
"""

from typing import Final

QUEUES: Final = "QUEUEWORKER_QUEUES"
"""JSON list of the queues to serve: `[{"name": "killmail", "concurrency": 10}]`."""
PREFIX: Final = "QUEUEWORKER_PREFIX"
"""Prefix of the queues' keys."""
DRAIN_TIMEOUT_SECONDS: Final = "QUEUEWORKER_DRAIN_TIMEOUT_SECONDS"
"""How long running jobs may go on after SIGTERM, in whole seconds."""
NAME: Final = "QUEUEWORKER_NAME"
"""Name of the worker: its lock tokens begin with it. On Kubernetes the pod's name."""
HEALTH_HOST: Final = "QUEUEWORKER_HEALTH_HOST"
"""Address to serve /healthz and /readyz on. On Kubernetes the pod's IP."""
HEALTH_PORT: Final = "QUEUEWORKER_HEALTH_PORT"
"""Port to serve /healthz and /readyz on; nothing is served where it is not set."""

NAMES: Final = frozenset({QUEUES, PREFIX, DRAIN_TIMEOUT_SECONDS, NAME, HEALTH_HOST, HEALTH_PORT})
