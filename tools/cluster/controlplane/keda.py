"""KEDA's operator and metrics adapter on a control plane, with the flags, rights and CRDs of its own manifests.

Its module is locked in tools/keda; the `replace` there is KEDA's own, which does not reach who requires it. Not as in
its manifests: certificates are made here and not by its rotation, there is no admission webhook, and every address is
a loopback one but that of the adapter's /metrics, which no flag can name.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import yaml

from controlplane.api import Object
from controlplane.binary import Program, Say, build_program, go_environment, say_on_stderr
from controlplane.certificates import Authority
from controlplane.component import Component, free_port
from controlplane.errors import ClusterError
from controlplane.plane import ControlPlane
from controlplane.scratch import Scratch
from controlplane.toolchain import find_go

MODULE = Path(__file__).resolve().parents[2] / "keda"
NAMESPACE = "keda"
_SOURCE = "github.com/kedacore/keda/v2"
_MINIMUM_GO = (1, 26)
_ADAPTER_SERVICE = "keda-metrics-apiserver"
_PROXY_CLIENT = "front-proxy-client"
_ENVIRONMENT = {"WATCH_NAMESPACE": "", "POD_NAMESPACE": NAMESPACE, "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE}
_RIGHTS = ("rbac/role.yaml", "rbac/role_binding.yaml", "metrics-server/role.yaml", "metrics-server/role_binding.yaml")
OPERATOR, ADAPTER = (
    Program(
        name=f"keda-{name}",
        module=MODULE,
        package=f"{_SOURCE}/cmd/{name}",
        minimum_go=_MINIMUM_GO,
        title=f"KEDA's {name}; the first time both take 8 minutes on 2 cores",
    )
    for name in ("operator", "adapter")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """What an API server and an aggregated one show each other; to be made before the API server starts."""

    proxy: Authority
    keda: Authority

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Self]:
        """Make them in a directory that goes with the block."""
        scratch = Scratch("queueworker-keda-")
        try:
            proxy = Authority(scratch.path / "proxy", name="front-proxy-ca")
            proxy.sign("client", name=_PROXY_CLIENT)
            keda = Authority(scratch.path / "keda", name="keda-ca")
            keda.sign("tls", name="keda", hosts=(f"{_ADAPTER_SERVICE}.{NAMESPACE}.svc", "localhost", "127.0.0.1"))
            yield cls(proxy=proxy, keda=keda)
        finally:
            scratch.remove()

    def apiserver_flags(self) -> list[str]:
        """Return the flags by which kube-apiserver serves the APIs of others."""
        return [
            f"--requestheader-client-ca-file={self.proxy.ca}",
            f"--requestheader-allowed-names={_PROXY_CLIENT}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self.proxy.directory / 'client.crt'}",
            f"--proxy-client-key-file={self.proxy.directory / 'client.key'}",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keda:
    """The two processes; `metrics_port` is that of the operator's /metrics on 127.0.0.1."""

    version: str
    operator: Component
    adapter: Component
    metrics_port: int

    @classmethod
    @contextmanager
    def start(cls, plane: ControlPlane, certificates: Certificates, *, say: Say = say_on_stderr) -> Iterator[Self]:
        """Keep KEDA on a control plane that was started with the flags of these certificates, until the block ends."""
        operator, adapter = (str(build_program(program, say)) for program in (OPERATOR, ADAPTER))
        version, configuration = _module(say)
        kubeconfig, ports = _install(plane, configuration), _Ports()
        keda = cls(
            version=version,
            operator=_component(plane, [operator, *_operator(kubeconfig, certificates, ports)]),
            adapter=_component(plane, [adapter, *_adapter(kubeconfig, certificates, ports)]),
            metrics_port=ports.metrics,
        )
        try:
            keda.operator.start()
            keda.adapter.start()
            _register(plane, configuration, port=ports.adapter, ca=certificates.keda.ca.read_bytes())
            keda.check()
            yield keda
        except BaseException:
            say(keda.operator.tail())
            say(keda.adapter.tail())
            raise
        finally:
            keda.adapter.stop()
            keda.operator.stop()

    def check(self) -> None:
        """Raise with the end of its log if one of them has ended by itself."""
        self.operator.check()
        self.adapter.check()


@dataclass(frozen=True, slots=True)
class _Ports:
    metrics: int = field(default_factory=free_port)
    probe: int = field(default_factory=free_port)
    service: int = field(default_factory=free_port)
    adapter: int = field(default_factory=free_port)
    adapter_metrics: int = field(default_factory=free_port)


def api_service(registration: Object, *, port: int, ca: bytes) -> Object:
    """Return KEDA's APIService with the port of its service and the CA of the certificate there."""
    spec = registration["spec"]
    service = {**spec["service"], "port": port}
    return {**registration, "spec": {**spec, "service": service, "caBundle": base64.b64encode(ca).decode()}}


def _module(say: Say) -> tuple[str, Path]:
    """Return the locked version of KEDA and where the manifests that come with it are."""
    go = find_go(say, minimum=_MINIMUM_GO)
    answer = subprocess.run(
        [go, "mod", "download", "-json", _SOURCE], cwd=MODULE, env=go_environment(), capture_output=True, text=True
    )
    if answer.returncode:
        raise ClusterError(f"go mod download {_SOURCE} failed:\n{answer.stderr.strip()}")
    module = json.loads(answer.stdout)
    return str(module["Version"]).removeprefix("v"), Path(module["Dir"]) / "config"


def _install(plane: ControlPlane, configuration: Path) -> Path:
    """Create KEDA's namespace, kinds and rights; return the kubeconfig of its service account."""
    plane.api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    plane.kubectl("apply", "--server-side", "-k", str(configuration / "crd"))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
    files = [argument for name in _RIGHTS for argument in ("-f", str(configuration / name))]
    kubeconfig = plane.service_account_kubeconfig(NAMESPACE, "keda-operator", [])
    plane.kubectl("apply", "--server-side", *files)
    return kubeconfig


def _register(plane: ControlPlane, configuration: Path, *, port: int, ca: bytes) -> None:
    """Let the API server serve external metrics from the adapter on this port, and wait until it does."""
    service = {"metadata": {"name": _ADAPTER_SERVICE}, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    plane.api.create(f"/api/v1/namespaces/{NAMESPACE}/services", service)
    registration = yaml.safe_load((configuration / "metrics-server/api_service.yaml").read_text())
    plane.api.create("/apis/apiregistration.k8s.io/v1/apiservices", api_service(registration, port=port, ca=ca))
    name = registration["metadata"]["name"]
    plane.kubectl("wait", "--for=condition=Available", "--timeout=90s", f"apiservice/{name}", timeout=100)


def _operator(kubeconfig: Path, certificates: Certificates, ports: _Ports) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--leader-elect",
        "--zap-log-level=info",
        "--zap-encoder=console",
        "--zap-time-encoding=rfc3339",
        f"--cert-dir={certificates.keda.directory}",
        f"--metrics-bind-address=127.0.0.1:{ports.metrics}",
        f"--metrics-service-bind-address=127.0.0.1:{ports.service}",
        f"--health-probe-bind-address=127.0.0.1:{ports.probe}",
    ]


def _adapter(kubeconfig: Path, certificates: Certificates, ports: _Ports) -> list[str]:
    directory = certificates.keda.directory
    names = ("kubeconfig", "lister-kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return [
        *(f"--{name}={kubeconfig}" for name in names),
        "--bind-address=127.0.0.1",
        f"--secure-port={ports.adapter}",
        f"--port={ports.adapter_metrics}",
        f"--metrics-service-address=127.0.0.1:{ports.service}",
        "--zap-log-level=error",
        f"--client-ca-file={certificates.keda.ca}",
        f"--tls-cert-file={directory / 'tls.crt'}",
        f"--tls-private-key-file={directory / 'tls.key'}",
        f"--cert-dir={directory}",
    ]


def _component(plane: ControlPlane, command: list[str]) -> Component:
    return Component(Path(command[0]).name, command, directory=plane.directory, environment=_ENVIRONMENT)
