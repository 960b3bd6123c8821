"""A Cluster as one client: redis-py's, mended where a node is silent, unknown or gone."""

from __future__ import annotations

import random
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.cluster import PRIMARY


class Cluster(RedisCluster):
    """Knows nodes without slots, and closes its connections also where it was about to look for the nodes anew."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands_parser = _Commands(self)  # type: ignore[assignment]

    def get_node(
        self, host: str | None = None, port: int | None = None, node_name: str | None = None
    ) -> ClusterNode | None:
        """Return the node, made where only its name is known.

        An ASK may name one that CLUSTER SLOTS leaves out, the first slots of a new node being on their way to it:
        redis-py asks None for it.
        """
        node = super().get_node(host, port, node_name)
        if node is not None or node_name is None:
            return node
        host, _, told_port = node_name.rpartition(":")
        manager = self.nodes_manager
        node = ClusterNode(host, int(told_port), PRIMARY, **manager.connection_kwargs)
        manager.set_nodes(manager.nodes_cache, {node.name: node})
        return node

    async def aclose(self) -> None:
        """Close every connection."""
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)


class _Commands:
    """Asks a node for its commands where one is sent whose keys are not known yet.

    redis-py asks the owner of slot 0 before anything else: where that one is silent, no other could be reached either.
    This stands where a client has its own parser, and around that one: its class is private to redis-py.
    """

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self._parser = cluster.commands_parser

    async def initialize(self, node: ClusterNode | None = None) -> None:
        """Ask nobody: redis-py calls this with the owner of slot 0."""

    async def get_keys(self, *words: Any) -> tuple[str, ...] | None:
        """Return the keys among the words of a command, or None; raises what redis-py does."""
        if words[0].lower().split()[0] not in self._parser.commands:
            await self._parser.initialize(random.choice(self._cluster.get_primaries()))  # noqa: S311 - spreads, hides nothing
        return await self._parser.get_keys(*words)
