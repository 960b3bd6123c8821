"""The generated CRD: its bytes, and what holds for every field of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crdcorpus
import kubernetes_validate
import pytest
import typer
import yaml
from typer.testing import CliRunner

from queueworker_operator.api.crd import chart_yaml, crd, crd_yaml
from queueworker_operator.cli.crd import register

ROOT = Path(__file__).parents[2]
SCHEMA = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
# What `kubectl get -o yaml` shows beside what the user wrote. A change here changes the API.
DEFAULTS = {
    "spec.queues[].concurrency": 1,
    "spec.queues[].sharePercent": 100,
    "spec.prefix": "bull",
    "spec.redis.tls.insecureSkipVerify": False,
    "spec.worker.drainTimeoutSeconds": 60,
    "spec.autoscaling.minReplicas": 1,
    "spec.autoscaling.target": {},
    "spec.autoscaling.target.maxWaitSeconds": 30,
    "spec.autoscaling.behavior": {},
    "spec.autoscaling.behavior.scaleUp": {},
    "spec.autoscaling.behavior.scaleUp.stabilizationWindowSeconds": 0,
    "spec.autoscaling.behavior.scaleUp.selectPolicy": "Max",
    "spec.autoscaling.behavior.scaleUp.tolerancePercent": 0,
    "spec.autoscaling.behavior.scaleDown": {},
    "spec.autoscaling.behavior.scaleDown.stabilizationWindowSeconds": 120,
    "spec.autoscaling.behavior.scaleDown.selectPolicy": "Max",
    "spec.autoscaling.behavior.scaleDown.tolerancePercent": 10,
    "spec.autoscaling.cooldownSeconds": 60,
    "spec.autoscaling.schedules[].timeZone": "UTC",
    "spec.autoscaling.whenQueuePaused": "ScaleDown",
    "spec.autoscaling.onMetricsLoss.afterSeconds": 300,
    "spec.autoscaling.paused": False,
    "spec.autoscaling.dryRun": False,
}
Field = tuple[str, dict[str, Any]]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[Field]:
    """Yield every node of the schema below this one with its path."""
    for name, value in schema.get("properties", {}).items():
        yield f"{path}.{name}".lstrip("."), value
        yield from fields(value, f"{path}.{name}".lstrip("."))
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if key in schema:
            yield path + mark, schema[key]
            yield from fields(schema[key], path + mark)


FIELDS = dict(fields(SCHEMA))
OURS = {path: value for path, value in FIELDS.items() if path.startswith(("spec", "status"))}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("crds/queueworkers.yaml", crd_yaml()),
        ("charts/queueworker/templates/crds/queueworkers.yaml", chart_yaml()),
    ],
)
def test_files_are_what_the_models_say(file: str, content: str):
    assert (ROOT / file).read_bytes() == content.encode(), f"{file} is stale: run `make crds`"


def test_bytes_do_not_change_from_call_to_call():
    assert crd_yaml() == crd_yaml()
    assert yaml.safe_load(crd_yaml()) == crd()


def test_chart_copy_is_the_crd_between_template_lines():
    lines = chart_yaml().splitlines()
    assert lines[1] == "{{- if .Values.crds.enabled }}"
    assert lines[-1] == "{{- end }}"
    copy = yaml.safe_load("\n".join(line for line in lines if "{{" not in line))
    assert copy.pop("metadata")["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert copy == {key: value for key, value in crd().items() if key != "metadata"}


def test_crd_is_valid_for_kubernetes():
    for version in ("1.30", "1.35"):
        kubernetes_validate.validate(crd(), version, strict=True)


def test_client_side_apply_would_fit():
    assert len(crd_yaml()) < 262_144


def test_every_field_is_described():
    named = [path for path in FIELDS if not path.endswith(("[]", "{}")) and path != "metadata"]
    assert [path for path in named if not FIELDS[path].get("description", "").strip().endswith(".")] == []


def test_every_string_list_and_map_is_bounded():
    unbounded = []
    for path, schema in OURS.items():
        kind = schema.get("type", "string")
        bounds = {
            "string": {"maxLength", "enum"},
            "array": {"maxItems"},
            "object": {"properties", "maxProperties"},
        }
        if not bounds.get(kind, set(schema)) & set(schema) and schema.get("format") != "date-time":
            unbounded.append(path)
    assert unbounded == []


def test_every_integer_has_a_format_and_a_limit_below():
    integers = {path: schema for path, schema in OURS.items() if schema.get("type") == "integer"}
    assert {schema.get("format") for schema in integers.values()} == {"int32", "int64"}
    assert [path for path, schema in integers.items() if "minimum" not in schema] == []
    assert [path for path, s in integers.items() if path.startswith("spec") and "maximum" not in s] == []


def test_only_the_pod_template_takes_unknown_fields():
    marked = [path for path, schema in FIELDS.items() if schema.get("x-kubernetes-preserve-unknown-fields")]
    assert marked == ["spec.worker.podTemplate.spec"]


def test_defaults_are_the_declared_ones():
    assert {path: schema["default"] for path, schema in FIELDS.items() if "default" in schema} == DEFAULTS


def test_lists_that_are_maps():
    keys = {p: s["x-kubernetes-list-map-keys"] for p, s in FIELDS.items() if s.get("x-kubernetes-list-type") == "map"}
    assert keys == {
        "spec.queues": ["name"],
        "spec.worker.env": ["name"],
        "spec.worker.imagePullSecrets": ["name"],
        "status.conditions": ["type"],
    }


def test_every_rule_names_a_remedy_in_a_constant_text():
    rules = [r for s in [SCHEMA, *FIELDS.values()] for r in s.get("x-kubernetes-validations", [])]
    assert len(rules) >= 20
    for rule in rules:
        assert "%" not in rule["message"], "the fallback is no format"
        assert len(rule["message"]) > 40, rule
        # Concatenating string(...) exceeds the server's cost budget.
        assert "string(" not in rule.get("messageExpression", "")


def texts(rule: dict[str, str]) -> list[str]:
    """Return what the rule can say, up to the first value."""
    quoted = [
        text.replace("\\'", "'") for text in re.findall(r"'((?:[^'\\]|\\.)*)'", rule.get("messageExpression", ""))
    ]
    return [text.partition(" (%")[0] for text in quoted or [rule["message"]]]


def test_every_text_of_a_rule_is_seen_in_the_corpus():
    expected = "\n".join(line for path in crdcorpus.BAD for line in crdcorpus.expectations(path))
    rules = [r for s in [SCHEMA, *FIELDS.values()] for r in s.get("x-kubernetes-validations", [])]
    unseen = {text for rule in rules for text in texts(rule) if text[:24] not in expected}
    # It takes an update: test_prefix_is_immutable.
    assert {text[:19] for text in unseen} == {"prefix is immutable"}


def test_command_prints_the_crd():
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    assert CliRunner().invoke(app, ["crd"]).stdout == crd_yaml()
    assert CliRunner().invoke(app, ["crd", "--chart"]).stdout == chart_yaml()
