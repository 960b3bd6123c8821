"""What the client uses of redis-py beyond its documentation: a version that moves it is told by these tests."""

from __future__ import annotations

import inspect

import pytest
import redis
from redis.asyncio.cluster import ClusterNode, RedisCluster

from queueworker.connection import connect
from queueworker.settings import ClusterSettings, ConnectionSettings, Node


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("commands_parser", "commands"),
        ("commands_parser", "initialize"),
        ("commands_parser", "get_keys"),
        ("nodes_manager", "startup_nodes"),
        ("nodes_manager", "initialize"),
        ("nodes_manager", "aclose"),
    ],
)
def test_a_client_of_a_cluster_has_the_parts_that_ours_uses(owner: str, name: str) -> None:
    part = getattr(RedisCluster(startup_nodes=[ClusterNode("redis-0", 6379)]), owner, None)
    where = (
        f"redis-py {redis.__version__} has no RedisCluster.{owner}.{name}: mend queueworker/connection.py and nodes.py"
    )
    assert hasattr(part, name), where


def test_a_client_of_a_cluster_learns_keys_from_the_parser_that_ours_gives() -> None:
    source = inspect.getsource(RedisCluster)
    where = f"redis-py {redis.__version__} uses its commands_parser in another way: mend queueworker/connection.py"
    assert "self.commands_parser.initialize(" in source, where
    assert "self.commands_parser.get_keys(" in source, where
    assert source.count("self.commands_parser.") == 2, where


async def test_a_client_of_a_cluster_asks_nobody_for_commands_as_it_starts() -> None:
    client = connect(ConnectionSettings(cluster=ClusterSettings(nodes=(Node(host="redis-0", port=6379),))))
    assert isinstance(client, RedisCluster)
    await client.commands_parser.initialize(client.startup_nodes[0])
