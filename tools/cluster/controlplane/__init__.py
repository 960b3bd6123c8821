"""A real Kubernetes control plane for tests and local play, from one binary that this package builds.

>>> from controlplane import ControlPlane, build
>>> with ControlPlane.start(build()) as plane:
...     print(plane.kubectl("get", "namespaces").stdout)
"""

from controlplane.api import Api, ApiError
from controlplane.binary import build
from controlplane.component import Component
from controlplane.errors import ClusterError
from controlplane.kubeconfig import Access, read_own_kubeconfig
from controlplane.plane import ControlPlane

__all__ = ["Access", "Api", "ApiError", "ClusterError", "Component", "ControlPlane", "build", "read_own_kubeconfig"]
