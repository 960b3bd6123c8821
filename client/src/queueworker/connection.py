"""From connection settings to a redis-py client: standalone, Sentinel or Cluster.

No address is ever built from text: every setting is passed as a typed argument, so that no part of a user's string can
become an option.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ResponseError

from queueworker.clusters import Cluster
from queueworker.errors import SettingsError
from queueworker.packing import Packing
from queueworker.sentinels import Sentinels
from queueworker.settings import ClusterSettings, ConnectionSettings, Node, SentinelSettings
from queueworker.tls import tls_context

# Above the longest block that a worker asks for, and never None: a silent peer must end somewhere.
SOCKET_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 5
HANDSHAKE_TIMEOUT_SECONDS = 4
HEALTH_CHECK_SECONDS = 30
MAX_CONNECTIONS = 100
RETRIES = 3
RETRY_BASE_SECONDS = 0.05
RETRY_CAP_SECONDS = 1

Client = Redis | RedisCluster


def connect(
    settings: ConnectionSettings,
    *,
    decode_responses: bool = True,
    name: str | None = None,
    retries: int = RETRIES,
    max_connections: int = MAX_CONNECTIONS,
    handshake_seconds: float = HANDSHAKE_TIMEOUT_SECONDS,
) -> Client:
    """Return a client with a pool of its own; it connects with the first command. Close it with `aclose()`.

    `name` shows in CLIENT LIST, where the server lets this user set it. Raises SettingsError if the TLS files cannot
    be used.
    """
    options: dict[str, Any] = {
        "decode_responses": decode_responses,
        # Ids and payloads that other producers wrote need not be UTF-8; they must come back as they are.
        "encoding_errors": "surrogateescape",
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "max_connections": max_connections,
        "retry": _retry(retries),
        # RESP3 brings nothing here but one more round trip (HELLO) and notifications that nobody reads.
        "protocol": 2,
        # The library's self-introduction (CLIENT SETINFO) fills the log of a server whose ACL denies it.
        "driver_info": None,
        "username": settings.username,
        "password": settings.password.get_secret_value() if settings.password else None,
    }
    tls = None
    if settings.tls is not None:
        tls = _Tls(tls_context(settings.tls), settings.tls.server_name, handshake_seconds)
    if settings.cluster is not None:
        return _cluster(settings.cluster, options, tls=tls, name=name)
    options["db"] = settings.db
    options["redis_connect_func"] = _introduction(name)
    if settings.sentinel is not None:
        return _sentinel(settings.sentinel, options, tls=tls)
    pool = ConnectionPool(
        connection_class=_class_of(Connection, tls), host=settings.host, port=settings.port, **options
    )
    return Redis.from_pool(pool)


def require_decoding(client: Client) -> Client:
    """Return the client; raises SettingsError unless it is one for asyncio whose replies are text."""
    if not isinstance(client, Client):
        what = f"{type(client).__module__}.{type(client).__qualname__}"
        raise SettingsError(f"{what} is no client of redis.asyncio: give ConnectionSettings, or a client for asyncio")
    if not client.get_encoder().decode_responses:
        raise SettingsError("the redis-py client given must be made with decode_responses=True")
    return client


async def drop_idle_connections(client: Client) -> None:
    """Close the connections not in use, so that the next command asks again where the master is.

    After a failover the old ones stay with the server that is a replica now, behind a Service as behind a Sentinel. A
    Cluster's client follows redirections instead.
    """
    if not isinstance(client, RedisCluster):
        await client.connection_pool.disconnect(inuse_connections=False)


def named_master(client: Client) -> str:
    """Return what the Sentinels said where the master is, as an addition to a message; nothing without Sentinels."""
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return ""
    if pool.master_address is None:
        return " (no Sentinel has named a master)"
    host, port = pool.master_address
    return f" (the Sentinels name {Node(host=host, port=port)})"


def _retry(retries: int) -> Retry:
    return Retry(ExponentialWithJitterBackoff(base=RETRY_BASE_SECONDS, cap=RETRY_CAP_SECONDS), retries)


def _introduction(name: str | None) -> Callable[[Connection], Awaitable[None]]:
    async def introduce(connection: Connection) -> None:
        # A health check in here would connect again, and so on without end where the server refuses.
        await connection.on_connect_check_health(check_health=False)
        if name is None:
            return
        # redis-py's own client_name makes a denied CLIENT SETNAME an error, though the name only serves the reader.
        await connection.send_command("CLIENT", "SETNAME", name, check_health=False)
        try:
            await connection.read_response()
        except ResponseError:
            return

    return introduce


@dataclass(frozen=True, slots=True)
class _Tls:
    context: ssl.SSLContext
    server_name: str | None
    handshake_seconds: float


def _class_of(base: type[Connection], tls: _Tls | None) -> type[Connection]:
    """Return a connection class that packs in C and, for TLS, checks the server by our context and the name wanted."""

    class PackingConnection(Packing, base):  # type: ignore[misc, valid-type]
        pass

    if tls is None:
        return PackingConnection
    extra: dict[str, Any] = {"ssl": tls.context, "ssl_handshake_timeout": tls.handshake_seconds}
    if tls.server_name is not None:
        extra["server_hostname"] = tls.server_name

    class TlsConnection(PackingConnection):
        def _connection_arguments(self) -> dict[str, Any]:
            return {**super()._connection_arguments(), **extra}

    return TlsConnection


class _SentinelPool(SentinelConnectionPool):
    """Closes its connections to the Sentinels together with those to the master."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        # Without the ones in use it is a change of master, not the end.
        if inuse_connections:
            await self.sentinel_manager.aclose()


def _sentinel(group: SentinelSettings, options: dict[str, Any], *, tls: _Tls | None) -> Redis:
    own = {
        **options,
        "db": 0,
        "decode_responses": True,
        "socket_timeout": CONNECT_TIMEOUT_SECONDS,
        "username": group.username,
        "password": group.password.get_secret_value() if group.password else None,
        # The next Sentinel is the retry.
        "retry": _retry(0),
        "connection_class": _class_of(Connection, tls),
    }
    manager = Sentinels(
        [(node, Redis.from_pool(ConnectionPool(host=node.host, port=node.port, **own))) for node in group.nodes]
    )
    connection_class = _class_of(SentinelManagedConnection, tls)
    pool = _SentinelPool(group.master_name, manager, connection_class=connection_class, **options)  # type: ignore[no-untyped-call]
    return Redis.from_pool(pool)


def _cluster(group: ClusterSettings, options: dict[str, Any], *, tls: _Tls | None, name: str | None) -> RedisCluster:
    nodes = [ClusterNode(node.host, node.port) for node in group.nodes]
    cluster = Cluster(startup_nodes=nodes, **options)
    # RedisCluster takes neither; the nodes that it finds later are made from the shared arguments.
    connection_class, introduction = _class_of(Connection, tls), _introduction(name)
    cluster.connection_kwargs |= {"connection_class": connection_class, "redis_connect_func": introduction}
    for node in cluster.startup_nodes:
        node.connection_class = connection_class
        node.connection_kwargs["redis_connect_func"] = introduction
    return cluster
