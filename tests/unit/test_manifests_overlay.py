"""podTemplate laid over a template, and the contract that no podTemplate changes."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from manifest_specs import OWNER, PASSWORD, SECRETS, TLS, spec_of

from queueworker_operator.manifests import ManifestError, render_deployment
from queueworker_operator.manifests.environment import contract_environment, is_contract
from queueworker_operator.manifests.overlay import overlay

SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.text("ab$()", max_size=4)
NAMES = st.sampled_from(
    ["worker", "tmp", "data", "queueworker-tls", "QUEUEWORKER_PREFIX", "QUEUEWORKER_REDIS_HOST", "MODE"]
)
VARIABLES = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"value": SCALARS, "valueFrom": SCALARS}), max_size=3
)
MOUNTS = st.lists(
    st.fixed_dictionaries(
        {"mountPath": st.sampled_from(["/tmp", "/etc/queueworker/tls", "/etc/queueworker/tls/"])},
        optional={"name": NAMES},
    ),
    max_size=3,
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {}, optional={"name": NAMES, "image": SCALARS, "env": VARIABLES | SCALARS, "volumeMounts": MOUNTS | SCALARS}
    ),
    max_size=3,
)
POD_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "containers": CONTAINERS | SCALARS,
        "volumes": st.lists(st.fixed_dictionaries({"name": NAMES}, optional={"emptyDir": SCALARS}), max_size=3)
        | SCALARS,
        "terminationGracePeriodSeconds": SCALARS,
        "nodeSelector": st.dictionaries(NAMES, SCALARS, max_size=2),
    },
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        field: st.dictionaries(
            st.sampled_from(["queueworker.dev/queueworker", "queueworker.dev/connection-secrets", "team"]),
            SCALARS,
            max_size=3,
        )
        | SCALARS
        for field in ("labels", "annotations")
    },
)
TEMPLATES = st.fixed_dictionaries({}, optional={"metadata": METADATA | SCALARS, "spec": POD_SPECS | SCALARS})
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


@given(base=st.dictionaries(NAMES, JSON))
def test_nothing_laid_over_changes_nothing(base: dict[str, Any]) -> None:
    assert overlay(base, {}) == base


@given(base=TEMPLATES, patch=TEMPLATES)
def test_neither_side_is_changed(base: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy((base, patch))

    overlay(base, patch)

    assert (base, patch) == before


@given(base=TEMPLATES, patch=TEMPLATES)
@example(base={}, patch={"spec": {"containers": [{"name": "worker", "volumeMounts": None}]}})
def test_laying_over_twice_is_laying_over_once(base: dict[str, Any], patch: dict[str, Any]) -> None:
    once = overlay(base, patch)

    assert overlay(once, patch) == once


@given(template=TEMPLATES)
def test_the_contract_wins_over_any_template(template: dict[str, Any]) -> None:
    spec = spec_of(
        redis={"host": "redis", "auth": PASSWORD, "tls": TLS},
        worker={"podTemplate": template, "healthPort": 8080, "drainTimeoutSeconds": 30},
    )
    try:
        body = render_deployment(OWNER, spec, SECRETS)
    except ManifestError:
        return

    plain = render_deployment(OWNER, spec_of(redis={"host": "redis", "auth": PASSWORD, "tls": TLS}), SECRETS)
    pod, metadata = body["spec"]["template"]["spec"], body["spec"]["template"]["metadata"]
    workers = [container for container in pod["containers"] if container.get("name") == "worker"]
    assert workers
    for worker in workers:
        contract = contract_environment(spec)
        assert worker["env"][: len(contract)] == contract
        assert not any(is_contract(variable["name"]) for variable in worker["env"][len(contract) :])
        mounts = [mount for mount in worker["volumeMounts"] if mount["mountPath"].startswith("/etc/queueworker")]
        assert mounts == [{"name": "queueworker-tls", "mountPath": "/etc/queueworker/tls", "readOnly": True}]
    assert pod["terminationGracePeriodSeconds"] == 45
    assert next(volume for volume in pod["volumes"] if volume["name"] == "queueworker-tls")["projected"]
    assert metadata["labels"]["queueworker.dev/queueworker"] == "killmail"
    name = "queueworker.dev/connection-secrets"
    assert metadata["annotations"][name] == plain["spec"]["template"]["metadata"]["annotations"][name]
    assert body["metadata"]["ownerReferences"] == plain["metadata"]["ownerReferences"]
    assert body["spec"]["selector"] == plain["spec"]["selector"]


def test_items_match_by_their_key() -> None:
    base = {
        "containers": [
            {
                "name": "worker",
                "image": "a",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "ports": [{"containerPort": 1, "name": "x"}],
                "volumeMounts": [{"mountPath": "/a", "name": "a"}],
                "args": ["one"],
            }
        ],
        "volumes": [{"name": "a", "emptyDir": {}}],
    }
    patch = {
        "containers": [
            {
                "name": "worker",
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}, {"name": "C", "value": "3"}],
                "ports": [{"containerPort": 1, "protocol": "UDP"}, {"containerPort": 2}],
                "volumeMounts": [{"mountPath": "/a", "readOnly": True}],
                "args": ["two"],
            },
            {"name": "sidecar", "image": None},
        ],
        "volumes": [{"name": "a", "secret": {"secretName": "s"}}],
    }

    assert overlay(base, patch) == {
        "containers": [
            {
                "name": "worker",
                "image": "a",
                "env": [
                    {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}},
                    {"name": "B", "value": "2"},
                    {"name": "C", "value": "3"},
                ],
                "ports": [{"containerPort": 1, "name": "x", "protocol": "UDP"}, {"containerPort": 2}],
                "volumeMounts": [{"mountPath": "/a", "name": "a", "readOnly": True}],
                "args": ["two"],
            },
            {"name": "sidecar"},
        ],
        "volumes": [{"name": "a", "secret": {"secretName": "s"}}],
    }


def test_null_removes() -> None:
    assert overlay({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None}, "d": None, "e": None}) == {"a": {"c": 2}}
