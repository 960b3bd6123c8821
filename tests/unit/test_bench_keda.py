from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import pytest
from bench.keda.course import Run, counted, phases, rows
from bench.keda.objects import ENTRIES, REPLICAS, is_ready, scaled_object
from bench.scaling.course import Course
from hypothesis import given
from hypothesis import strategies as st

from controlplane.certificates import alternatives
from controlplane.keda import api_service
from controlplane.plane import ControlPlane
from queueworker.settings import ConnectionSettings

PAGE = """\
# HELP rest_client_requests_total Number of HTTP requests.
# TYPE rest_client_requests_total counter
rest_client_requests_total{code="200",host="127.0.0.1:20001",method="PUT"} 31
rest_client_requests_total{code="200",host="127.0.0.1:20001",method="PATCH"} 4
rest_client_requests_total{code="409",host="127.0.0.1:20001",method="PATCH"} 2
rest_client_requests_total_more{method="PATCH"} 100
apiserver_request_total{path="a \\"b\\", c",verb="GET"} 1.5e+03
plain 7
"""


def deployment(replicas: int, ready: int | None = None) -> dict[str, Any]:
    status = {} if ready is None else {"status": {"readyReplicas": ready}}
    return {"spec": {"replicas": replicas}, **status}


@given(runs=st.integers(1, 20), interval=st.floats(0.5, 600), seed=st.integers(0, 2**32))
def test_each_equal_part_of_the_interval_has_one_moment(runs: int, interval: float, seed: int) -> None:
    moments = phases(runs=runs, interval=interval, chance=random.Random(seed))
    assert len(moments) == runs
    for position, moment in enumerate(sorted(moments)):
        slack = interval * 1e-9
        assert position * interval / runs - slack <= moment <= (position + 1) * interval / runs + slack


def test_a_course_has_the_changes_of_its_deployment() -> None:
    course = Course()
    seen = [
        (1.0, deployment(0)),
        (3.0, deployment(1)),
        (3.5, deployment(1, 0)),
        (4.0, deployment(1, 1)),
        (9.0, deployment(100, 1)),
        (9.5, deployment(100, 100)),
    ]
    for at, body in seen:
        course.see(at, body)
    assert course.numbers == [(1.0, 0), (3.0, 1), (9.0, 100)]
    assert course.ready == [(1.0, 0), (4.0, 1), (9.5, 100)]
    assert course.written_after(2.5) == [(0.5, 1), (6.5, 100)]
    assert course.ready_after(2.5, pods=100) == 7.0


@pytest.mark.parametrize(
    ("name", "labels", "total"),
    [
        ("rest_client_requests_total", {}, 37),
        ("rest_client_requests_total", {"method": "PATCH"}, 6),
        ("rest_client_requests_total", {"method": "PATCH", "code": "409"}, 2),
        ("rest_client_requests_total", {"method": "POST"}, 0),
        ("apiserver_request_total", {"verb": "GET"}, 1500),
        ("plain", {}, 7),
    ],
)
def test_samples_are_summed_by_name_and_labels(name: str, labels: dict[str, str], total: float) -> None:
    assert counted(PAGE, name, **labels) == total


def test_the_rows_of_runs_have_every_written_number() -> None:
    first = Run(written=[(20.0, 1), (31.0, 4), (106.0, REPLICAS)], all_ready=106.3)
    second = Run(written=[(4.0, 1), (12.0, 4), (87.0, REPLICAS)], all_ready=87.1)
    table = rows("poll 30", [first, second])
    assert table["poll 30: push → replicas > 0"] == {"samples": 2, "p50": 12.0, "p99": 20.0, "min": 4.0, "max": 20.0}
    assert table["poll 30: push → 100 replicas"]["max"] == 106.0
    assert table["poll 30: push → 100 pods Ready"]["min"] == 87.1
    assert table["poll 30, run 2: seconds at the number"] == {"1": 4.0, "4": 12.0, "100": 87.0}


def test_a_list_of_all_entries_wants_all_replicas() -> None:
    spec = scaled_object("burst", ConnectionSettings(host="127.0.0.1", port=6400), polling_seconds=1)["spec"]
    trigger = spec["triggers"][0]["metadata"]
    assert ENTRIES / int(trigger["listLength"]) == spec["maxReplicaCount"] == REPLICAS
    assert trigger["address"] == "127.0.0.1:6400"
    assert trigger["listName"] == spec["scaleTargetRef"]["name"] == "burst"


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        (None, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, False),
        ({"hpaName": "keda-hpa-a", "conditions": [{"type": "Ready", "status": "Unknown"}]}, False),
        ({"hpaName": "keda-hpa-a"}, False),
        ({"hpaName": "keda-hpa-a", "conditions": [{"type": "Ready", "status": "True"}]}, True),
    ],
)
def test_a_scaled_object_is_ready_with_its_hpa(status: dict[str, Any] | None, ready: bool) -> None:
    assert is_ready({"status": status} if status is not None else {}) is ready


def test_the_api_service_leads_to_the_adapter() -> None:
    own: dict[str, Any] = {
        "metadata": {"name": "v1"},
        "spec": {"group": "g", "service": {"name": "adapter", "namespace": "keda"}},
    }
    changed = api_service(own, port=20_005, ca=b"certificate")
    assert changed["metadata"] == own["metadata"]
    assert changed["spec"]["group"] == "g"
    assert changed["spec"]["service"] == {"name": "adapter", "namespace": "keda", "port": 20_005}
    assert base64.b64decode(changed["spec"]["caBundle"]) == b"certificate"
    assert set(own["spec"]) == {"group", "service"}


def test_hosts_of_a_certificate_are_names_or_addresses() -> None:
    assert alternatives(("localhost", "127.0.0.1")) == ("DNS:localhost", "IP:127.0.0.1")


def test_flags_of_a_component_come_last_and_touch_no_other(tmp_path: Path) -> None:
    plane = ControlPlane(tmp_path / "none", flags={"kube-controller-manager": ["--kube-api-qps=20"]})
    try:
        commands = {name: component.command for name, component in plane.components.items()}
    finally:
        plane.stop()
    assert commands["kube-controller-manager"][-1] == "--kube-api-qps=20"
    assert "--kube-api-qps=20" not in commands["kube-scheduler"]
