"""The operator at rest with 1 and with 1 000 QueueWorkers: memory, CPU, and writes to the API, which must be 0.

Queues are quiet and empty, the workers at zero. The writes are counted by the API server itself.
"""

from __future__ import annotations

import json
import re
import time

import psutil
from acceptance import ROOT, running_operator
from report import emit
from valkeyserver import start_valkey

import controlplane
from queueworker.settings import ConnectionSettings

NAMESPACE = "bench"
REST_SECONDS = 60.0
WRITES = {"POST", "PUT", "PATCH", "APPLY", "DELETE"}
OURS = {"queueworkers", "deployments", "events"}


def apply_fleet(plane: controlplane.ControlPlane, settings: ConnectionSettings, *, count: int) -> None:
    """Install the CRD and make `count` QueueWorkers, each with a queue of its own."""
    plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds/queueworkers.yaml"))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=20s", "crd/queueworkers.queueworker.dev")
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    path = f"/apis/queueworker.dev/v1alpha1/namespaces/{NAMESPACE}/queueworkers"
    for number in range(count):
        name = f"qw-{number}"
        spec = {
            "queues": [{"name": name}],
            "redis": {"host": settings.host, "port": settings.port},
            "worker": {"image": "localhost/none:1"},
            "autoscaling": {"minReplicas": 0, "maxReplicas": 100},
        }
        body = {
            "apiVersion": "queueworker.dev/v1alpha1",
            "kind": "QueueWorker",
            "metadata": {"name": name},
            "spec": spec,
        }
        plane.api.create(path, body)


def ready_fleet(plane: controlplane.ControlPlane, *, count: int, within: float = 300.0) -> float:
    """Wait until every QueueWorker is Ready and return how long that took."""
    start = time.monotonic()
    while time.monotonic() - start < within:
        listed = json.loads(plane.kubectl("get", "qw", "-n", NAMESPACE, "-o", "json").stdout)["items"]
        conditions = [{c["type"]: c["status"] for c in qw.get("status", {}).get("conditions", [])} for qw in listed]
        if sum(found.get("Ready") == "True" for found in conditions) == count:
            return time.monotonic() - start
        time.sleep(0.5)
    raise SystemExit(f"not all of {count} QueueWorkers are ready after {within:.0f} s")


def writes(plane: controlplane.ControlPlane) -> int:
    """How many writes to our kinds the API server has served."""
    counted = 0.0
    for line in plane.api.text("/metrics").splitlines():
        if line.startswith("apiserver_request_total{"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            if labels["resource"] in OURS and labels["verb"] in WRITES:
                counted += float(line.rpartition(" ")[2])
    return int(counted)


def measure(plane: controlplane.ControlPlane, settings: ConnectionSettings, *, count: int) -> dict[str, float | int]:
    apply_fleet(plane, settings, count=count)
    with running_operator(plane, NAMESPACE) as operator:
        ready_seconds = ready_fleet(plane, count=count)
        # The last status may still be waiting for its turn.
        time.sleep(15)
        assert operator.process is not None
        process = psutil.Process(operator.process.pid)
        before, cpu = writes(plane), sum(process.cpu_times()[:2])
        time.sleep(REST_SECONDS)
        return {
            "ready_after_seconds": ready_seconds,
            "rss_mib": process.memory_info().rss / 2**20,
            "cpu_seconds_per_minute": (sum(process.cpu_times()[:2]) - cpu) * 60 / REST_SECONDS,
            "api_writes_per_minute": writes(plane) - before,
        }


def main() -> None:
    server = start_valkey()
    try:
        settings = ConnectionSettings(host=server.host, port=server.port)
        rows = {}
        for count in (1, 1_000):
            with controlplane.ControlPlane.start(controlplane.build()) as plane:
                rows[f"{count} QueueWorkers"] = measure(plane, settings, count=count)
        emit("fleet", rows)
        if any(row["api_writes_per_minute"] for row in rows.values()):
            raise SystemExit("the operator wrote although nothing changed")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
