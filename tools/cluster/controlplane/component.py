"""One process of the control plane: start, stop, pause, and the end of its log when it fails."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from controlplane.errors import ClusterError

_TAIL_BYTES = 4000
# Below the ephemeral range, so that no outgoing connection takes a port between its choice and its use, nor while
# a component is stopped and started again.
_PORTS = range(20000, 30000)


def free_port() -> int:
    """Return a loopback port on which nothing listens now."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ClusterError(f"no free port on 127.0.0.1 between {_PORTS.start} and {_PORTS.stop}")


class Component:
    """A process of the control plane. Those of our own binary end by themselves within a second when this one dies.

    The environment is next to empty, but for what `environment` adds.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self.command = list(command)
        self._directory = directory
        self._environment = {"PATH": os.defpath, "HOME": str(directory), **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; an error while the component is stopped."""
        if self._process is None:
            raise ClusterError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process exists, paused or not."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; its log is appended to."""
        if self.running:
            raise ClusterError(f"{self.name} runs already")
        # Its own session: Ctrl-C in a terminal reaches the tests only, which then stop the components in order.
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self._directory,
                env={**self._environment, "CLUSTER_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self, *, grace_seconds: float = 0) -> None:
        """End the process: SIGTERM and SIGKILL after the grace, SIGKILL at once without one."""
        process, self._process = self._process, None
        if process is None:
            return
        if grace_seconds:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_seconds)
        process.kill()
        process.wait()

    def pause(self) -> None:
        """Freeze the process (SIGSTOP): connections stay open and answer nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def check(self) -> None:
        """Raise with the end of the log if the process has ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise ClusterError(f"{self.name} ended with status {status}\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of the log, headed by the component's name."""
        content = self.log.read_bytes()[-_TAIL_BYTES:] if self.log.exists() else b""
        lines = content.decode(errors="replace").splitlines()[-20:]
        return "\n".join([f"--- {self.name} ({self.log})", *lines])
