"""The models read what the CRD takes, and say in one line what they cannot read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import crdcorpus
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueworker_operator.api.crd import crd
from queueworker_operator.api.errors import InvalidSpecError
from queueworker_operator.api.v1alpha1 import Autoscaling, QueueWorkerSpec, name, parse_spec
from queueworker_operator.api.v1alpha1.base import ApiModel
from queueworker_operator.api.v1alpha1.checking import checked_fields
from queueworker_operator.api.v1alpha1.rules import LIST_MAP_KEYS, VALIDATIONS
from queueworker_operator.cluster.resource import resource_of, unknown_fields

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
    raw = crdcorpus.good("fixed")["spec"] | {"spotTiers": [{"name": "other"}]}
    assert parse_spec(raw) == parse_spec(crdcorpus.good("fixed")["spec"])


def changed(**changes: Any) -> dict[str, Any]:
    """Return a good spec with some top-level fields replaced, removed where None."""
    spec = crdcorpus.good("fixed")["spec"] | changes
    return {key: value for key, value in spec.items() if value is not None}


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (
            changed(worker=None),
            "spec: one of worker and targetRef is needed: set worker.image to have pods made, or targetRef to scale "
            "a Deployment that exists",
        ),
        (
            changed(targetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "mail"}),
            "spec: worker and targetRef exclude each other: remove worker to scale what targetRef names, or remove "
            "targetRef to have pods made of worker",
        ),
        (
            changed(worker=None, targetRef={"kind": "Deployment"}),
            "spec.targetRef.apiVersion: Field required (and 1 more)",
        ),
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
            "spec: replicas and autoscaling exclude each other: to change the limits set autoscaling.minReplicas or "
            "autoscaling.maxReplicas, to scale by hand remove autoscaling, to scale on the backlog set replicas "
            "to null",
        ),
        (
            changed(replicas=None),
            "spec: one of replicas and autoscaling is needed: set replicas for a fixed number of pods, or "
            "autoscaling.maxReplicas to follow the backlog",
        ),
        (
            changed(replicas=None, autoscaling={"minReplicas": 5, "maxReplicas": 3}),
            "spec.autoscaling.minReplicas: minReplicas (5) must not exceed maxReplicas (3): lower "
            "autoscaling.minReplicas or raise autoscaling.maxReplicas",
        ),
        (
            changed(
                replicas=None,
                autoscaling={
                    "maxReplicas": 3,
                    "schedules": [
                        {"cron": "0 8 * * *", "durationSeconds": 60, "minReplicas": 3},
                        {"cron": "0 9 * * *", "durationSeconds": 60, "minReplicas": 4},
                    ],
                },
            ),
            "spec.autoscaling.schedules: minReplicas of a schedule must not exceed maxReplicas (3): lower it, or raise "
            "autoscaling.maxReplicas",
        ),
        *(
            (
                changed(
                    replicas=None,
                    autoscaling={
                        "maxReplicas": 3,
                        "schedules": [{"cron": cron, "durationSeconds": 60, "minReplicas": 3}],
                    },
                ),
                "spec.autoscaling.schedules[0].cron: a cron expression has five fields: minute hour day month weekday, "
                "such as '0 8 * * 1-5'",
            )
            for cron in ("8 * * 1", "0 0 8 * * 1-5", "0\t8 * * 1-5", " 0 8 * * 1", "@hourly", "")
        ),
        (
            changed(replicas=None, autoscaling={"maxReplicas": 3, "onMetricsLoss": {"replicas": 4}}),
            "spec.autoscaling.onMetricsLoss: onMetricsLoss.replicas must not exceed maxReplicas (3): lower it, or "
            "raise autoscaling.maxReplicas",
        ),
        (
            changed(redis={}),
            "spec.redis: one of host, sentinel and cluster is needed: set redis.host for a single server",
        ),
        (
            changed(redis={"host": "a", "cluster": {"nodes": [{"host": "b"}]}}),
            "spec.prefix: prefix (bull) needs a hash tag with redis.cluster, so that all keys of a queue lie in one "
            "slot: put it in braces, as producers and workers must too (and 1 more)",
        ),
        (
            changed(queues=[{"name": "a:b"}]),
            "spec.queues[0].name: a queue name holds no ':'; what stands before the colon goes into spec.prefix",
        ),
        (
            changed(queues=[{"name": "a"}, {"name": "a"}]),
            "spec.queues[1].name: is listed twice: remove one of the two",
        ),
        (
            changed(queues=[{"name": "a", "concurrency": "4"}]),
            "spec.queues[0].concurrency: Input should be a valid integer",
        ),
        ({}, "spec.queues: Field required (and 1 more)"),
    ],
)
def test_invalid_spec_is_one_line_that_names_the_field(raw: dict[str, Any], line: str):
    with pytest.raises(InvalidSpecError) as refused:
        parse_spec(raw)
    assert str(refused.value) == line


# What only the API server finds: its schema of podTemplate closes what the model leaves open.
SERVER_ALONE = {"worker-pod-template-label", "worker-pod-template-name", "worker-pod-template-without-spec"}
# The pattern speaks first, and says less.
BY_PATTERN = {"redis-host-url"}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from nodes(item)
    elif isinstance(schema, dict):
        yield schema
        for item in schema.values():
            yield from nodes(item)


RULES = [rule for node in nodes(crd()) for rule in node.get(VALIDATIONS, ())]
SENTENCES = re.sub(r" \(%[ds]\)", "", "\n".join(rule.get("messageExpression", rule["message"]) for rule in RULES))


@pytest.mark.parametrize("path", crdcorpus.BAD, ids=crdcorpus.name_of)
def test_what_the_server_refuses_is_refused_in_a_file_by_the_sentence_of_the_same_rule(path: Path):
    manifest = crdcorpus.load(path)
    resource = resource_of(manifest)
    unknown = unknown_fields(manifest, resource.spec) if resource.spec is not None else []
    if path.stem in SERVER_ALONE:
        assert (resource.spec_error, unknown) == (None, [])
        return
    assert resource.spec_error or unknown
    for text in crdcorpus.expectations(path):
        told = re.sub(r'^".*": ', "", text)
        if re.sub(r" \([^)]*\)", "", told) in SENTENCES and path.stem not in BY_PATTERN:
            assert told in (resource.spec_error or "")


def models_of(annotation: Any) -> Iterator[type[ApiModel]]:
    """Yield a model and all that are within it, each as often as it stands there."""
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_of(field.annotation)
    for part in get_args(annotation):
        yield from models_of(part)


def test_no_rule_and_no_key_of_a_list_in_the_crd_is_unknown_here():
    models = set(models_of(QueueWorkerSpec))
    fields = [field for model in models for field in checked_fields(model)]
    here = [*name.RULES, *(rule for one in (*models, *fields) for rule in one.rules)]
    assert {rule.rule.cel for rule in here} == {rule["rule"] for rule in RULES}
    # Each list of these stands in one place.
    there = [key for node in nodes(SPEC_SCHEMA) for key in node.get(LIST_MAP_KEYS, ())]
    assert sorted(key for field in fields for key in field.keys) == sorted(there)


def test_name_is_checked_where_it_is_known():
    spec = crdcorpus.good("fixed")["spec"]
    parse_spec(spec, name="a" * 52)
    with pytest.raises(InvalidSpecError, match=r"metadata\.name has too many characters \(53\): at most 52, because"):
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
        with pytest.raises(InvalidSpecError, match="must not exceed maxReplicas"):
            parse_spec(raw)
