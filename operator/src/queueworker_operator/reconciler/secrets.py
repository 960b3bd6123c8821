"""When the Secrets of a connection are read: first, before a template, after a refused login, now and then."""

from __future__ import annotations

from queueworker_operator.api.v1alpha1 import Redis
from queueworker_operator.cluster.port import Cluster, ClusterError, ClusterUnavailableError, Resource, Secret
from queueworker_operator.manifests import operator_secrets, worker_secrets
from queueworker_operator.reconciler.memory import Memory
from queueworker_operator.scaling.observation import Problem

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0


def secret_names(redis: Redis) -> list[str]:
    """Return the names of all Secrets that operator and workers connect with."""
    return sorted(operator_secrets(redis).keys() | worker_secrets(redis).keys())


def due_in(memory: Memory, *, login_refused: bool, now: float) -> float:
    """Return in how many seconds the Secrets are to be read again; 0 or less is now."""
    hurry = login_refused or memory.secrets_problem is not None
    return memory.secrets_read_at + (RETRY_SECONDS if hurry else REFRESH_SECONDS) - now


async def read(cluster: Cluster, resource: Resource, memory: Memory, *, now: float) -> None:
    """Read the Secrets into the memory, or why that is not possible; raises ClusterUnavailableError alone.

    What was read before stays where one cannot be read any more: the workers run with it.
    """
    if resource.spec is None:
        return
    found: dict[str, Secret] = {}
    problem: Problem | None = None
    for name in secret_names(resource.spec.redis):
        try:
            found[name] = await cluster.secret(resource.key.namespace, name)
        except ClusterUnavailableError:
            raise
        except ClusterError as error:
            problem = Problem(reason=error.reason, message=str(error))
    memory.secrets_read_at = now
    if problem is None:
        memory.secrets = found
        try:
            memory.fingerprint = cluster.fingerprint(resource, found)
        except ClusterError as error:
            # A key that spec.redis names is not there.
            problem = Problem(reason=error.reason, message=str(error))
    memory.secrets_problem = problem
