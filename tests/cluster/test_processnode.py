"""Pods as processes: what the tests of the operator rely on, shown on the real controllers."""

from __future__ import annotations

import base64
import json
import os
import sys
import textwrap
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from processnode import ProcessNode
from processnode.process import unshare_command

from controlplane import Api, ControlPlane

Object = dict[str, Any]

pytestmark = pytest.mark.usefixtures("process_node")

SERVER = textwrap.dedent("""
    import http.server, os, pathlib, signal, sys, time
    started = time.monotonic()
    out = pathlib.Path(os.environ.get("OUT", "."))
    mode = os.environ.get("ON_TERM", "exit")
    def terminate(*_):
        (out / (os.environ["HOSTNAME"] + ".term")).write_text("asked")
        if mode == "drain":
            time.sleep(0.5)
            (out / (os.environ["HOSTNAME"] + ".drained")).write_text("done")
        if mode != "ignore":
            sys.exit(0)
    signal.signal(signal.SIGTERM, terminate)
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            unwell = self.path == "/healthz" and (out / "unwell").exists() and (out / "unwell").unlink() is None
            self.send_response(500 if unwell else 200)
            self.end_headers()
            self.wfile.write(os.environ["HOSTNAME"].encode())
        def log_message(self, *_): pass
    print("serving as", os.environ["HOSTNAME"], flush=True)
    http.server.HTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
""")


def container(*command: str, **more: Any) -> Object:
    """A container that the restricted Pod Security level admits."""
    security = {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "name": "main",
        "image": "registry.test/app:1",
        "command": list(command),
        "securityContext": security,
        **more,
    }


def pod_spec(*containers: Object, **more: Any) -> Object:
    return {"containers": list(containers), "automountServiceAccountToken": False, **more}


def server(out: Path, **environment: str) -> Object:
    env: list[Object] = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    env += [{"name": name, "value": value} for name, value in {"OUT": str(out), **environment}.items()]
    ready = {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1}
    ports = [{"name": "http", "containerPort": 8080}]
    return container(sys.executable, "-c", SERVER, env=env, ports=ports, readinessProbe=ready)


class World:
    """One namespace, and what the tests here do in it."""

    def __init__(self, api: Api, namespace: str, eventually: Callable[..., Any]) -> None:
        self.api = api
        self.eventually = eventually
        self.pods_path = f"/api/v1/namespaces/{namespace}/pods"
        self.core = f"/api/v1/namespaces/{namespace}"
        self.deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments"

    def deploy(self, spec: Object, *, replicas: int) -> None:
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": spec}
        body = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        self.api.create(self.deployment, {"metadata": {"name": "web"}, "spec": body})

    def scale(self, replicas: int) -> None:
        self.api.patch(f"{self.deployment}/web/scale", {"spec": {"replicas": replicas}})

    def create_pod(self, spec: Object, name: str = "pod") -> None:
        self.api.create(self.pods_path, {"metadata": {"name": name}, "spec": spec})

    def pod(self, name: str = "pod") -> Object:
        return self.api.get(f"{self.pods_path}/{name}")

    def pods(self) -> list[Object]:
        return list(self.api.get(self.pods_path)["items"])

    def names(self) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods()}

    def available(self, count: int) -> None:
        def status() -> bool:
            found = self.api.get(f"{self.deployment}/web")["status"]
            return bool(found.get("availableReplicas", 0) == count == found.get("replicas"))

        self.eventually(status, what=f"{count} replicas available")

    def state(self, kind: str, name: str = "pod") -> Object:
        """The first container's state once it is of this kind."""
        entry: Object = self.eventually(
            lambda: next(
                (c for c in self.pod(name).get("status", {}).get("containerStatuses", []) if kind in c["state"]), None
            ),
            what=f"the container of {name} is {kind}",
        )
        return entry


@pytest.fixture
def world(api: Api, namespace: str, eventually: Callable[..., Any]) -> World:
    return World(api, namespace, eventually)


def output(node: ProcessNode, namespace: str, pod: str = "pod") -> Object:
    """The JSON that a container printed as its last line."""
    found: Object = json.loads(node.logs(namespace, pod).splitlines()[-1])
    return found


def process_of(entry: Object) -> psutil.Process:
    return psutil.Process(int(entry["containerID"].removeprefix("process://")))


def test_deployment_becomes_available_and_serves_on_the_pods_address(
    world: World, process_node: ProcessNode, namespace: str, tmp_path: Path
) -> None:
    world.deploy(pod_spec(server(tmp_path)), replicas=2)
    world.available(2)
    addresses = {pod["status"]["podIP"]: pod["metadata"]["name"] for pod in world.pods()}
    assert len(addresses) == 2
    for address, name in addresses.items():
        assert address.startswith("127.66.")
        with urllib.request.urlopen(f"http://{address}:8080/", timeout=30) as response:
            assert response.read().decode() == name
        assert f"serving as {name}" in process_node.logs(namespace, name)


PRINT_ENVIRONMENT = "import json, os, sys; print(json.dumps({'env': dict(os.environ), 'argv': sys.argv[1:]}))"


def test_environment_is_the_pods_and_nothing_else(
    world: World, process_node: ProcessNode, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {
        key: base64.b64encode(value.encode()).decode() for key, value in {"password": "pa$$(A)ss", "u": "x"}.items()
    }
    world.api.create(f"{world.core}/secrets", {"metadata": {"name": "redis"}, "data": secret})
    world.api.create(f"{world.core}/configmaps", {"metadata": {"name": "conf"}, "data": {"LEVEL": "debug"}})

    def ref(kind: str, **what: Any) -> Object:
        return {kind: what}

    env = [
        {"name": "FIRST", "value": "1"},
        {"name": "SECOND", "value": "$(FIRST)-$(C_LEVEL)-$(THIRD)-$$(FIRST)"},
        {"name": "THIRD", "value": "3"},
        {"name": "PASSWORD", "valueFrom": ref("secretKeyRef", name="redis", key="password")},
        {"name": "OPTIONAL", "valueFrom": ref("secretKeyRef", name="absent", key="k", optional=True)},
        {"name": "LEVEL", "valueFrom": ref("configMapKeyRef", name="conf", key="LEVEL")},
        {"name": "NAME", "valueFrom": ref("fieldRef", fieldPath="metadata.name")},
        {"name": "NAMESPACE", "valueFrom": ref("fieldRef", fieldPath="metadata.namespace")},
        {"name": "IP", "valueFrom": ref("fieldRef", fieldPath="status.podIP")},
        {"name": "NODE", "valueFrom": ref("fieldRef", fieldPath="spec.nodeName")},
        {"name": "URL", "value": "http://$(IP):8080/$(NAME)"},
    ]
    sources = [{"prefix": "C_", "configMapRef": {"name": "conf"}}, {"secretRef": {"name": "none", "optional": True}}]
    main = container("python", "-c", PRINT_ENVIRONMENT, args=["$(URL)", "$(ABSENT)"], env=env, envFrom=sources)
    world.create_pod(pod_spec(main, restartPolicy="Never"))
    assert world.state("terminated")["state"]["terminated"]["exitCode"] == 0, process_node.logs(namespace)

    printed, address = output(process_node, namespace), world.pod()["status"]["podIP"]
    expected = {
        "FIRST": "1",
        "SECOND": "1-debug-$(THIRD)-$(FIRST)",
        "THIRD": "3",
        "PASSWORD": "pa$$(A)ss",
        "LEVEL": "debug",
        "C_LEVEL": "debug",
        "NAME": "pod",
        "NAMESPACE": namespace,
        "IP": address,
        "NODE": process_node.name,
        "URL": f"http://{address}:8080/pod",
        "HOSTNAME": "pod",
    }
    inherited = {"PATH", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"}
    # LC_CTYPE is set by the Python interpreter itself in a C locale.
    assert printed["env"].keys() - inherited - {"LC_CTYPE"} == expected.keys()
    assert {name: printed["env"][name] for name in expected} == expected
    assert printed["argv"] == [expected["URL"], "$(ABSENT)"]
    assert world.pod()["status"]["phase"] == "Succeeded"


def test_missing_secret_is_named_and_waited_for(world: World, process_node: ProcessNode, namespace: str) -> None:
    env = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "late", "key": "token"}}}]
    world.create_pod(pod_spec(container("python", "-c", PRINT_ENVIRONMENT, env=env), restartPolicy="Never"))
    world.eventually(
        lambda: world.state("waiting")["state"]["waiting"]["reason"] == "CreateContainerConfigError",
        what="CreateContainerConfigError",
    )
    assert 'secret "late" not found' in world.state("waiting")["state"]["waiting"]["message"]
    assert world.pod()["status"]["phase"] == "Pending"
    world.api.create(f"{world.core}/secrets", {"metadata": {"name": "late"}, "stringData": {"token": "t0"}})
    world.state("terminated")
    assert output(process_node, namespace)["env"]["TOKEN"] == "t0"


def test_scale_in_drains_within_the_grace_period(world: World, tmp_path: Path) -> None:
    spec = pod_spec(server(tmp_path, ON_TERM="drain"), terminationGracePeriodSeconds=20)
    world.deploy(spec, replicas=3)
    world.available(3)
    before = world.names()
    processes = {process_of(pod["status"]["containerStatuses"][0]) for pod in world.pods()}
    world.scale(1)
    world.available(1)
    world.eventually(lambda: len(world.pods()) == 1, what="two pods gone")
    gone = before - world.names()
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.{s}" for n in gone for s in ("term", "drained")}
    assert sum(process.is_running() for process in processes) == 1


def test_grace_period_ends_with_a_kill(world: World, tmp_path: Path) -> None:
    world.create_pod(pod_spec(server(tmp_path, ON_TERM="ignore"), terminationGracePeriodSeconds=5))
    process = process_of(world.state("running"))
    world.eventually(lambda: world.state("running")["ready"], what="ready")
    deleted = world.api.delete(f"{world.pods_path}/pod")
    assert deleted["metadata"]["deletionGracePeriodSeconds"] == 5
    world.eventually((tmp_path / "pod.term").exists, what="SIGTERM arrived")
    assert process.is_running()
    assert world.names() == {"pod"}
    world.eventually(lambda: world.names() == set(), what="pod gone")
    assert not process.is_running()


def test_forced_deletion_ends_the_process(world: World, tmp_path: Path) -> None:
    world.create_pod(pod_spec(server(tmp_path, ON_TERM="ignore"), terminationGracePeriodSeconds=600))
    process = process_of(world.state("running"))
    world.api.delete(f"{world.pods_path}/pod", {"gracePeriodSeconds": 0})
    world.eventually(lambda: not process.is_running(), what="process gone")


def test_deletion_cost_picks_the_victim(world: World, tmp_path: Path) -> None:
    world.deploy(pod_spec(server(tmp_path)), replicas=2)
    world.available(2)
    victim, other = sorted(world.names())
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-100"}
    world.api.patch(f"{world.pods_path}/{victim}", {"metadata": {"annotations": cost}})
    world.scale(1)
    world.eventually(lambda: world.names() == {other}, what="the cheaper pod is gone")


def test_crashing_container_is_restarted_and_counted(world: World, process_node: ProcessNode, namespace: str) -> None:
    world.create_pod(pod_spec(container("python", "-c", "print('crash', flush=True); raise SystemExit(3)")))
    world.eventually(
        lambda: world.state("waiting")["state"]["waiting"]["reason"] == "CrashLoopBackOff", what="CrashLoopBackOff"
    )
    entry = world.eventually(
        lambda: next((c for c in world.pod()["status"]["containerStatuses"] if c["restartCount"] >= 3), None),
        what="three restarts",
    )
    assert entry["lastState"]["terminated"]["exitCode"] == 3
    assert entry["lastState"]["terminated"]["reason"] == "Error"
    assert world.pod()["status"]["phase"] == "Running"
    assert process_node.logs(namespace).count("crash\n") >= 3


def test_killed_process_is_reported_by_its_signal(world: World, tmp_path: Path) -> None:
    world.create_pod(pod_spec(server(tmp_path), restartPolicy="Never"))
    process_of(world.state("running")).kill()
    terminated = world.state("terminated")["state"]["terminated"]
    assert (terminated["exitCode"], terminated["signal"]) == (137, 9)
    assert world.pod()["status"]["phase"] == "Failed"


def test_startup_readiness_and_liveness(world: World, tmp_path: Path) -> None:
    main = server(tmp_path)
    # An answer that is late, as of a machine that is busy, is no failure here.
    main["startupProbe"] = {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 60}
    main["livenessProbe"] = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
    main["livenessProbe"]["timeoutSeconds"] = 30
    main["readinessProbe"] = {"exec": {"command": ["test", "-e", str(tmp_path / "ready")]}, "periodSeconds": 1}
    world.create_pod(pod_spec(main))
    first = process_of(world.state("running"))

    def ready() -> bool:
        return any(c["type"] == "Ready" and c["status"] == "True" for c in world.pod()["status"]["conditions"])

    assert not ready()
    (tmp_path / "ready").touch()
    world.eventually(ready, what="ready")
    (tmp_path / "unwell").touch()
    world.eventually(lambda: world.pod()["status"]["containerStatuses"][0]["restartCount"] == 1, what="restarted")
    assert not first.is_running()
    assert (tmp_path / "pod.term").exists()


def test_init_containers_run_first_and_one_after_another(world: World, tmp_path: Path) -> None:
    def write(name: str, text: str) -> Object:
        return container("sh", "-c", f"echo {text} >> {tmp_path}/order") | {"name": name}

    spec = pod_spec(write("main", "main"), initContainers=[write("a", "first"), write("b", "second")])
    world.create_pod({**spec, "restartPolicy": "Never"})
    world.state("terminated")
    assert (tmp_path / "order").read_text().split() == ["first", "second", "main"]


def test_image_without_command_needs_an_entrypoint(world: World, process_node: ProcessNode, namespace: str) -> None:
    image = f"registry.test/{namespace}:1"
    main = {**container(), "image": image, "args": ["-c", PRINT_ENVIRONMENT, "x"]}
    del main["command"]
    world.create_pod(pod_spec(main, restartPolicy="Never"))
    world.eventually(
        lambda: world.state("waiting")["state"]["waiting"]["reason"] == "ImagePullBackOff", what="ImagePullBackOff"
    )
    process_node.set_entrypoint(image, [sys.executable])
    world.state("terminated")
    assert output(process_node, namespace)["argv"] == ["x"]


def test_what_the_node_does_not_know_is_refused(world: World) -> None:
    hooks = {"preStop": {"exec": {"command": ["true"]}}}
    world.create_pod(pod_spec(container("true", lifecycle=hooks)))
    world.eventually(
        lambda: "lifecycle hooks" in world.state("waiting")["state"]["waiting"].get("message", ""), what="refusal"
    )


needs_mounts = pytest.mark.skipif(
    not unshare_command(), reason="this user may not make a mount namespace (run as root)"
)

LIST_NODES = textwrap.dedent("""
    import json, os, pathlib, ssl, urllib.request, urllib.error
    account = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
    context = ssl.create_default_context(cafile=account / "ca.crt")
    server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
    def status(path):
        headers = {"Authorization": "Bearer " + (account / "token").read_text()}
        request = urllib.request.Request(server + path, headers=headers)
        try:
            with urllib.request.urlopen(request, context=context) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
    namespace = (account / "namespace").read_text()
    print(json.dumps([namespace, status("/api/v1/nodes"), status("/api/v1/pods")]))
""")


@needs_mounts
def test_in_cluster_configuration(
    world: World, control_plane: ControlPlane, process_node: ProcessNode, namespace: str
) -> None:
    control_plane.service_account_kubeconfig(
        namespace, "lister", [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    )
    main = container("python", "-c", LIST_NODES)
    world.create_pod({"containers": [main], "serviceAccountName": "lister", "restartPolicy": "Never"})
    world.state("terminated")
    assert json.loads(process_node.logs(namespace).splitlines()[-1]) == [namespace, 200, 403]
    # Nobody else sees the token.
    assert not Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


SHOW_FILES = textwrap.dedent("""
    import json, pathlib
    def attempt(path):
        try:
            pathlib.Path(path).write_text("x")
        except OSError as error:
            return error.strerror
    paths = ["/etc/qw-node-test/tls/ca.crt", "/etc/qw-node-test/tls/nested/conf/LEVEL", "/etc/qw-node-test/name"]
    print(json.dumps({
        "read": [pathlib.Path(path).read_text() for path in paths],
        "written": [attempt("/tmp/scratch"), attempt("/etc/qw-node-test/tls/new")],
    }))
""")


@needs_mounts
def test_volumes(world: World, process_node: ProcessNode, namespace: str) -> None:
    world.api.create(f"{world.core}/secrets", {"metadata": {"name": "tls"}, "stringData": {"ca.pem": "CA"}})
    world.api.create(f"{world.core}/configmaps", {"metadata": {"name": "conf"}, "data": {"LEVEL": "debug"}})
    volumes = [
        {"name": "tmp", "emptyDir": {}},
        {
            "name": "tls",
            "projected": {
                "sources": [
                    {"secret": {"name": "tls", "items": [{"key": "ca.pem", "path": "ca.crt"}]}},
                    {"configMap": {"name": "conf", "items": [{"key": "LEVEL", "path": "nested/conf/LEVEL"}]}},
                ]
            },
        },
        {"name": "pod", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
    ]
    mounts = [
        {"name": "tls", "mountPath": "/etc/qw-node-test/tls"},
        {"name": "pod", "mountPath": "/etc/qw-node-test/name", "subPath": "name"},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    main = container("python", "-c", SHOW_FILES, volumeMounts=mounts)
    world.create_pod(pod_spec(main, restartPolicy="Never", volumes=volumes))
    assert world.state("terminated")["state"]["terminated"]["exitCode"] == 0, process_node.logs(namespace)
    found = output(process_node, namespace)
    assert found == {"read": ["CA", "debug", "pod"], "written": [None, "Read-only file system"]}
    assert not os.path.exists("/tmp/scratch")


def test_agent_that_ends_takes_its_processes_and_node_with_it(
    world: World, control_plane: ControlPlane, tmp_path: Path
) -> None:
    with ProcessNode.start(control_plane, name="second-node") as second:
        spec = pod_spec(server(tmp_path, ON_TERM="ignore"), nodeName=second.name)
        world.create_pod(spec)
        process = process_of(world.state("running"))
    assert not process.is_running()
    assert not second.directory.exists()
    nodes = {node["metadata"]["name"] for node in world.api.get("/api/v1/nodes")["items"]}
    assert "second-node" not in nodes
    assert world.names() == set()


def test_agent_that_is_killed_leaves_no_process(world: World, control_plane: ControlPlane, tmp_path: Path) -> None:
    with ProcessNode.start(control_plane, name="third-node") as third:
        world.create_pod(pod_spec(server(tmp_path), nodeName=third.name))
        process = process_of(world.state("running"))
        third.kill()
        world.eventually(lambda: not process.is_running(), what="the container died with the agent")
    world.api.delete("/api/v1/nodes/third-node")


def test_agent_outlasts_an_api_server_that_is_away(control_plane: ControlPlane, eventually: Callable[..., Any]) -> None:
    with ControlPlane.start(control_plane.binary) as plane, ProcessNode.start(plane):
        api = plane.api
        path = "/api/v1/namespaces/default/pods"
        spec = pod_spec(container("sleep", "600"), terminationGracePeriodSeconds=1)
        api.create(path, {"metadata": {"name": "before"}, "spec": spec})
        eventually(lambda: api.get(f"{path}/before")["status"]["phase"] == "Running")
        process = process_of(api.get(f"{path}/before")["status"]["containerStatuses"][0])
        plane.components["kube-apiserver"].stop()
        plane.components["kube-apiserver"].start()
        plane.wait_ready()
        assert process.is_running()
        eventually(lambda: bool(api.create(path, {"metadata": {"name": "after"}, "spec": spec})), what="pod accepted")
        eventually(lambda: api.get(f"{path}/after")["status"]["phase"] == "Running", what="pod after the outage")
        api.delete(f"{path}/before")
        eventually(lambda: not process.is_running(), what="deletion seen after the outage")
