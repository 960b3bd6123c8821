"""The environment that the operator gives a worker: the contract with any image that reads it."""

import json
from typing import Any

from queueworker import environment as names
from queueworker.settings import REDIS_PREFIX, TLS_DIRECTORY
from queueworker_operator.api.v1alpha1 import Queue, QueueWorkerSpec, Redis, RedisAuth
from queueworker_operator.manifests.connection import connection_without_secrets

Variable = dict[str, Any]


def is_contract(name: str) -> bool:
    """Whether a variable is the operator's to set, also where this spec does not set it."""
    return name in names.NAMES or name.startswith(REDIS_PREFIX)


def contract_environment(spec: QueueWorkerSpec) -> list[Variable]:
    """Return the variables that every worker gets; what follows them in the list may refer to them by $(NAME)."""
    queues = [_queue(queue) for queue in spec.queues]
    variables = [
        _literal(names.QUEUES, json.dumps(queues, ensure_ascii=False, separators=(",", ":"))),
        _literal(names.PREFIX, spec.prefix),
        _literal(names.DRAIN_TIMEOUT_SECONDS, str(spec.pods.drain_timeout_seconds)),
        _field(names.NAME, "metadata.name"),
    ]
    if spec.pods.health_port is not None:
        variables += [
            _field(names.HEALTH_HOST, "status.podIP"),
            _literal(names.HEALTH_PORT, str(spec.pods.health_port)),
        ]
    return [*variables, *redis_environment(spec.redis, prefix=REDIS_PREFIX)]


def redis_environment(redis: Redis, *, prefix: str) -> list[Variable]:
    """Return the connection as variables that begin with `prefix`; passwords are references to their Secrets."""
    settings = connection_without_secrets(redis, auth=redis.auth, tls_directory=TLS_DIRECTORY)
    variables = [_literal(name, value) for name, value in settings.to_environment(prefix=prefix).items()]
    variables += _password(f"{prefix}PASSWORD", redis.auth)
    if redis.sentinel is not None:
        variables += _password(f"{prefix}SENTINEL_PASSWORD", redis.sentinel.auth)
    return variables


def _queue(queue: Queue) -> dict[str, Any]:
    said: dict[str, Any] = {"name": queue.name, "concurrency": queue.concurrency}
    if queue.limiter is not None:
        said["limiter"] = queue.limiter.model_dump(by_alias=True)
    return said


def _literal(name: str, value: str) -> Variable:
    # Kubernetes expands $(NAME) in values, and takes $$ for a plain $.
    return {"name": name, "value": value.replace("$", "$$")}


def _field(name: str, path: str) -> Variable:
    return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def _password(name: str, auth: RedisAuth | None) -> list[Variable]:
    if auth is None or auth.password_secret_ref is None:
        return []
    return [{"name": name, "valueFrom": {"secretKeyRef": auth.password_secret_ref.model_dump()}}]
