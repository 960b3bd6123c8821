"""The agent as a test sees it: a process to start, freeze and end, and the logs of its pods."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from controlplane import ClusterError, ControlPlane

_READY_SECONDS = 30.0
_STOP_SECONDS = 20.0
_TAIL_CHARACTERS = 6000
_HERE = Path(__file__).resolve().parents[1]
_CONTROL_PLANE = Path(__file__).resolve().parents[3] / "tools" / "cluster"


class ProcessNode:
    """A running node agent. The agent ends with this process; the containers end with the agent."""

    def __init__(self, name: str, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.directory = directory
        self._process = process

    @classmethod
    def start(
        cls, plane: ControlPlane, *, name: str = "process-node", backoff_seconds: tuple[float, float] = (0.5, 10.0)
    ) -> Self:
        """Start an agent and return when its node is registered. `backoff_seconds`: first and longest."""
        directory = Path(tempfile.mkdtemp(prefix="queueworker-node-"))
        command = [sys.executable, "-m", "processnode", f"--kubeconfig={plane.kubeconfig}", f"--name={name}"]
        command += [f"--directory={directory}", f"--parent={os.getpid()}", "--backoff", *map(str, backoff_seconds)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_HERE), str(_CONTROL_PLANE)])}
        with (directory / "agent.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        node = cls(name, directory, process)
        try:
            node._wait_ready()
        except BaseException:
            node.stop()
            raise
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def set_entrypoint(self, image: str, command: Sequence[str]) -> None:
        """Let `command` stand for the entrypoint of an image, for containers that name no command."""
        file = self.directory / "entrypoints.json"
        known: dict[str, list[str]] = json.loads(file.read_text()) if file.exists() else {}
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps({**known, image: list(command)}))
        partial.rename(file)

    def logs(self, namespace: str, pod: str = "*", container: str = "*") -> str:
        """Return what the containers printed, also of pods that are gone; patterns (`*`) are allowed."""
        found = sorted(self.directory.glob(f"pods/{namespace}_{pod}_*/{container}.log"))
        return "\n".join(f"--- {file.parent.name} {file.stem}\n{file.read_text(errors='replace')}" for file in found)

    def agent_log(self) -> str:
        """Return the end of what the agent itself has to say."""
        return (self.directory / "agent.log").read_text(errors="replace")[-_TAIL_CHARACTERS:]

    def pause(self) -> None:
        """Freeze the agent: its Lease runs out, its containers go on."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the frozen agent go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the agent as a machine dies: nothing is said to the API server, its containers are gone."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the agent, its containers, its Node and its directory."""
        self.resume()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not (self.directory / "ready").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ClusterError(f"the process node is not ready\n{self.agent_log()}")
            time.sleep(0.02)
