"""When the Secrets of a connection are read: first, before a template, after a refused login, now and then."""

from __future__ import annotations

import logging

from queueworker_operator.api.v1alpha1 import QueueWorkerSpec
from queueworker_operator.cluster.port import Cluster, ClusterError, ClusterUnavailableError, Resource, Secret
from queueworker_operator.manifests import operator_secrets, worker_secrets
from queueworker_operator.reconciler.memory import LONG_AGO, Memory, Refusal
from queueworker_operator.scaling.observation import Problem

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 90.0
"""Between two tries while the cluster does not answer,"""
LONGEST_WAITED_SECONDS = 20.0
"""and where the template waits for it."""


def secret_names(spec: QueueWorkerSpec) -> list[str]:
    """Return the names of all Secrets that the operator connects with, and the workers, where they are ours."""
    names = set(operator_secrets(spec.redis))
    return sorted(names if spec.worker is None else names | worker_secrets(spec.redis).keys())


def due_in(memory: Memory, *, login_refused: bool, now: float) -> float:
    """Return in how many seconds the Secrets are to be read again; 0 or less is now."""
    hurry = login_refused or memory.secrets_problem is not None
    read_at = memory.secrets_read_at
    at = read_at + RETRY_SECONDS if hurry else memory.next_turn(read_at, REFRESH_SECONDS)
    return (at if memory.secrets_unread is None else max(at, memory.secrets_unread.again_at)) - now


async def refresh(cluster: Cluster, resource: Resource, memory: Memory, *, now: float) -> None:
    """Read the Secrets into the memory; where the cluster is too busy for it those that are known stand.

    Raises ClusterUnavailableError where one is not known.
    """
    try:
        await read(cluster, resource, memory, now=now)
    except ClusterUnavailableError as error:
        if not _are_known(resource, memory):
            raise
        if memory.secrets_unread is None:
            logger.warning("%s: the Secrets that are known stand: %s", resource.key, error)
        problem = Problem(reason=error.reason, message=str(error))
        longest = LONGEST_RETRY_SECONDS if memory.secrets_problem is None else LONGEST_WAITED_SECONDS
        memory.secrets_unread = Refusal.after(memory.secrets_unread, problem, now, longest=longest)
        if memory.secrets_read_at == LONG_AGO:
            # They connect as before, but whether the template is that of the spec as it is now nobody knows.
            memory.secrets_problem = problem


async def read(cluster: Cluster, resource: Resource, memory: Memory, *, now: float) -> None:
    """Read the Secrets into the memory, or why that is not possible; raises ClusterUnavailableError alone.

    What was read before stays where one cannot be read any more: the workers run with it.
    """
    if resource.spec is None:
        return
    found: dict[str, Secret] = {}
    problem: Problem | None = None
    for name in secret_names(resource.spec):
        try:
            found[name] = await cluster.secret(resource.key.namespace, name)
        except ClusterUnavailableError:
            raise
        except ClusterError as error:
            problem = Problem(reason=error.reason, message=str(error))
    memory.secrets_read_at, memory.secrets_unread = now, None
    if problem is None:
        if found != memory.secrets:
            memory.connection = None
        memory.secrets = found
        try:
            memory.fingerprint = cluster.fingerprint(resource, found) if resource.spec.worker is not None else None
        except ClusterError as error:
            # A key that spec.redis names is not there.
            problem = Problem(reason=error.reason, message=str(error))
    memory.secrets_problem = problem


def _are_known(resource: Resource, memory: Memory) -> bool:
    """Whether they, or what keeps them from being read, were seen before."""
    if memory.secrets_read_at > LONG_AGO:
        return True
    return resource.spec is not None and all(name in memory.secrets for name in secret_names(resource.spec))
