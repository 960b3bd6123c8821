"""A Kubernetes node that runs the containers of its pods as processes of this host.

Real: the Node and its Lease, scheduling, environment, volumes (in a mount namespace), probes, restarts with
back-off, termination with grace period, exit statuses, service account tokens.
Not there: images (`image` only picks an entrypoint), securityContext, resource limits, the pod network (a pod has
a loopback address of its own), Services, DNS, lifecycle hooks, kubectl logs and exec.
"""

from processnode.handle import ProcessNode

__all__ = ["ProcessNode"]
