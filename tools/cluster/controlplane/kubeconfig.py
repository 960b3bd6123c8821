"""Write kubeconfig files for the control plane, and tell ours from all others."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from controlplane.errors import ClusterError

CONTEXT = "queueworker-test"


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach an API server: `server` is a URL, `token` a bearer token."""

    server: str
    ca_file: Path
    token: str


def write_kubeconfig(path: Path, access: Access, *, namespace: str = "default") -> Path:
    """Write `access` as a kubeconfig (JSON, which is YAML) that only this user can read."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [
            {"name": CONTEXT, "cluster": {"server": access.server, "certificate-authority": str(access.ca_file)}}
        ],
        "users": [{"name": CONTEXT, "user": {"token": access.token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}}],
    }
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=1)
    return path


def read_own_kubeconfig(path: Path) -> Access:
    """Read a kubeconfig that `write_kubeconfig` wrote; refuse any other cluster, above all one with users in it."""
    document: dict[str, Any] = yaml.safe_load(path.read_text()) if path.is_file() else {}
    context = (document or {}).get("current-context")
    if context != CONTEXT:
        raise ClusterError(f"{path}: the current context is {context!r}; tests run on {CONTEXT!r} only")
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    if urlsplit(cluster["server"]).hostname != "127.0.0.1":
        raise ClusterError(f"{path}: the server is {cluster['server']}; tests run on 127.0.0.1 only")
    return Access(server=cluster["server"], ca_file=Path(cluster["certificate-authority"]), token=user["token"])
