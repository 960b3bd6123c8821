"""From spec.redis and Secrets to settings, the files of TLS, and the guard against the operator's own machine."""

from __future__ import annotations

import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys
from queueworker.settings import ConnectionSettings
from queueworker_operator.api.reasons import ConditionReason
from queueworker_operator.api.v1alpha1 import Redis
from queueworker_operator.cluster.connection import connection_settings, open_guarded_reader
from queueworker_operator.cluster.port import ClusterError, Secret
from queueworker_operator.queues.port import Reader

MAIL = QueueKeys("bull", "mail")
REDIS = Redis.model_validate(
    {
        "host": "redis",
        "auth": {"username": "worker", "passwordSecretRef": {"name": "worker", "key": "password"}},
        "operatorAuth": {"username": "reader", "passwordSecretRef": {"name": "reader", "key": "password"}},
        "tls": {"caSecretRef": {"name": "ca", "key": "ca.pem"}},
    }
)


def secrets(**changes: str) -> dict[str, Secret]:
    values = {"worker": "w", "reader": "r", "ca": "CERTIFICATE"} | changes
    keys = {"ca": "ca.pem"}
    return {n: Secret(name=n, uid=n, data={keys.get(n, "password"): v.encode()}) for n, v in values.items()}


@pytest.mark.parametrize(("for_operator", "user", "password"), [(True, "reader", "r"), (False, "worker", "w")])
def test_operator_and_workers_have_their_own_users(
    tmp_path: Path, for_operator: bool, user: str, password: str
) -> None:
    settings = connection_settings(REDIS, secrets(), directory=tmp_path, for_operator=for_operator)
    assert settings.username == user
    assert settings.password is not None
    assert settings.password.get_secret_value() == password


def test_tls_files_are_private_and_other_content_makes_other_settings(tmp_path: Path) -> None:
    one = connection_settings(REDIS, secrets(), directory=tmp_path / "tls", for_operator=True)
    again = connection_settings(REDIS, secrets(), directory=tmp_path / "tls", for_operator=True)
    other = connection_settings(REDIS, secrets(ca="ANOTHER"), directory=tmp_path / "tls", for_operator=True)
    assert one == again
    assert one != other
    assert one.tls is not None
    assert one.tls.ca_file is not None
    file = Path(one.tls.ca_file)
    assert file.read_text() == "CERTIFICATE"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_key_that_is_not_there_is_named_without_the_others_values(tmp_path: Path) -> None:
    without = {**secrets(), "reader": Secret(name="reader", uid="1", data={"pw": b"s3cret"})}
    with pytest.raises(ClusterError, match="reader has no key password") as refusal:
        connection_settings(REDIS, without, directory=tmp_path, for_operator=True)
    assert refusal.value.reason is ConditionReason.SECRET_NOT_FOUND
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda reader: reader.read([MAIL], horizon_ms=0, deadline_seconds=30),
        lambda reader: reader.read_details([MAIL], deadline_seconds=30),
        lambda reader: reader.wait({MAIL: "0-0"}, block_ms=10),
    ],
)
async def test_a_name_that_leads_to_this_machine_is_refused_before_the_connect(
    ask: Callable[[Reader], Awaitable[object]],
) -> None:
    reader = open_guarded_reader(ConnectionSettings(host="localhost", port=1))
    assert reader.can_wait
    try:
        with pytest.raises(RedisReadError, match="loopback") as refusal:
            await ask(reader)
        assert refusal.value.reason == ConditionReason.SPEC_INVALID
    finally:
        await reader.aclose()
