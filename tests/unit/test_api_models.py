"""The models read what the CRD takes, and say in one line what they cannot read."""

from pathlib import Path
from typing import Any

import crdcorpus
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker_operator.api.crd import crd
from queueworker_operator.api.errors import InvalidSpecError
from queueworker_operator.api.v1alpha1 import Autoscaling, parse_spec

SPEC_SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


@pytest.mark.parametrize("path", crdcorpus.GOOD, ids=crdcorpus.name_of)
def test_models_say_what_the_server_stores(path: Path):
    manifest = crdcorpus.load(path)
    stored = crdcorpus.with_defaults(manifest["spec"], SPEC_SCHEMA)
    spec = parse_spec(stored, name=manifest["metadata"]["name"])
    dumped = spec.model_dump(by_alias=True, exclude_unset=True)
    assert dumped == stored


@pytest.mark.parametrize("path", crdcorpus.GOOD, ids=crdcorpus.name_of)
def test_models_have_the_servers_defaults(path: Path):
    raw = crdcorpus.load(path)["spec"]
    assert parse_spec(raw) == parse_spec(crdcorpus.with_defaults(raw, SPEC_SCHEMA))


def test_fields_of_a_newer_version_are_ignored():
    raw = crdcorpus.good("fixed")["spec"] | {"targetRef": {"name": "other"}}
    assert parse_spec(raw) == parse_spec(crdcorpus.good("fixed")["spec"])


def changed(**changes: Any) -> dict[str, Any]:
    """Return a good spec with some top-level fields replaced, removed where None."""
    spec = crdcorpus.good("fixed")["spec"] | changes
    return {key: value for key, value in spec.items() if value is not None}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (changed(worker=None), "spec.worker: Field required"),
        (changed(queues=[{"concurrency": 1}]), "spec.queues[0].name: Field required"),
        (changed(queues=["killmail"]), "spec.queues[0]: Input should be a valid dictionary or instance of Queue"),
        (changed(replicas=None, autoscaling={}), "spec.autoscaling.maxReplicas: Field required"),
        (changed(replicas="many", prefix=""), "spec.prefix: String should have at least 1 character (and 1 more)"),
        (changed(redis=[]), "spec.redis: Input should be a valid dictionary or instance of Redis"),
        (
            changed(worker={"image": "w", "resources": {"limits": {"cpu": -1}}}),
            "spec.worker.resources.limits.cpu: Input should be greater than or equal to 0 (and 1 more)",
        ),
        (
            changed(autoscaling={"maxReplicas": 3}),
            "spec: replicas and autoscaling exclude each other; remove one of them",
        ),
        (changed(replicas=None), "spec: one of replicas and autoscaling is needed"),
        (
            changed(replicas=None, autoscaling={"minReplicas": 5, "maxReplicas": 3}),
            "spec.autoscaling.minReplicas: minReplicas (5) exceeds maxReplicas (3); lower the one or raise the other",
        ),
        (changed(redis={}), "spec.redis: exactly one of host, sentinel and cluster is needed, not none"),
        (
            changed(redis={"host": "a", "cluster": {"nodes": [{"host": "b"}]}}),
            "spec.redis: exactly one of host, sentinel and cluster is needed, not host and cluster",
        ),
        (changed(queues=[{"name": "a:b"}]), "spec.queues[0].name: a queue name holds no ':'"),
        (changed(queues=[{"name": "a"}, {"name": "a"}]), "spec.queues[1].name: this queue is listed twice"),
        ({}, "spec.queues: Field required (and 2 more)"),
    ],
)
def test_invalid_spec_is_one_line_that_names_the_field(raw: dict[str, Any], line: str):
    with pytest.raises(InvalidSpecError) as refused:
        parse_spec(raw)
    assert str(refused.value) == line


def test_name_is_checked_where_it_is_known():
    spec = crdcorpus.good("fixed")["spec"]
    parse_spec(spec, name="a" * 52)
    with pytest.raises(InvalidSpecError, match=r"metadata\.name: has 53 characters, at most 52 are allowed"):
        parse_spec(spec, name="a" * 53)


def test_no_value_is_repeated():
    raw = changed(worker={"image": "w", "env": [{"name": "TOKEN", "value": ["hunter2"]}]})
    with pytest.raises(InvalidSpecError) as refused:
        parse_spec(raw)
    assert str(refused.value) == "spec.worker.env[0].value: Input should be a valid string"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SPEC = st.fixed_dictionaries(
    {}, optional={key: JSON for key in ("queues", "prefix", "redis", "worker", "replicas", "autoscaling")}
)


@given(raw=st.dictionaries(st.text(max_size=8), JSON, max_size=3) | SPEC)
def test_any_stored_spec_is_read_or_refused_in_one_line(raw: dict[str, Any]):
    message = ""
    try:
        parse_spec(raw)
    except InvalidSpecError as error:
        message = str(error)
    assert message == "" or message.startswith("spec")
    assert "\n" not in message


@given(low=st.integers(0, 10000), high=st.integers(1, 10000))
def test_limits_are_refused_exactly_where_the_rule_refuses(low: int, high: int):
    raw = changed(replicas=None, autoscaling={"minReplicas": low, "maxReplicas": high})
    if low <= high:
        assert parse_spec(raw).autoscaling == Autoscaling(min_replicas=low, max_replicas=high)
    else:
        with pytest.raises(InvalidSpecError, match="exceeds maxReplicas"):
            parse_spec(raw)
