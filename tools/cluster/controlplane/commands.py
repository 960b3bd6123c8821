"""The command lines of the four components. Paths are relative to the control plane's directory."""

from __future__ import annotations

from dataclasses import dataclass

ADMIN_GROUP = "system:masters"
SERVICE_ACCOUNT_KEY = "sa.key"
TOKENS = "tokens.csv"
CERTIFICATES = "certificates"
CA = "ca.crt"
KUBECONFIG = "kubeconfig"


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of the listeners; the other two components listen nowhere."""

    etcd: int
    etcd_peer: int
    apiserver: int


def etcd(ports: Ports) -> list[str]:
    """One member without fsync: its data ends with the directory."""
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    return [
        "etcd",
        "--data-dir=etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
        # A fresh single member needs no second of waiting for a leader that nobody else can be.
        "--heartbeat-interval=20",
        "--election-timeout=200",
    ]


def kube_apiserver(ports: Ports) -> list[str]:
    """RBAC and Pod Security admission (on by default); serves with a certificate that it makes itself."""
    return [
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{ports.etcd}",
        f"--secure-port={ports.apiserver}",
        "--bind-address=127.0.0.1",
        # Needs no network interface but loopback; endpoints may not be loopback addresses, so none are published.
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--cert-dir={CERTIFICATES}",
        "--authorization-mode=RBAC,Node",
        f"--token-auth-file={TOKENS}",
        f"--service-account-key-file={SERVICE_ACCOUNT_KEY}",
        f"--service-account-signing-key-file={SERVICE_ACCOUNT_KEY}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",
    ]


def kube_controller_manager() -> list[str]:
    """All controllers, each as its own service account; no listener."""
    return [
        "kube-controller-manager",
        f"--kubeconfig={KUBECONFIG}",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--controllers=*",
        f"--service-account-private-key-file={SERVICE_ACCOUNT_KEY}",
        "--use-service-account-credentials=true",
        f"--root-ca-file={CA}",
        "--leader-elect=false",
        # Many short-lived objects by one user: the default of 20 requests a second would be the bottleneck.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--node-monitor-period=1s",
    ]


def kube_scheduler() -> list[str]:
    """The default profile; no listener."""
    return [
        "kube-scheduler",
        f"--kubeconfig={KUBECONFIG}",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]
