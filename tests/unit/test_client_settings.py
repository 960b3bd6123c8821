from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from queueworker.errors import SettingsError
from queueworker.settings import ClusterSettings, ConnectionSettings, Node, SentinelSettings, TlsSettings

SECRET = "s3cr3t-word"

hosts = st.sampled_from(["redis", "redis.killboard.svc", "10.0.0.1", "::1", "fd00::7"])
ports = st.integers(1, 65535)
nodes = st.builds(Node, host=hosts, port=ports)
words = st.none() | st.text(alphabet="abcXYZ019-_@:/? #%&=", min_size=1, max_size=12)
secrets = words.map(lambda word: None if word is None else SecretStr(word))
files = st.none() | st.just("/etc/queueworker/tls/file.pem")
tls = st.none() | st.builds(
    TlsSettings,
    ca_file=files,
    certificate_file=files,
    key_file=files,
    server_name=st.none() | st.just("redis.example"),
    insecure_skip_verify=st.booleans(),
)
sentinels = st.builds(
    SentinelSettings,
    master_name=st.just("group"),
    nodes=st.lists(nodes, min_size=1, max_size=3).map(tuple),
    username=words,
    password=secrets,
)
clusters = st.builds(ClusterSettings, nodes=st.lists(nodes, min_size=1, max_size=3).map(tuple))
common: dict[str, Any] = {"username": words, "password": secrets, "tls": tls}
settings = st.one_of(
    st.builds(ConnectionSettings, host=hosts, port=ports, db=st.integers(0, 15), **common),
    st.builds(ConnectionSettings, sentinel=sentinels, db=st.integers(0, 15), **common),
    st.builds(ConnectionSettings, cluster=clusters, **common),
)


@given(settings)
def test_the_environment_carries_the_settings_whole(connection: ConnectionSettings) -> None:
    assert ConnectionSettings.from_environment(connection.to_environment()) == connection
    short = connection.to_environment(prefix="REDIS_")
    assert ConnectionSettings.from_environment(short) == connection


def test_without_any_variable_it_is_localhost() -> None:
    assert ConnectionSettings.from_environment({"PATH": "/bin"}) == ConnectionSettings(host="localhost")
    assert ConnectionSettings.from_environment({"REDIS_HOST": "a", "REDIS_PORT": "7"}).address == "a:7/0"


def test_our_own_variables_win_as_a_whole() -> None:
    environment = {"REDIS_HOST": "other", "REDIS_PASSWORD": "pw", "QUEUEWORKER_REDIS_HOST": "ours"}
    assert ConnectionSettings.from_environment(environment) == ConnectionSettings(host="ours")


def test_the_service_links_of_kubernetes_are_no_settings() -> None:
    environment = {
        "REDIS_HOST": "redis",
        "REDIS_PORT": "tcp://10.0.0.1:6379",
        "REDIS_SERVICE_HOST": "10.0.0.1",
        "QUEUEWORKER_REDIS_PORT": "tcp://10.0.0.2:6379",
        "QUEUEWORKER_REDIS_PORT_6379_TCP_ADDR": "10.0.0.2",
    }
    assert ConnectionSettings.from_environment(environment) == ConnectionSettings(host="redis")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"PORT": "many"}, "port"),
        ({"PORT": "70000"}, "port"),
        ({"DB": "-1"}, "db"),
        ({"SENTINEL_MASTER": "group"}, "sentinel.nodes"),
        ({"SENTINEL_NODES": "a:b"}, "SENTINEL_NODES"),
        ({"CLUSTER_NODES": "a:99999"}, "CLUSTER_NODES"),
        ({"TLS": "yes"}, "TLS"),
        ({"TLS": "true", "TLS_INSECURE": "maybe"}, "TLS_INSECURE"),
        ({"TLS_CA_FILE": "/ca.pem"}, "TLS_CA_FILE is set, but TLS is not"),
        ({"CLUSTER_NODES": "a", "DB": "1"}, "db must be 0"),
    ],
)
def test_a_variable_that_cannot_be_is_named_and_no_secret_is(variables: dict[str, str], named: str) -> None:
    environment = {f"QUEUEWORKER_REDIS_{name}": value for name, value in variables.items()}
    environment["QUEUEWORKER_REDIS_PASSWORD"] = environment["QUEUEWORKER_REDIS_SENTINEL_PASSWORD"] = SECRET
    with pytest.raises(SettingsError, match=named) as caught:
        ConnectionSettings.from_environment(environment)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_secret_shows_nowhere() -> None:
    group = SentinelSettings(master_name="m", nodes=(Node(host="a"),), password=SecretStr(SECRET))
    for one in (
        ConnectionSettings(host="redis", password=SecretStr(SECRET)),
        ConnectionSettings(sentinel=group, password=SecretStr(SECRET)),
    ):
        assert SECRET not in f"{one!r} {one} {one.address} {one.model_dump()} {one.model_dump_json()}"


@pytest.mark.parametrize(
    "topology",
    [{}, {"host": "a", "cluster": {"nodes": [{"host": "b"}]}}, {"cluster": {"nodes": []}}, {"url": "redis://a"}],
)
def test_exactly_one_topology(topology: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConnectionSettings.model_validate(topology)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("redis", "redis", 6379),
        ("redis:7", "redis", 7),
        ("[::1]:7", "::1", 7),
        ("[::1]", "::1", 6379),
        ("fd00::7", "fd00::7", 6379),
    ],
)
def test_nodes_are_read(text: str, host: str, port: int) -> None:
    node = Node.parse(text, default_port=6379)
    assert (node.host, node.port) == (host, port)
    assert Node.parse(str(node), default_port=1) == node


@pytest.mark.parametrize("text", ["", ":", ":6379", "a:", "a:b", "a:0", "[::1"])
def test_a_node_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Node.parse(text, default_port=6379)
