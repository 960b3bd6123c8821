"""`spec.redis`: where the queue's Redis is and how to get in."""

from typing import Annotated

from pydantic import Field

from queueworker_operator.api.v1alpha1.base import ApiModel

Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")]
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

    username: Annotated[str, Field(min_length=1, max_length=128)] | None = None
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

    master_name: Annotated[str, Field(min_length=1, max_length=128)]
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

    ca_secret_ref: SecretKeyRef | None = None
    """The authority that signed the server's certificate, PEM; the system's authorities where it is left out."""
    client_certificate_secret_ref: SecretRef | None = None
    """A Secret of type kubernetes.io/tls with tls.crt and tls.key, for mutual TLS."""
    server_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """The name to expect in the server's certificate, where it is not the host."""
    insecure_skip_verify: bool = False
    """Do not verify the server. Shown as a warning in the status."""


class Redis(ApiModel):
    """The Redis that holds the queues: exactly one of host, sentinel and cluster."""

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
