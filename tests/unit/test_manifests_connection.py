"""The operator's own connection, and the hosts that it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_specs import PASSWORD, SECRETS, SPECS, StoredSecret, spec_of

from queueworker_operator.manifests import ManifestError, operator_connection
from queueworker_operator.manifests.addresses import refused_address, refused_host, refused_hosts


def test_the_operator_connects_as_its_own_user_where_one_is_named() -> None:
    connection = operator_connection(SPECS["sentinel-tls"].redis, SECRETS, tls_directory="/run/tls")
    settings = connection.settings

    assert settings.username == "operator"
    assert settings.password is not None
    assert settings.password.get_secret_value() == "hunter3"
    assert settings.sentinel is not None
    assert settings.sentinel.password is not None
    assert settings.sentinel.password.get_secret_value() == "hunter5"
    assert settings.tls is not None
    assert settings.tls.ca_file == "/run/tls/ca.crt"
    assert connection.files == {"ca.crt": b"-----BEGIN CA", "tls.crt": b"-----BEGIN CRT", "tls.key": b"-----BEGIN KEY"}
    assert "hunter" not in repr(connection)
    assert "BEGIN" not in repr(connection)


def test_the_operator_connects_as_the_workers_do_otherwise() -> None:
    connection = operator_connection(SPECS["health-and-password"].redis, SECRETS, tls_directory="/run/tls")

    assert (connection.settings.username, connection.settings.port, connection.settings.db) == ("worker", 6380, 2)
    assert connection.settings.password is not None
    assert connection.settings.password.get_secret_value() == "hunter2"
    assert connection.settings.tls is None
    assert connection.files == {}


def test_a_password_that_is_no_text_is_refused_without_showing_it() -> None:
    secrets = {"redis": StoredSecret("redis", {"password": b"\xffhunter2"})}

    with pytest.raises(ManifestError, match="the Secret redis does not hold text") as refused:
        operator_connection(spec_of(redis={"host": "r", "auth": PASSWORD}).redis, secrets, tls_directory="/run/tls")

    assert "hunter2" not in f"{refused.value!r} {refused.value.__cause__!r}"


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback",
        "metadata", "metadata.google.internal", "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0x7f000001",
        "0177.0.0.1", "0", "0.0.0.0", "::1", "0::1", "[::1]", "::", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "2002:7f00:1::", "169.254.0.1", "169.254.169.254", "0xa9fea9fe", "fe80::1", "fe80::1%eth0",
        "febf::1", "100.100.100.200", "fd00:ec2::254", "224.0.0.1", "ff02::1", "255.255.255.255",
    ],
)  # fmt: skip
def test_this_machine_and_metadata_are_refused(host: str) -> None:
    sentence = refused_host(host)

    assert sentence is not None
    assert host in sentence


@pytest.mark.parametrize(
    "host",
    ["redis", "redis.killboard.svc", "10.0.0.1", "192.168.1.1", "100.64.0.1", "2001:db8::1", "fd00::1", "1.2.3.4",
     "localhost.example.com", "notlocalhost", "metadata.example.com", "a1", "0xgg", "redis-127.0.0.1"],
)  # fmt: skip
def test_other_hosts_may_pass(host: str) -> None:
    assert refused_host(host) is None


@given(
    address=st.ip_addresses(network="127.0.0.0/8")
    | st.ip_addresses(network="169.254.0.0/16")
    | st.ip_addresses(network="fe80::/10")
)
def test_an_address_that_a_name_led_to_is_checked_likewise(address: object) -> None:
    assert refused_address(str(address)) is not None
    assert refused_host(str(address)) is not None


def test_every_host_of_the_spec_is_looked_at() -> None:
    nodes = {"nodes": [{"host": "good"}, {"host": "127.0.0.1"}, {"host": "localhost"}]}

    assert len(refused_hosts(spec_of(redis={"cluster": nodes}).redis)) == 2
    assert len(refused_hosts(spec_of(redis={"sentinel": {"masterName": "m", **nodes}}).redis)) == 2
    assert refused_hosts(spec_of().redis) == []
