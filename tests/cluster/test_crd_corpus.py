"""What the API server refuses and takes, by the corpus in manifests/."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crdcorpus
import pytest
import yaml

from controlplane import Api, ApiError
from queueworker_operator.api.crd import crd as definition

ROOT = Path(__file__).parents[2]
SPEC_SCHEMA = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_corpus_is_large_enough() -> None:
    assert len(crdcorpus.BAD) >= 40
    assert len(crdcorpus.GOOD) >= 10


@pytest.mark.parametrize("path", crdcorpus.BAD, ids=crdcorpus.name_of)
def test_bad_manifest_is_refused_with_what_it_expects(api: Api, crd: str, path: Path) -> None:
    expected = crdcorpus.expectations(path)
    assert expected, f"{path.name} says not what it expects"
    with pytest.raises(ApiError) as refused:
        api.create(f"{crd}/namespaces/default/queueworkers?dryRun=All&fieldValidation=Strict", crdcorpus.load(path))
    for text in expected:
        assert text in refused.value.message


@pytest.mark.parametrize("path", crdcorpus.GOOD, ids=crdcorpus.name_of)
def test_good_manifest_is_read_back_with_the_declared_defaults_alone(
    api: Api, crd: str, namespace: str, path: Path
) -> None:
    manifest = crdcorpus.load(path)
    collection = f"{crd}/namespaces/{namespace}/queueworkers"
    api.create(f"{collection}?fieldValidation=Strict", manifest)
    stored = api.get(f"{collection}/{manifest['metadata']['name']}")
    assert stored["spec"] == crdcorpus.with_defaults(manifest["spec"], SPEC_SCHEMA)


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "examples").glob("*.yaml")), ROOT / "README.md"], ids=lambda p: p.name
)
def test_what_we_tell_people_to_apply_is_taken(api: Api, crd: str, path: Path) -> None:
    text = path.read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL) if path.suffix == ".md" else [text]
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    manifests = [document for document in documents if document["kind"] == "QueueWorker"]
    assert manifests
    for manifest in manifests:
        manifest["metadata"].pop("namespace", None)
        api.create(f"{crd}/namespaces/default/queueworkers?dryRun=All&fieldValidation=Strict", manifest)


def test_null_stands_for_left_out(api: Api, crd: str, namespace: str) -> None:
    manifest = crdcorpus.good("autoscaled")
    manifest["spec"] |= {"prefix": None, "replicas": None}
    manifest["spec"]["autoscaling"] |= {"minReplicas": None, "target": None}
    manifest["spec"]["autoscaling"] |= {"schedules": None, "onMetricsLoss": None, "throughputLimit": None}
    spec = api.create(f"{crd}/namespaces/{namespace}/queueworkers?fieldValidation=Strict", manifest)["spec"]
    assert spec["prefix"] == "bull"
    assert spec["autoscaling"]["minReplicas"] == 1
    assert spec["autoscaling"]["target"] == {"maxWaitSeconds": 30}
    assert "replicas" not in spec
    assert {"schedules", "onMetricsLoss", "throughputLimit"} & spec["autoscaling"].keys() == set()


def test_prefix_is_immutable(api: Api, crd: str, namespace: str) -> None:
    collection = f"{crd}/namespaces/{namespace}/queueworkers"
    api.create(collection, crdcorpus.good("queue-names"))
    for prefix in ("bull", None):
        with pytest.raises(
            ApiError, match=r"spec\.prefix: Invalid value: \"bull\": prefix is immutable.*create a Queue"
        ):
            api.patch(f"{collection}/queue-names", {"spec": {"prefix": prefix}})
    assert api.patch(f"{collection}/queue-names", {"spec": {"replicas": 2}})["spec"]["prefix"] == "app:eu:bull"


def test_the_way_from_a_fixed_number_to_autoscaling_and_back(api: Api, crd: str, namespace: str) -> None:
    collection = f"{crd}/namespaces/{namespace}/queueworkers"
    api.create(collection, crdcorpus.good("fixed"))
    with pytest.raises(ApiError, match="set replicas to null"):
        api.patch(f"{collection}/fixed", {"spec": {"autoscaling": {"maxReplicas": 5}}})
    spec = api.patch(f"{collection}/fixed", {"spec": {"replicas": None, "autoscaling": {"maxReplicas": 5}}})["spec"]
    assert "replicas" not in spec
    assert spec["autoscaling"]["behavior"] == {
        "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "tolerancePercent": 0},
        "scaleDown": {"stabilizationWindowSeconds": 120, "selectPolicy": "Max", "tolerancePercent": 10},
    }
    spec = api.patch(f"{collection}/fixed", {"spec": {"replicas": 2, "autoscaling": None}})["spec"]
    assert spec["replicas"] == 2
    assert "autoscaling" not in spec


def test_appliers_own_queues_and_variables_item_by_item(api: Api, crd: str, namespace: str) -> None:
    path = f"{crd}/namespaces/{namespace}/queueworkers/fixed"
    api.apply(path, crdcorpus.good("fixed"), manager="one")
    more = crdcorpus.good("fixed")
    more["spec"] = {
        "queues": [{"name": "price", "concurrency": 3}],
        "worker": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]},
    }
    stored = api.apply(path, more, manager="two")
    assert stored["spec"]["queues"] == [
        {"name": "killmail", "concurrency": 1, "sharePercent": 100},
        {"name": "price", "concurrency": 3, "sharePercent": 100},
    ]
    assert stored["spec"]["worker"]["env"] == [{"name": "LOG_LEVEL", "value": "debug"}]
    assert stored["spec"]["worker"]["image"] == "registry.example/worker:1"


def test_status_takes_reasons_that_this_crd_does_not_know(api: Api, crd: str, namespace: str) -> None:
    collection = f"{crd}/namespaces/{namespace}/queueworkers"
    api.create(collection, crdcorpus.good("fixed"))
    since = "2026-01-01T00:00:00Z"
    condition = {"type": "SpotReady", "status": "True", "reason": "Later", "message": "", "lastTransitionTime": since}
    status = {"scaling": {"desired": 3, "reason": "KeepUp", "message": "3"}, "conditions": [condition]}
    stored = api.patch(f"{collection}/fixed/status?fieldValidation=Strict", {"status": status})["status"]
    assert stored == status


def test_status_holds_one_condition_of_a_type(api: Api, crd: str, namespace: str) -> None:
    collection = f"{crd}/namespaces/{namespace}/queueworkers"
    api.create(collection, crdcorpus.good("fixed"))
    condition = {"type": "Ready", "status": "True", "reason": "RolledOut", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    with pytest.raises(ApiError, match=r"status\.conditions\[1\]: Duplicate value"):
        api.patch(f"{collection}/fixed/status", {"status": {"conditions": [condition, condition]}})


def test_names_are_served(api: Api, crd: str, eventually: Callable[..., Any]) -> None:
    def listed() -> Any:
        return [item for item in api.get(crd)["resources"] if item["name"] == "queueworkers"]

    (resource,) = eventually(listed)
    assert resource["shortNames"] == ["qw"]
    assert resource["categories"] == ["queueworker"]
    assert resource["singularName"] == "queueworker"
