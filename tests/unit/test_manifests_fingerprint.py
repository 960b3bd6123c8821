"""The fingerprint and the digest of the Secrets: what changes them, and what must not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_specs import OWNER, PASSWORD, SECRETS, SPECS, spec_of

from queueworker_operator.manifests import operator_secrets, render_deployment, spec_fingerprint, worker_secrets
from queueworker_operator.manifests.secrets import connection_digest

WITH_PASSWORD = spec_of(redis={"host": "redis", "auth": PASSWORD})


def changed(**values: bytes) -> dict[str, Any]:
    redis = SECRETS["redis"]
    return {**SECRETS, "redis": dataclasses.replace(redis, data={**redis.data, **values})}


@pytest.mark.parametrize(
    "changes",
    [
        {"replicas": 9},
        {"replicas": None, "autoscaling": {"maxReplicas": 5}},
        {"redis": {"host": "redis.killboard.svc", "operatorAuth": {"username": "reader"}}},
        {"prefix": "bull"},
        {"queues": [{"name": "killmail", "concurrency": 1}]},
        {"worker": {"drainTimeoutSeconds": 60}},
    ],
)
def test_what_the_template_does_not_hold_does_not_count(changes: dict[str, Any]) -> None:
    assert spec_fingerprint(spec_of(**changes), {}) == spec_fingerprint(spec_of(), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"prefix": "other"},
        {"queues": [{"name": "killmail", "concurrency": 2}]},
        {"queues": [{"name": "killmail"}, {"name": "price"}]},
        {"redis": {"host": "elsewhere"}},
        {"redis": {"host": "redis.killboard.svc", "auth": {"username": "u"}}},
        {"worker": {"image": "example/worker:2"}},
        {"worker": {"drainTimeoutSeconds": 61}},
        {"worker": {"podTemplate": {"spec": {"priorityClassName": "high"}}}},
    ],
)
def test_what_the_template_holds_counts(changes: dict[str, Any]) -> None:
    assert spec_fingerprint(spec_of(**changes), {}) != spec_fingerprint(spec_of(), {})


def test_the_renderer_does_not_count() -> None:
    one, two = (
        render_deployment(OWNER, WITH_PASSWORD, SECRETS, renderer_revision=number)["metadata"] for number in (1, 2)
    )

    key = "queueworker.dev/fingerprint"
    assert one["annotations"][key] == two["annotations"][key] == spec_fingerprint(WITH_PASSWORD, SECRETS)
    assert one != two


def test_all_specs_differ() -> None:
    assert len({spec_fingerprint(spec, SECRETS) for spec in SPECS.values()}) == len(SPECS)


def test_only_the_keys_in_use_count() -> None:
    before = spec_fingerprint(WITH_PASSWORD, SECRETS)

    assert spec_fingerprint(WITH_PASSWORD, changed(unused=b"x", operator=b"y")) == before
    assert spec_fingerprint(WITH_PASSWORD, changed(password=b"x")) != before


def test_there_is_no_digest_without_secrets() -> None:
    assert connection_digest(spec_of().redis, {}) is None
    annotations = render_deployment(OWNER, spec_of(), {})["spec"]["template"]["metadata"]["annotations"]
    assert "queueworker.dev/connection-secrets" not in annotations


def test_the_digest_cannot_be_made_without_the_secrets_uid() -> None:
    same_value = {"redis": dataclasses.replace(SECRETS["redis"], uid="guessed")}

    assert connection_digest(WITH_PASSWORD.redis, same_value) != connection_digest(WITH_PASSWORD.redis, SECRETS)


def test_the_digest_does_not_depend_on_the_order_of_secrets() -> None:
    spec = SPECS["sentinel-tls"]
    turned = dict(reversed([*SECRETS.items()]))

    assert connection_digest(spec.redis, turned) == connection_digest(spec.redis, SECRETS)


@given(first=st.tuples(st.binary(), st.binary()), second=st.tuples(st.binary(), st.binary()))
def test_values_do_not_run_into_each_other(first: tuple[bytes, bytes], second: tuple[bytes, bytes]) -> None:
    redis = spec_of(redis={"host": "r", "tls": {"clientCertificateSecretRef": {"name": "pair"}}}).redis

    def digest(pair: tuple[bytes, bytes]) -> str | None:
        certificate, key = pair
        data = {"tls.crt": certificate, "tls.key": key}
        return connection_digest(redis, {"pair": dataclasses.replace(SECRETS["redis"], name="pair", data=data)})

    assert (digest(first) == digest(second)) == (first == second)


def test_secrets_are_named_with_the_keys_in_use() -> None:
    redis = SPECS["sentinel-tls"].redis

    shared = {
        "sentinel": frozenset({"password"}),
        "redis-ca": frozenset({"ca.pem"}),
        "redis-client": frozenset({"tls.crt", "tls.key"}),
    }
    assert worker_secrets(redis) == {"redis": frozenset({"password"}), **shared}
    assert operator_secrets(redis) == {"redis": frozenset({"operator"}), **shared}
    assert operator_secrets(WITH_PASSWORD.redis) == worker_secrets(WITH_PASSWORD.redis)
