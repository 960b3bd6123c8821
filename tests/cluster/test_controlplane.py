"""The control plane itself: it listens on loopback only, knows its users, and ends what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from controlplane import Api, ApiError, ClusterError, ControlPlane, read_own_kubeconfig
from controlplane.component import Component
from controlplane.kubeconfig import CONTEXT, Access, write_kubeconfig
from controlplane.plane import issuer
from controlplane.scratch import sweep


def test_every_listener_is_on_loopback(control_plane: ControlPlane) -> None:
    listeners = {
        name: [c.laddr.ip for c in psutil.Process(component.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        for name, component in control_plane.components.items()
    }
    assert set(listeners["etcd"] + listeners["kube-apiserver"]) == {"127.0.0.1"}
    assert listeners["kube-controller-manager"] == listeners["kube-scheduler"] == []


def test_version_is_the_one_that_is_built(api: Api) -> None:
    assert api.get("/version")["gitVersion"] == "v1.35.4"


def test_kubectl_hands_on_words_and_status(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(ClusterError, match='configmaps "absent" not found'):
        control_plane.kubectl("get", "configmap", "absent", f"--namespace={namespace}")
    manifest = f'{{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {{"name": "a", "namespace": "{namespace}"}}}}'
    differs = control_plane.kubectl("diff", "-f", "-", stdin=manifest, check=False)
    assert differs.returncode == 1, differs.stderr
    control_plane.kubectl("apply", "-f", "-", stdin=manifest)
    assert control_plane.kubectl("diff", "-f", "-", stdin=manifest).returncode == 0


def test_restricted_pod_security_is_enforced(api: Api, namespace: str) -> None:
    pod = {"metadata": {"name": "lax"}, "spec": {"containers": [{"name": "main", "image": "any"}]}}
    with pytest.raises(ApiError, match="violates PodSecurity") as refused:
        api.create(f"/api/v1/namespaces/{namespace}/pods", pod)
    assert refused.value.status == 403


def test_service_account_may_do_what_its_rules_say_and_no_more(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(
        namespace,
        "reader",
        [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}],
        namespaced_rules=[{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}],
    )
    reader = Api(read_own_kubeconfig(kubeconfig))
    assert "items" in reader.get("/api/v1/nodes")
    assert reader.get(f"/api/v1/namespaces/{namespace}/secrets")["items"] == []
    for path in ("/api/v1/pods", "/api/v1/namespaces/default/secrets"):
        with pytest.raises(ApiError) as refused:
            reader.get(path)
        assert refused.value.status == 403, path


def test_a_wrong_token_is_refused(control_plane: ControlPlane) -> None:
    stranger = Access(server=control_plane.access.server, ca_file=control_plane.access.ca_file, token="guessed")
    with pytest.raises(ApiError) as refused:
        Api(stranger).get("/api/v1/namespaces")
    assert refused.value.status == 401


def test_controllers_work(api: Api, namespace: str, eventually: Callable[..., Any]) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    owner = api.create(path, {"metadata": {"name": "owner"}})["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    api.create(path, {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    api.delete(f"{path}/owner")
    eventually(
        lambda: {item["metadata"]["name"] for item in api.get(path)["items"]} == {"kube-root-ca.crt"},
        what="the garbage collector removes what was owned",
    )


def test_foreign_cluster_is_refused(tmp_path: Path) -> None:
    access = Access(server="https://10.0.0.1:6443", ca_file=tmp_path / "ca", token="t")
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1 only"):
        read_own_kubeconfig(write_kubeconfig(tmp_path / "remote", access))
    foreign = tmp_path / "foreign"
    foreign.write_text(write_kubeconfig(tmp_path / "own", access).read_text().replace(CONTEXT, "prod"))
    with pytest.raises(ClusterError, match="current context is 'prod'"):
        read_own_kubeconfig(foreign)
    with pytest.raises(ClusterError, match="current context is None"):
        read_own_kubeconfig(tmp_path / "absent")


def test_secrets_are_private_to_the_user(control_plane: ControlPlane) -> None:
    for name in ("kubeconfig", "tokens.csv", "sa.key"):
        assert (control_plane.directory / name).stat().st_mode & 0o077 == 0, name


def test_issuer_is_the_last_certificate() -> None:
    leaf, authority = (f"-----BEGIN CERTIFICATE-----\n{x}\n-----END CERTIFICATE-----\n" for x in ("leaf", "ca"))
    assert issuer(leaf + authority) == authority


def test_a_dead_component_shows_its_log(control_plane: ControlPlane, tmp_path: Path) -> None:
    component = Component("kubectl", [str(control_plane.binary), "kubectl", "no-such-command"], directory=tmp_path)
    component.start()
    deadline = time.monotonic() + 60
    while component.running and time.monotonic() < deadline:
        time.sleep(0.02)
    with pytest.raises(ClusterError, match=r'(?s)ended with status 1.*unknown command "no-such-command"'):
        component.check()


_OWNER = """
import sys, time
from pathlib import Path
from controlplane import ControlPlane
plane = ControlPlane.start(Path(sys.argv[1]))
print(plane.directory, *(component.pid for component in plane.components.values()), flush=True)
time.sleep(600)
"""


def test_nothing_outlives_its_owner(control_plane: ControlPlane) -> None:
    """An owner that is killed cannot stop anything; its components notice."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _OWNER, str(control_plane.binary)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        directory, *pids = owner.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        owner.kill()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert len(processes) == 4
    assert alive == []
    assert Path(directory).exists()
    sweep("queueworker-cluster-")
    assert not Path(directory).exists()
    assert control_plane.directory.exists()


def test_stop_ends_everything_and_a_component_can_be_frozen_and_restarted(control_plane: ControlPlane) -> None:
    with ControlPlane.start(control_plane.binary) as plane:
        impatient = Api(plane.access, timeout=0.5)
        server = plane.components["kube-apiserver"]
        server.pause()
        with pytest.raises(TimeoutError):
            impatient.get("/api/v1/namespaces")
        server.resume()
        assert plane.api.get("/api/v1/namespaces")["items"]
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            impatient.get("/api/v1/namespaces")
        server.start()
        plane.wait_ready()
        processes = [psutil.Process(component.pid) for component in plane.components.values()]
    assert not any(process.is_running() for process in processes)
    assert not plane.directory.exists()
