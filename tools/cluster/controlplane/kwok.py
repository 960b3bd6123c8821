"""A node whose pods are ready as soon as they are bound, and do nothing: kwok, for many pods."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.binary import Program, Say, build_program, go_environment, say_on_stderr
from controlplane.component import Component
from controlplane.errors import ClusterError
from controlplane.plane import ControlPlane
from controlplane.toolchain import find_go

MODULE = Path(__file__).resolve().parents[2] / "kwok"
PROGRAM = Program(
    name="kwok",
    module=MODULE,
    package="sigs.k8s.io/kwok/cmd/kwok",
    minimum_go=(1, 26),
    title="kwok; the first time this takes 3 minutes on 2 cores",
)
_SOURCE = "sigs.k8s.io/kwok"
# What a pod and a node go through; without them kwok leaves them alone.
_STAGES = (
    "kustomize/stage/pod/fast/pod-ready.yaml",
    "kustomize/stage/pod/fast/pod-complete.yaml",
    "kustomize/stage/pod/fast/pod-delete.yaml",
    "kustomize/stage/node/fast/node-initialize.yaml",
    "kustomize/stage/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
)
_NAME = "kwok"


class Kwok:
    """One node of kwok's, with room for 10 000 pods."""

    @classmethod
    @contextmanager
    def start(cls, plane: ControlPlane, *, say: Say = say_on_stderr) -> Iterator[None]:
        """Keep a node in a control plane until the block ends."""
        binary = build_program(PROGRAM, say)
        stages = plane.directory / "kwok-stages.yaml"
        stages.write_text(_stages(say))
        command = [str(binary), f"--kubeconfig={plane.kubeconfig}", f"--config={stages}", "--manage-all-nodes=false"]
        component = Component(
            _NAME,
            [
                *command,
                "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
                "--node-lease-duration-seconds=40",
            ],
            directory=plane.directory,
        )
        component.start()
        try:
            plane.api.create("/api/v1/nodes", _node())
            plane.kubectl("wait", "--for=condition=Ready", "--timeout=30s", f"node/{_NAME}")
            component.check()
            yield
        finally:
            component.stop()


def _stages(say: Say) -> str:
    """Return the stages that come with the locked version of kwok."""
    go = find_go(say, minimum=PROGRAM.minimum_go)
    answer = subprocess.run(
        [go, "mod", "download", "-json", _SOURCE], cwd=MODULE, env=go_environment(), capture_output=True, text=True
    )
    if answer.returncode:
        raise ClusterError(f"go mod download {_SOURCE} failed:\n{answer.stderr.strip()}")
    directory = Path(json.loads(answer.stdout)["Dir"])
    return "\n---\n".join((directory / stage).read_text() for stage in _STAGES)


def _node() -> dict[str, object]:
    room = {"cpu": "10000", "memory": "4Ti", "pods": "10000"}
    return {
        "metadata": {
            "name": _NAME,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"type": "kwok", "kubernetes.io/os": "linux", "kubernetes.io/hostname": _NAME},
        },
        "status": {"allocatable": room, "capacity": room, "phase": "Running"},
    }
