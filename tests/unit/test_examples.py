"""Every example is a QueueWorker of this release, down to the last field."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from examples.demo.manifests import documents, queueworkers

from queueworker.settings import ConnectionSettings
from queueworker_operator.api.v1alpha1 import GROUP, KIND, VERSION, QueueWorkerSpec, parse_spec
from queueworker_operator.cluster.resource import unknown_fields

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def documents_of(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def checked(document: dict[str, Any]) -> QueueWorkerSpec:
    spec = parse_spec(document["spec"], name=document["metadata"]["name"])
    assert unknown_fields(document, spec) == []
    return spec


def test_there_are_examples() -> None:
    assert len(FILES) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_valid_and_has_no_field_that_does_not_exist(path: Path) -> None:
    for document in documents_of(path):
        checked(document)
        assert (document["apiVersion"], document["kind"]) == (f"{GROUP}/{VERSION}", KIND)


def test_examples_have_names_of_their_own() -> None:
    names = [document["metadata"]["name"] for path in FILES for document in documents_of(path)]

    assert len(names) == len(set(names))


def test_the_page_of_the_examples_names_each_of_them() -> None:
    page = (EXAMPLES / "README.md").read_text()

    assert [path.name for path in FILES if f"({path.name})" not in page] == []


def test_the_demo_runs_examples_that_stay_valid_with_its_windows_laid_over() -> None:
    found = documents(ConnectionSettings(host="127.0.0.1", port=7000), "postgresql://localhost/demo")

    assert [one.key.name for one in found.resources] == ["killmail", "backfill"]
    for (_, laid), resource in zip(queueworkers(), found.resources, strict=True):
        checked(laid)
        assert resource.spec is not None
        assert (resource.spec.redis.port, resource.spec.redis.auth) == (7000, None)
