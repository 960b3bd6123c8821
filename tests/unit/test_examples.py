"""Every example is a QueueWorker of this release, down to the last field."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from queueworker_operator.api.v1alpha1 import GROUP, KIND, VERSION
from queueworker_operator.manifests.overlay import overlay
from queueworker_operator.resource import read_spec, unknown_fields

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_there_are_examples() -> None:
    assert len(FILES) >= 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_valid_and_has_no_field_that_does_not_exist(path: Path) -> None:
    for document in documents(path):
        spec, errors = read_spec(document)

        assert (document["apiVersion"], document["kind"]) == (f"{GROUP}/{VERSION}", KIND)
        assert errors == []
        assert spec is not None
        assert unknown_fields(document, spec) == []


def test_examples_have_names_of_their_own() -> None:
    names = [document["metadata"]["name"] for path in FILES for document in documents(path)]

    assert len(names) == len(set(names))


def test_the_page_of_the_examples_names_each_of_them() -> None:
    page = (EXAMPLES / "README.md").read_text()

    assert [path.name for path in FILES if f"({path.name})" not in page] == []


@pytest.mark.parametrize("name", ["killmail", "killmail-backfill"])
def test_an_example_stays_valid_with_the_demo_laid_over(name: str) -> None:
    patch = yaml.safe_load((EXAMPLES / "demo" / "overlay.yaml").read_text())
    document = documents(EXAMPLES / f"{name}.yaml")[0]
    laid = overlay(overlay(document, patch["all"]), patch["each"][name])

    spec, errors = read_spec(laid)

    assert errors == []
    assert spec is not None
    assert unknown_fields(laid, spec) == []
