"""Workers as Deployments of a Kubernetes cluster."""

from queueworker_operator.cluster.kubernetes.adapter import KubernetesCluster
from queueworker_operator.cluster.kubernetes.requests import Requests

__all__ = ["KubernetesCluster", "Requests"]
