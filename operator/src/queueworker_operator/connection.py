"""From `spec.redis` and its Secrets to connection settings."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError

from queueworker.settings import ClusterSettings, ConnectionSettings, Node, SentinelSettings, TlsSettings
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import Redis, RedisAuth, RedisTls
from queueworker_operator.api.v1alpha1.redis import RedisNode
from queueworker_operator.cluster.port import ClusterError, Secret

SENTINEL_PORT = 26379
REDIS_PORT = 6379


class TlsFiles:
    """Keeps certificates and keys as files that only this user reads, named after what is in them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, content: bytes) -> str:
        """Return the path of a file with this content."""
        path = self._directory / f"{hashlib.sha256(content).hexdigest()[:32]}.pem"
        if not path.exists():
            part = path.with_suffix(".part")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content)
            part.replace(path)
        return str(path)


def secret_names(redis: Redis) -> tuple[str, ...]:
    """Return the names of all Secrets that the connection refers to, sorted."""
    auths = (redis.auth, redis.operator_auth, redis.sentinel and redis.sentinel.auth)
    refs = {auth.password_secret_ref.name for auth in auths if auth and auth.password_secret_ref}
    tls = redis.tls
    if tls and tls.ca_secret_ref:
        refs.add(tls.ca_secret_ref.name)
    if tls and tls.client_certificate_secret_ref:
        refs.add(tls.client_certificate_secret_ref.name)
    return tuple(sorted(refs))


def connection_settings(
    redis: Redis, secrets: Mapping[str, Secret], *, files: TlsFiles, for_operator: bool
) -> ConnectionSettings:
    """Return how the operator, or a worker, reaches this Redis.

    Raises ClusterError with SecretNotFound where a Secret lacks a key, with SpecInvalid where the settings cannot be.
    """
    auth = (for_operator and redis.operator_auth) or redis.auth
    try:
        return ConnectionSettings(
            host=redis.host,
            port=redis.port or REDIS_PORT,
            db=redis.db or 0,
            sentinel=_sentinel(redis, secrets),
            cluster=ClusterSettings(nodes=_nodes(redis.cluster.nodes, REDIS_PORT)) if redis.cluster else None,
            username=auth.username if auth else None,
            password=_password(auth, secrets),
            tls=_tls(redis.tls, secrets, files) if redis.tls else None,
        )
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, ("spec.redis", *detail["loc"])))
        raise ClusterError(f"{where}: {detail['msg']}", reason=ConditionReason.SPEC_INVALID) from None


def refuse_local_addresses(settings: ConnectionSettings) -> None:
    """Raise ClusterError where an address is the operator's own pod or node: a QueueWorker has no business there."""
    for host in _hosts(settings):
        if _is_local(host):
            message = (
                f"spec.redis: {host} is a loopback or link-local address, which the operator refuses;"
                " name the Redis by its service, or run the operator with --allow-loopback-redis"
            )
            raise ClusterError(message, reason=ConditionReason.SPEC_INVALID)


def _hosts(settings: ConnectionSettings) -> Iterator[str]:
    if settings.host:
        yield settings.host
    group = settings.sentinel or settings.cluster
    if group is not None:
        yield from (node.host for node in group.nodes)


def _is_local(host: str) -> bool:
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(name)
    except ValueError:
        # 127.1 and 2130706433 are loopback too to the resolver; nobody names a Redis by digits alone.
        return name.replace(".", "").isdigit()
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_link_local or address.is_unspecified


def _sentinel(redis: Redis, secrets: Mapping[str, Secret]) -> SentinelSettings | None:
    sentinel = redis.sentinel
    if sentinel is None:
        return None
    return SentinelSettings(
        master_name=sentinel.master_name,
        nodes=_nodes(sentinel.nodes, SENTINEL_PORT),
        username=sentinel.auth.username if sentinel.auth else None,
        password=_password(sentinel.auth, secrets),
    )


def _nodes(nodes: list[RedisNode], port: int) -> tuple[Node, ...]:
    return tuple(Node(host=node.host, port=node.port or port) for node in nodes)


def _password(auth: RedisAuth | None, secrets: Mapping[str, Secret]) -> SecretStr | None:
    if auth is None or auth.password_secret_ref is None:
        return None
    content = _content(secrets, auth.password_secret_ref.name, auth.password_secret_ref.key)
    try:
        return SecretStr(content.decode())
    except UnicodeDecodeError:
        message = f"Secret {auth.password_secret_ref.name}: {auth.password_secret_ref.key} is not text"
        raise ClusterError(message, reason=ConditionReason.SECRET_NOT_FOUND) from None


def _tls(tls: RedisTls, secrets: Mapping[str, Secret], files: TlsFiles) -> TlsSettings:
    ca, client = tls.ca_secret_ref, tls.client_certificate_secret_ref
    return TlsSettings(
        ca_file=files.path(_content(secrets, ca.name, ca.key)) if ca else None,
        certificate_file=files.path(_content(secrets, client.name, "tls.crt")) if client else None,
        key_file=files.path(_content(secrets, client.name, "tls.key")) if client else None,
        server_name=tls.server_name,
        insecure_skip_verify=tls.insecure_skip_verify,
    )


def _content(secrets: Mapping[str, Secret], name: str, key: str) -> bytes:
    try:
        return secrets[name].data[key]
    except KeyError:
        message = f"Secret {name} has no key {key}: add it, or name another in spec.redis"
        raise ClusterError(message, reason=ConditionReason.SECRET_NOT_FOUND) from None
