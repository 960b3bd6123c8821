"""What a user of kubectl sees of the CRD: columns, scale, explain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import crdcorpus
import pytest
import yaml

from controlplane import Api, ApiError, ControlPlane

STATUS = {
    "replicas": 4,
    "readyReplicas": 3,
    "selector": "queueworker.dev/queueworker=autoscaled",
    "scaling": {
        "desired": 4,
        "reason": "BacklogAboveTarget",
        "message": "4 of 1-20 replicas: backlog 80 at 20 per replica needs 4",
        "inputs": {"backlog": 80, "active": 30, "delayed": 7, "oldestAgeSeconds": 12},
    },
    "conditions": [
        {"type": "Paused", "status": "False", "reason": "NotPaused", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Ready", "status": "True", "reason": "RolledOut", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ],
}


def created(api: Api, crd: str, namespace: str, name: str) -> str:
    """Create a good manifest and return its path."""
    collection = f"{crd}/namespaces/{namespace}/queueworkers"
    api.create(collection, crdcorpus.good(name))
    return f"{collection}/{name}"


def table(control_plane: ControlPlane, namespace: str, *arguments: str) -> list[list[str]]:
    return [line.split() for line in control_plane.kubectl("get", "-n", namespace, *arguments).stdout.splitlines()]


def test_get_shows_the_decision(api: Api, control_plane: ControlPlane, crd: str, namespace: str) -> None:
    path = created(api, crd, namespace, "autoscaled")
    api.patch(f"{path}/status", {"status": STATUS})
    header, row = table(control_plane, namespace, "qw")
    assert header == ["NAME", "QUEUE", "REPLICAS", "READY", "BACKLOG", "AGE-OLDEST", "REASON", "READY?", "AGE"]
    assert row[:-1] == ["autoscaled", "killmail", "4", "3", "80", "12", "BacklogAboveTarget", "True"]


def test_get_wide_shows_limits_and_numbers(api: Api, control_plane: ControlPlane, crd: str, namespace: str) -> None:
    path = created(api, crd, namespace, "autoscaled")
    api.patch(f"{path}/status", {"status": STATUS})
    header, row = table(control_plane, namespace, "queueworker", "autoscaled", "-o", "wide")
    assert header[9:] == ["MIN", "MAX", "ACTIVE", "DELAYED", "PAUSED", "LASTSCALE"]
    assert row[9:] == ["1", "20", "30", "7", "False"]


def test_get_names_the_first_queue(api: Api, control_plane: ControlPlane, crd: str, namespace: str) -> None:
    created(api, crd, namespace, "queue-names")
    output = control_plane.kubectl("get", "-n", namespace, "qw").stdout
    assert "Send E-Mail" in output


def test_scale_changes_a_fixed_number(api: Api, control_plane: ControlPlane, crd: str, namespace: str) -> None:
    path = created(api, crd, namespace, "fixed")
    api.patch(f"{path}/status", {"status": STATUS})
    control_plane.kubectl("scale", "qw/fixed", "--replicas=5", "-n", namespace)
    assert api.get(path)["spec"]["replicas"] == 5
    scale = api.get(f"{path}/scale")
    assert scale["spec"] == {"replicas": 5}
    assert scale["status"] == {"replicas": 4, "selector": "queueworker.dev/queueworker=autoscaled"}


def test_scale_is_refused_with_autoscaling(api: Api, control_plane: ControlPlane, crd: str, namespace: str) -> None:
    path = created(api, crd, namespace, "autoscaled")
    answer = control_plane.kubectl("scale", "qw/autoscaled", "--replicas=5", "-n", namespace, check=False)
    assert answer.returncode != 0
    assert "set autoscaling.minReplicas or autoscaling.maxReplicas" in answer.stderr
    assert "replicas" not in api.get(path)["spec"]
    with pytest.raises(ApiError, match=r"the spec replicas field \"\.spec\.replicas\" does not exist"):
        api.get(f"{path}/scale")


def test_apply_prints_the_refusal(control_plane: ControlPlane, crd: str, namespace: str) -> None:
    manifest = crdcorpus.good("autoscaled")
    manifest["spec"]["autoscaling"] = {"minReplicas": 5, "maxReplicas": 3}
    answer = control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(manifest), check=False)
    assert "spec.autoscaling.minReplicas" in answer.stderr
    assert "minReplicas (5) must not exceed maxReplicas (3)" in answer.stderr


def test_explain_is_the_reference(control_plane: ControlPlane, crd: str, eventually: Callable[..., Any]) -> None:
    def explained(*arguments: str) -> str:
        # The server publishes the schema a moment after it serves the resource.
        return control_plane.kubectl("explain", "queueworker.spec.autoscaling", *arguments, check=False).stdout

    tree = eventually(lambda: explained("--recursive"), what="the published schema")
    assert "Scale on what the queues hold." in tree
    for line in ("maxReplicas\t<integer> -required-", "stabilizationWindowSeconds\t<integer>", "paused\t<boolean>"):
        assert line in tree
    assert "Never fewer; 0 lets the workers end when there is nothing to do." in explained()
