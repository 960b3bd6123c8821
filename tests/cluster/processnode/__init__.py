"""A Kubernetes node that runs the containers of its pods as processes of this host.

Real: the Node and its Lease, scheduling, environment, volumes (in a mount namespace), probes, restarts with
back-off, termination with grace period, exit statuses, service account tokens.
Not there: images (`image` only picks an entrypoint), securityContext, resource limits, the pod network (a pod has
a loopback address of its own), Services and their variables, DNS, lifecycle hooks, the kubelet's events, kubectl logs
and exec. Volumes are written once: a changed Secret or an older token is not renewed. A container's process id is in
its status, as `containerID: process://PID`. It is not process 1 of a namespace: without a handler it dies of SIGTERM,
which a container's first process would ignore.
"""

from processnode.handle import ProcessNode

__all__ = ["ProcessNode"]
