"""Renders the chart as `helm install` would, by Helm's own library (the helm-python-sdk wheel)."""

from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/queueworker"


def render(
    values: dict[str, Any] | None = None, *, name: str = "queueworker", namespace: str = "queueworker-system"
) -> list[dict[str, Any]]:
    """Return every object of a release."""
    chart = helm_python.Chart.load(str(CHART))
    try:
        templates = chart.render(values=values or {}, name=name, namespace=namespace)
    finally:
        chart.close()
    manifests = (text for path, text in sorted(templates.items()) if not path.endswith("NOTES.txt"))
    return [document for text in manifests for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [found for found in objects if found["kind"] == kind]
