"""The QueueWorkers of the demo: those of examples/ with the demo's short windows laid over, and its Secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from queueworker.settings import ConnectionSettings
from queueworker_operator.documents import Documents, of_documents
from queueworker_operator.manifests.overlay import overlay

EXAMPLES = Path(__file__).parents[1]
OVERLAY = Path(__file__).with_name("overlay.yaml")
FILES = ("killmail.yaml", "killmail-backfill.yaml")
JsonObject = dict[str, Any]


def queueworkers() -> list[tuple[str, JsonObject]]:
    """Return the QueueWorkers, each with its place for messages."""
    patch = yaml.safe_load(OVERLAY.read_text())
    return [(f"{file} with {OVERLAY.name}", _laid_over(EXAMPLES / file, patch)) for file in FILES]


def documents(redis: ConnectionSettings, database_url: str) -> Documents:
    """Return all that is to run, on this Redis, which asks for no password, and this database."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "killboard-database"},
        "stringData": {"url": database_url},
    }
    return of_documents([*queueworkers(), ("the database's Secret", secret)]).on_redis(redis, keep_auth=False)


def _laid_over(path: Path, patch: JsonObject) -> JsonObject:
    document: JsonObject = yaml.safe_load(path.read_text())
    return overlay(overlay(document, patch["all"]), patch["each"][document["metadata"]["name"]])
