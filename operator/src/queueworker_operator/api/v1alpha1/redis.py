"""`spec.redis`: where the queue's Redis is and how to get in."""

import re
from typing import Annotated, ClassVar

from pydantic import Field

from queueworker_operator.api.v1alpha1.base import NO_BLANKS, ApiModel
from queueworker_operator.api.v1alpha1.rules import Expression, Rule

_IPV6 = "[0-9A-Fa-f:]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*"
Host = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:-]+$"),
    Rule(
        # One colon is a port (or a scheme), two or more are an IPv6 address.
        rule=Expression(
            f"!self.contains(':') || self.matches('^{_IPV6}$')",
            lambda host: ":" not in host or re.fullmatch(_IPV6, host) is not None,
        ),
        message="host is a name or an IP address alone, without scheme, user and port: the port goes into port",
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class SecretKeyRef(ApiModel):
    """One key of a Secret in the QueueWorker's own namespace."""

    name: ObjectName
    """Name of the Secret. It bears the label queueworker.dev/redis-credentials: "true"."""
    key: DataKey
    """Key within the Secret."""


class SecretRef(ApiModel):
    """A Secret in the QueueWorker's own namespace."""

    name: ObjectName
    """Name of the Secret. It bears the label queueworker.dev/redis-credentials: "true"."""


class RedisAuth(ApiModel):
    """A Redis user; the password is only ever a reference."""

    rules: ClassVar = (
        Rule(
            rule=Expression("has(self.passwordSecretRef)", lambda auth: auth.password_secret_ref is not None),
            message=(
                "auth needs passwordSecretRef: name a Secret and the key that holds the password there, or remove auth"
            ),
            field_path=".passwordSecretRef",
            reason="FieldValueRequired",
        ),
    )

    username: Annotated[str, Field(min_length=1, max_length=128, pattern=NO_BLANKS)] | None = None
    """ACL user; the default user where it is left out."""
    password_secret_ref: SecretKeyRef | None = None
    """Where the password is."""


class RedisNode(ApiModel):
    """One address of a Sentinel or of a Cluster."""

    host: Host
    """Host name or IP address."""
    port: Port | None = None
    """Port; 26379 for a Sentinel and 6379 for a Cluster node where it is left out."""


class RedisSentinel(ApiModel):
    """A Redis that Sentinels watch."""

    master_name: Annotated[str, Field(min_length=1, max_length=128, pattern=NO_BLANKS)]
    """The master's name in the Sentinels' configuration."""
    nodes: Annotated[list[RedisNode], Field(min_length=1, max_length=16)]
    """The Sentinels."""
    auth: RedisAuth | None = None
    """The user on the Sentinels themselves."""


class RedisCluster(ApiModel):
    """A Redis Cluster. The prefix then carries a {hash tag}."""

    nodes: Annotated[list[RedisNode], Field(min_length=1, max_length=16)]
    """Some nodes; the others are discovered."""


class RedisTls(ApiModel):
    """TLS to Redis; the server's certificate is verified."""

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "!self.insecureSkipVerify || !has(self.caSecretRef)",
                lambda tls: not tls.insecure_skip_verify or tls.ca_secret_ref is None,
            ),
            message=(
                "insecureSkipVerify leaves caSecretRef without effect: remove insecureSkipVerify to verify the server "
                "with that authority, or remove caSecretRef"
            ),
            field_path=".insecureSkipVerify",
        ),
    )

    ca_secret_ref: SecretKeyRef | None = None
    """The authority that signed the server's certificate, PEM; the system's authorities where it is left out."""
    client_certificate_secret_ref: SecretRef | None = None
    """A Secret of type kubernetes.io/tls with tls.crt and tls.key, for mutual TLS."""
    server_name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:-]+$")] | None = None
    """The name to expect in the server's certificate, where it is not the host."""
    insecure_skip_verify: bool = False
    """Do not verify the server. Shown as a warning in the status."""


class Redis(ApiModel):
    """The Redis that holds the queues: exactly one of host, sentinel and cluster."""

    rules: ClassVar = (
        Rule(
            rule=Expression(
                "[has(self.host), has(self.sentinel), has(self.cluster)].exists_one(named, named)",
                lambda redis: sum(one is not None for one in (redis.host, redis.sentinel, redis.cluster)) == 1,
            ),
            message="host, sentinel and cluster exclude each other: keep the one that your Redis is, remove the rest",
            otherwise=(
                Expression(
                    "has(self.host) || has(self.sentinel) || has(self.cluster)",
                    lambda redis: any(one is not None for one in (redis.host, redis.sentinel, redis.cluster)),
                ),
                "one of host, sentinel and cluster is needed: set redis.host for a single server",
            ),
        ),
        Rule(
            rule=Expression(
                "!has(self.port) || has(self.host)", lambda redis: redis.port is None or redis.host is not None
            ),
            message="port goes with host alone: with sentinel or cluster give each of nodes its own port",
            field_path=".port",
            reason="FieldValueForbidden",
        ),
        Rule(
            rule=Expression(
                "!has(self.db) || !has(self.cluster)", lambda redis: redis.db is None or redis.cluster is None
            ),
            message="db goes with host or sentinel: a Redis Cluster has no numbered databases, remove db",
            field_path=".db",
            reason="FieldValueForbidden",
        ),
    )

    host: Host | None = None
    """Host name or IP address of one server."""
    port: Port | None = None
    """Port of that server; 6379 where it is left out."""
    db: Annotated[int, Field(ge=0, le=1023)] | None = None
    """Database number of host or sentinel; 0 where it is left out."""
    sentinel: RedisSentinel | None = None
    """A Redis that Sentinels watch."""
    cluster: RedisCluster | None = None
    """A Redis Cluster."""
    auth: RedisAuth | None = None
    """The user of the workers, and of the operator where operatorAuth is left out."""
    operator_auth: RedisAuth | None = None
    """A read-only user for the operator."""
    tls: RedisTls | None = None
    """TLS to every server named above."""
