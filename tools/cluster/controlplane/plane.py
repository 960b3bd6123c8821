"""A running control plane: etcd, API server, controller manager and scheduler as processes of this host."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from controlplane import commands
from controlplane.api import Api, ApiError, Object
from controlplane.component import Component, free_port
from controlplane.errors import ClusterError
from controlplane.kubeconfig import Access, write_kubeconfig
from controlplane.scratch import Scratch

READY_SECONDS = 60.0
_STARTS = 3
_IN_USE = "address already in use"


class ControlPlane:
    """Four components in a scratch directory, and what is needed to talk to them as their administrator.

    `components` is by name (etcd, kube-apiserver, kube-controller-manager, kube-scheduler), each of which can be
    stopped, started, paused and resumed. Leaving the `with` block ends them and removes the directory.
    """

    def __init__(
        self, binary: Path, *, apiserver_flags: Sequence[str] = (), flags: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.binary = binary
        self._scratch = Scratch("queueworker-cluster-")
        self.directory = directory = self._scratch.path
        self.ports = commands.Ports(etcd=free_port(), etcd_peer=free_port(), apiserver=free_port())
        self.kubeconfig = directory / commands.KUBECONFIG
        self.access = Access(
            server=f"https://127.0.0.1:{self.ports.apiserver}",
            ca_file=directory / commands.CA,
            token=secrets.token_urlsafe(24),
        )
        lines = {
            "etcd": commands.etcd(self.ports),
            "kube-apiserver": [*commands.kube_apiserver(self.ports), *apiserver_flags],
            "kube-controller-manager": commands.kube_controller_manager(),
            "kube-scheduler": commands.kube_scheduler(),
        }
        self.components = {
            name: Component(name, [str(binary), *line, *(flags or {}).get(name, ())], directory=directory)
            for name, line in lines.items()
        }

    @classmethod
    def start(
        cls, binary: Path, *, apiserver_flags: Sequence[str] = (), flags: Mapping[str, Sequence[str]] | None = None
    ) -> Self:
        """Start a control plane in a new scratch directory and return it ready; again if a port was snatched.

        `apiserver_flags` are further flags of kube-apiserver, `flags` those of any component by its name. A flag
        that is given twice has its last value.
        """
        for attempt in range(1, _STARTS + 1):
            plane = cls(binary, apiserver_flags=apiserver_flags, flags=flags)
            try:
                plane._start()
            except BaseException as error:
                plane.stop()
                if attempt < _STARTS and _IN_USE in str(error):
                    continue
                raise
            return plane
        raise AssertionError("unreachable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def api(self) -> Api:
        """Requests as the administrator."""
        return Api(self.access)

    @property
    def environment(self) -> dict[str, str]:
        """Environment for programs that shall talk to this control plane and to no other."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
        return {**kept, "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(
        self,
        *arguments: str,
        stdin: str | None = None,
        kubeconfig: Path | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return what it printed; a failure is an error with its words unless `check` is false."""
        command = [str(self.binary), "kubectl", f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments]
        # A HOME of its own: neither the user's discovery cache nor their kuberc has a part in this.
        environment = {**self.environment, "HOME": str(self.directory)}
        answer = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=environment, timeout=timeout, check=False
        )
        if check and answer.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: status {answer.returncode}\n{answer.stderr.strip()}")
        return answer

    def service_account_kubeconfig(
        self,
        namespace: str,
        name: str,
        rules: Sequence[Object],
        *,
        namespaced_rules: Sequence[Object] = (),
    ) -> Path:
        """Create a service account with exactly these RBAC rules and return a kubeconfig with its own token.

        `rules` hold in the whole cluster (ClusterRole), `namespaced_rules` in `namespace` only (Role). The token
        is good for a day. The kubeconfig's default namespace is `namespace`.
        """
        api = self.api
        core, rbac = f"/api/v1/namespaces/{namespace}", "/apis/rbac.authorization.k8s.io/v1"
        api.create(f"{core}/serviceaccounts", {"metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "namespace": namespace, "name": name}
        for kind, path, given in (
            ("ClusterRole", rbac, rules),
            ("Role", f"{rbac}/namespaces/{namespace}", namespaced_rules),
        ):
            # ClusterRoles have no namespace: the role's name carries it.
            role = {"metadata": {"name": f"{namespace}-{name}"}}
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": f"{namespace}-{name}"}
            api.create(f"{path}/{kind.lower()}s", {**role, "rules": list(given)})
            api.create(f"{path}/{kind.lower()}bindings", {**role, "subjects": [subject], "roleRef": reference})
        request = {"spec": {"expirationSeconds": 86_400}}
        token = api.create(f"{core}/serviceaccounts/{name}/token", request)["status"]["token"]
        access = Access(server=self.access.server, ca_file=self.access.ca_file, token=token)
        return write_kubeconfig(self.directory / f"{namespace}-{name}.kubeconfig", access, namespace=namespace)

    def check(self) -> None:
        """Raise with the end of its log if a component has ended by itself."""
        for component in self.components.values():
            component.check()

    def logs(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(component.tail() for component in self.components.values())

    def stop(self) -> None:
        """End the components and remove their directory. Nothing needs a graceful end: the data goes with it."""
        for component in reversed(self.components.values()):
            component.stop()
        self._scratch.remove()

    def wait_ready(self, *, timeout: float = READY_SECONDS) -> None:
        """Wait until the API server is ready and the controller manager has done its first work."""
        self._wait("the API server to be ready", self._answers_ready, timeout=timeout)
        self._wait("the controller manager's first service account", self._has_service_account, timeout=timeout)

    def _start(self) -> None:
        tokens = f'{self.access.token},admin,admin,"{commands.ADMIN_GROUP}"\n'
        write_private(self.directory / commands.TOKENS, tokens)
        self.components["etcd"].start()
        key = self.directory / commands.SERVICE_ACCOUNT_KEY
        subprocess.run([self.binary, "genkey", key], check=True, timeout=READY_SECONDS)
        self.components["kube-apiserver"].start()
        certificates = self.directory / commands.CERTIFICATES
        # The server writes the certificate first, then its key.
        self._wait("the API server's certificate", (certificates / "apiserver.key").exists, timeout=READY_SECONDS)
        self.access.ca_file.write_text(issuer((certificates / "apiserver.crt").read_text()))
        write_kubeconfig(self.kubeconfig, self.access)
        self._wait("the API server to be ready", self._answers_ready, timeout=READY_SECONDS)
        self.components["kube-controller-manager"].start()
        self.components["kube-scheduler"].start()
        self.wait_ready()

    def _wait(self, what: str, condition: Callable[[], bool], *, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise ClusterError(f"waited {timeout:.0f} s in vain for {what}\n{self.logs()}")
            time.sleep(0.02)

    def _answers_ready(self) -> bool:
        with suppress(ApiError, OSError):
            return self.api.text("/readyz") == "ok"
        return False

    def _has_service_account(self) -> bool:
        with suppress(ApiError, OSError):
            return bool(self.api.get("/api/v1/namespaces/default/serviceaccounts/default"))
        return False


def issuer(chain: str) -> str:
    """Return the last certificate of a PEM chain: the authority that signed the first."""
    begin = "-----BEGIN CERTIFICATE-----"
    return begin + chain.rpartition(begin)[2]


def write_private(path: Path, content: str) -> None:
    """Write a file that only this user can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
