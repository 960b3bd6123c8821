"""The chart: what it renders is valid, restricted, and grants exactly the one source of rights."""

import re

import helm_python
import kubernetes_validate
import pytest
import yaml
from helmchart import CHART, ROOT, of_kind, render

KUBERNETES_VERSION = "1.35"
VARIANTS = {
    "defaults": {},
    "namespaces": {"watchNamespaces": ["red", "blue"]},
    "no extras": {"crds": {"enabled": False}, "rbac": {"aggregateClusterRoles": False}},
    "everything set": {
        "image": {"digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
        "operator": {"allowLoopbackRedis": True, "extraEnv": [{"name": "A", "value": "b"}]},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "serviceAccount": {"name": "other", "annotations": {"e": "f"}},
    },
}


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_every_object_is_valid(values):
    for rendered in render(values):
        kubernetes_validate.validate(rendered, KUBERNETES_VERSION, strict=True)


def test_lint_finds_nothing_but_the_missing_icon():
    report = helm_python.lint(str(CHART), strict=True)
    assert report["errors"] == []
    assert {message["error"] for message in report["messages"]} <= {"icon is recommended"}


def test_the_operator_meets_the_restricted_level():
    pod = of_kind(render(), "Deployment")[0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    assert not any("hostPath" in volume for volume in pod["volumes"])


def test_one_operator_at_a_time():
    spec = of_kind(render(), "Deployment")[0]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_rights_are_the_one_source():
    rules = yaml.safe_load((CHART / "files/rbac.yaml").read_text())
    names = [role["metadata"]["name"] for role in of_kind(render(), "ClusterRole") if role["rules"] == rules]
    assert names == ["queueworker"]
    roles = of_kind(render({"watchNamespaces": ["red", "blue"]}), "Role")
    assert {role["metadata"]["namespace"]: role["rules"] == rules for role in roles} == {"red": True, "blue": True}


@pytest.mark.parametrize("namespaces", [[], ["red"]])
def test_further_kinds_of_targets_get_their_scale_and_nothing_else(namespaces):
    rules = yaml.safe_load((CHART / "files/rbac.yaml").read_text())
    further = {"extraScaleTargets": [{"apiGroup": "fleets.example.com", "resource": "fleets"}]}
    objects = render({"rbac": further, "watchNamespaces": namespaces})
    [role] = [role for role in objects if role["kind"] in ("Role", "ClusterRole") and rules[0] in role["rules"]]
    added = {"apiGroups": ["fleets.example.com"], "resources": ["fleets/scale"], "verbs": ["get", "patch"]}
    assert role["rules"] == [*rules, added]


def test_the_rights_are_few():
    rules = yaml.safe_load((CHART / "files/rbac.yaml").read_text())
    for rule in rules:
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert not {resource for resource, _ in granted} & {"pods/exec", "roles", "clusterroles", "namespaces"}
    assert ("queueworkers", "patch") not in granted
    assert ("queueworkers", "delete") not in granted


def test_with_watched_namespaces_nothing_is_granted_in_others():
    objects = render({"watchNamespaces": ["red"], "rbac": {"aggregateClusterRoles": False}})
    assert of_kind(objects, "ClusterRole") == []
    assert of_kind(objects, "ClusterRoleBinding") == []
    environment = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "QUEUEWORKER_OPERATOR_NAMESPACES", "value": "red"} in environment


def test_the_crd_is_the_generated_one_and_stays_on_uninstall():
    source = yaml.safe_load((ROOT / "crds/queueworkers.yaml").read_text())
    rendered = of_kind(render(), "CustomResourceDefinition")[0]
    assert rendered["spec"] == source["spec"]
    assert rendered["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    without_keep = of_kind(render({"crds": {"keep": False}}), "CustomResourceDefinition")[0]
    assert "helm.sh/resource-policy" not in without_keep["metadata"].get("annotations", {})
    assert of_kind(render({"crds": {"enabled": False}}), "CustomResourceDefinition") == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"imag": {}}, "imag"),
        ({"image": {"tga": "1"}}, "tga"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"metrics": {"port": 80}}, "port"),
        ({"watchNamespaces": "red"}, "watchNamespaces"),
        ({"rbac": {"extraScaleTargets": [{"apiGroup": "a.b", "resource": "*"}]}}, "resource"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values, named):
    with pytest.raises(helm_python.HelmValuesError, match=named):
        render(values)


def test_the_versions_agree():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    projects = [(ROOT / part / "pyproject.toml").read_text() for part in ("client", "worker", "operator")]
    versions = {re.search(r'^version = "(.+)"$', text, re.MULTILINE)[1] for text in projects}
    assert versions == {chart["version"]} == {chart["appVersion"]}
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^VERSION := (.+)$", makefile, re.MULTILINE)[1] == chart["version"]
