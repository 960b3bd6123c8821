"""The corpus of QueueWorker manifests that the API server must refuse or take, and the CRD's defaults over one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_DIRECTORY = Path(__file__).parent / "cluster" / "manifests"
GOOD = sorted((_DIRECTORY / "good").glob("*.yaml"))
BAD = sorted((_DIRECTORY / "bad").glob("*.yaml"))


def name_of(path: Path) -> str:
    """Return what to call a manifest in a test's name."""
    return path.stem


def load(path: Path) -> dict[str, Any]:
    """Return the manifest as an object."""
    manifest: dict[str, Any] = yaml.safe_load(path.read_text())
    return manifest


def good(name: str) -> dict[str, Any]:
    """Return one of the good manifests."""
    return load(_DIRECTORY / "good" / f"{name}.yaml")


def expectations(path: Path) -> list[str]:
    """Return what the refusal must say: the lines `# expect: ...` of a bad manifest."""
    marker = "# expect: "
    return [line.removeprefix(marker) for line in path.read_text().splitlines() if line.startswith(marker)]


def with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """Return the value as the API server stores it: with the schema's defaults in every object that is there."""
    if isinstance(value, list):
        return [with_defaults(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    filled = {key: known[key]["default"] for key in known if "default" in known[key]} | value
    return {key: with_defaults(item, known[key]) if key in known else item for key, item in filled.items()}
