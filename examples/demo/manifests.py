"""The QueueWorkers of the demo: those of examples/, with the demo's short windows and servers laid over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from queueworker.settings import ConnectionSettings
from queueworker_operator.manifests.overlay import overlay

EXAMPLES = Path(__file__).parents[1]
OVERLAY = Path(__file__).with_name("overlay.yaml")
NAMES = ("killmail", "killmail-backfill")
JsonObject = dict[str, Any]


def queueworkers(redis: ConnectionSettings) -> list[JsonObject]:
    """Return the QueueWorkers, pointed at this Redis, which asks for no password."""
    patch = yaml.safe_load(OVERLAY.read_text())
    server = {"spec": {"redis": {"host": redis.host, "port": redis.port, "auth": None}}}
    return [_laid_over(name, patch["all"], patch["each"][name], server) for name in NAMES]


def secrets(database_url: str) -> list[JsonObject]:
    """Return the Secret that the QueueWorkers take the database from."""
    metadata = {"name": "killboard-database"}
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"url": database_url}}]


def _laid_over(name: str, *patches: Mapping[str, Any]) -> JsonObject:
    document = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    for patch in patches:
        document = overlay(document, patch)
    return document
