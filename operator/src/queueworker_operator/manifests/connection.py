"""`spec.redis` as the connection of the client library: for the environment of the workers and for the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from queueworker.settings import ClusterSettings, ConnectionSettings, Node, SentinelSettings, TlsSettings
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import Redis, RedisAuth
from queueworker_operator.api.v1alpha1.redis import RedisNode, RedisSentinel
from queueworker_operator.manifests.errors import ManifestError
from queueworker_operator.manifests.names import CA_FILE, CERTIFICATE_FILE, KEY_FILE
from queueworker_operator.manifests.secrets import SecretValues, secret_value

REDIS_PORT = 6379
SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConnection:
    """How the operator reaches a Redis: the settings, and the files that they name, which the caller writes."""

    settings: ConnectionSettings
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Contents by file name (PEM), to be written for this user only into the directory that was given."""


def connection_without_secrets(redis: Redis, *, auth: RedisAuth | None, tls_directory: str) -> ConnectionSettings:
    """Return the connection as `auth` but for the passwords; TLS files are named within `tls_directory`."""
    return ConnectionSettings(
        host=redis.host,
        port=redis.port or REDIS_PORT,
        db=redis.db or 0,
        sentinel=_sentinel(redis.sentinel) if redis.sentinel is not None else None,
        cluster=ClusterSettings(nodes=_nodes(redis.cluster.nodes, default_port=REDIS_PORT)) if redis.cluster else None,
        username=auth.username if auth is not None else None,
        tls=_tls(redis, tls_directory=tls_directory),
    )


def operator_connection(redis: Redis, secrets: Mapping[str, SecretValues], *, tls_directory: str) -> OperatorConnection:
    """Return the operator's own connection, as operatorAuth where that is set, else as auth.

    The files must be in `tls_directory` before it is used. Raises ManifestError where a Secret lacks a key.
    """
    auth = redis.operator_auth or redis.auth
    settings = connection_without_secrets(redis, auth=auth, tls_directory=tls_directory)
    settings = settings.model_copy(update={"password": _password(auth, secrets)})
    if settings.sentinel is not None and redis.sentinel is not None:
        password = _password(redis.sentinel.auth, secrets)
        settings = settings.model_copy(update={"sentinel": settings.sentinel.model_copy(update={"password": password})})
    return OperatorConnection(settings=settings, files=_tls_files(redis, secrets))


def _sentinel(sentinel: RedisSentinel) -> SentinelSettings:
    return SentinelSettings(
        master_name=sentinel.master_name,
        nodes=_nodes(sentinel.nodes, default_port=SENTINEL_PORT),
        username=sentinel.auth.username if sentinel.auth is not None else None,
    )


def _nodes(nodes: list[RedisNode], *, default_port: int) -> tuple[Node, ...]:
    return tuple(Node(host=node.host, port=node.port or default_port) for node in nodes)


def _tls(redis: Redis, *, tls_directory: str) -> TlsSettings | None:
    tls = redis.tls
    if tls is None:
        return None
    certified = tls.client_certificate_secret_ref is not None
    return TlsSettings(
        ca_file=f"{tls_directory}/{CA_FILE}" if tls.ca_secret_ref is not None else None,
        certificate_file=f"{tls_directory}/{CERTIFICATE_FILE}" if certified else None,
        key_file=f"{tls_directory}/{KEY_FILE}" if certified else None,
        server_name=tls.server_name,
        insecure_skip_verify=tls.insecure_skip_verify,
    )


def _password(auth: RedisAuth | None, secrets: Mapping[str, SecretValues]) -> SecretStr | None:
    if auth is None or auth.password_secret_ref is None:
        return None
    name, key = auth.password_secret_ref.name, auth.password_secret_ref.key
    try:
        return SecretStr(secret_value(secrets, name=name, key=key).decode())
    except UnicodeDecodeError:
        message = f"the Secret {name} does not hold text under {key}: a Redis password is UTF-8"
        # The cause would carry the bytes.
        raise ManifestError(message, reason=ConditionReason.SECRET_NOT_FOUND) from None


def _tls_files(redis: Redis, secrets: Mapping[str, SecretValues]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if redis.tls is not None and redis.tls.ca_secret_ref is not None:
        ca = redis.tls.ca_secret_ref
        files[CA_FILE] = secret_value(secrets, name=ca.name, key=ca.key)
    if redis.tls is not None and redis.tls.client_certificate_secret_ref is not None:
        name = redis.tls.client_certificate_secret_ref.name
        files |= {key: secret_value(secrets, name=name, key=key) for key in (CERTIFICATE_FILE, KEY_FILE)}
    return files
