"""A control plane that outlives the command that started it: `make cluster-up` and `make cluster-down`.

A supervisor process owns the components. While it lives it holds a lock on a file that bears its process id, so the
id in a locked file is never that of a stranger.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from controlplane.binary import build
from controlplane.errors import ClusterError
from controlplane.plane import READY_SECONDS, ControlPlane
from controlplane.toolchain import cache_directory

_STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Home:
    """Files of the one background control plane of this user."""

    directory: Path

    @classmethod
    def default(cls) -> Home:
        """The home in the user's cache directory, created if need be."""
        home = cls(cache_directory() / "up")
        home.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return home

    @property
    def lock(self) -> Path:
        """Holds the supervisor's process id; locked while it lives."""
        return self.directory / "supervisor.pid"

    @property
    def log(self) -> Path:
        """What the supervisor printed."""
        return self.directory / "supervisor.log"

    @property
    def kubeconfig(self) -> Path:
        """Link to the kubeconfig; exists while the control plane is ready."""
        return self.directory / "kubeconfig"

    @property
    def kubectl(self) -> Path:
        """Link to the binary, which is kubectl when called by that name."""
        return self.directory / "kubectl"

    def supervisor(self) -> int | None:
        """Return the process id of the living supervisor."""
        with suppress(FileNotFoundError), self.lock.open() as file:
            if not _try_lock(file):
                # Empty for the moment between a supervisor's lock and its first write.
                return int(file.read() or 0) or None
        return None


def up(home: Home) -> None:
    """Start the supervisor unless it runs, and return when the control plane is ready."""
    build()
    supervisor = None
    if home.supervisor() is None:
        # A supervisor that was killed leaves them; they must not pass for the new one's.
        remove_links(home)
        command = [sys.executable, "-m", "controlplane", "serve"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        with home.log.open("wb") as log:
            supervisor = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    deadline = time.monotonic() + READY_SECONDS
    while not (home.kubeconfig.exists() and home.supervisor()):
        if supervisor is not None and supervisor.poll() is not None:
            raise ClusterError(f"the supervisor ended with status {supervisor.returncode}\n{home.log.read_text()}")
        if time.monotonic() > deadline:
            raise ClusterError(f"no control plane after {READY_SECONDS:.0f} s; see {home.log}")
        time.sleep(0.1)


def down(home: Home) -> bool:
    """End the supervisor and with it the control plane; return whether one ran."""
    pid = home.supervisor()
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while home.supervisor() is not None:
        if time.monotonic() > deadline:
            raise ClusterError(f"process {pid} did not end within {_STOP_SECONDS:.0f} s; see {home.log}")
        time.sleep(0.05)
    return True


def serve(home: Home) -> None:
    """Be the supervisor: own a control plane until SIGTERM or until one of its components dies."""
    signal.signal(signal.SIGTERM, _exit)
    with home.lock.open("a+") as lock:
        if not _lock_patiently(lock):
            raise ClusterError(f"a control plane runs already; see {home.directory}")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with ControlPlane.start(build()) as plane:
            try:
                home.kubectl.symlink_to(plane.binary)
                home.kubeconfig.symlink_to(plane.kubeconfig)
                while True:
                    plane.check()
                    time.sleep(1)
            finally:
                remove_links(home)
                lock.truncate(0)


def remove_links(home: Home) -> None:
    """Remove the links to the kubeconfig and to kubectl."""
    home.kubectl.unlink(missing_ok=True)
    home.kubeconfig.unlink(missing_ok=True)


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _lock_patiently(file: IO[str]) -> bool:
    # `up` and `down` hold the lock for the moment in which they ask whether it is held.
    for _ in range(20):
        if _try_lock(file):
            return True
        time.sleep(0.05)
    return False


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
