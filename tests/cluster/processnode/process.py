"""A container as a process of this host: its own session, and its own mount namespace where it has mounts."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from processnode.environment import ConfigError
from processnode.mountpoints import MountPoints
from processnode.volumes import Mount


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything that a container's process starts with."""

    argv: Sequence[str]
    environment: dict[str, str]
    mounts: Sequence[Mount]
    working_directory: Path
    log: Path


class Host:
    """Starts processes, and knows which paths of this host must stay in sight whatever is mounted.

    A volume over /tmp would hide a virtual environment or a checkout that lies there; those are bound into the
    volume first.
    """

    def __init__(self, visible: Sequence[Path], mount_points: MountPoints) -> None:
        self._visible = visible
        self._mount_points = mount_points
        self._unshare = unshare_command()

    async def start(self, launch: Launch) -> Process:
        """Start a process; the shell, unshare and setpriv before it replace one another, so the pid is its own."""
        command = [*end_with_agent(), *launch.argv]
        if launch.mounts:
            if not self._unshare:
                raise ConfigError(
                    "volume mounts need a mount namespace (unshare --mount): run the process node as root",
                    reason="CreateContainerError",
                )
            script = "\n".join([*self._script(launch.mounts), 'exec "$@"'])
            command = [*self._unshare, "/bin/sh", "-ec", script, "sh", *command]
        with launch.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=launch.environment,
                cwd=launch.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Process(process, enter=self._enter(process.pid) if launch.mounts else [])

    def close(self) -> None:
        """Let go of the mount points."""
        self._mount_points.close()

    def _script(self, mounts: Sequence[Mount]) -> list[str]:
        lines = []
        for index, mount in enumerate(mounts):
            source, target = shlex.quote(str(mount.source)), shlex.quote(str(mount.target))
            nested = any(mount.target.is_relative_to(outer.target) for outer in mounts[:index])
            if nested:
                lines.append(f"test -d {source} && mkdir -p {target} || touch {target}")
            else:
                self._mount_points.make(mount.target, like=mount.source)
                lines += self._keep_in_sight(mount)
            lines.append(f"mount --rbind {source} {target}")
            if mount.read_only:
                lines.append(f"mount -o remount,bind,ro {target}")
        return lines

    def _keep_in_sight(self, mount: Mount) -> list[str]:
        lines = []
        for path in self._visible:
            if path.is_relative_to(mount.target) and path != mount.target:
                inside = mount.source / path.relative_to(mount.target)
                inside.mkdir(parents=True, exist_ok=True)
                lines.append(f"mount --rbind {shlex.quote(str(path))} {shlex.quote(str(inside))}")
        return lines

    def _enter(self, pid: int) -> list[str]:
        user = ["--user", "--preserve-credentials"] if os.geteuid() else []
        return [shutil.which("nsenter") or "nsenter", "--target", str(pid), "--mount", *user]


class Process:
    """A started process. `exited` is a task that ends with its status as a container runtime reports it."""

    def __init__(self, process: asyncio.subprocess.Process, *, enter: Sequence[str]) -> None:
        self.pid = process.pid
        self._enter = enter
        self._process = process
        self.exited = asyncio.create_task(self._wait())

    def terminate(self) -> None:
        """Send SIGTERM to the process alone, as a runtime does to the first process of a container."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL to all that it started in its session's process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    async def execute(self, argv: Sequence[str], environment: dict[str, str], timeout: float) -> int | None:
        """Run a command with the container's files and environment; None if it took longer than `timeout`."""
        process = await asyncio.create_subprocess_exec(
            *self._enter,
            *end_with_agent(),
            *argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return await asyncio.wait_for(process.wait(), timeout)
        except TimeoutError:
            return None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _wait(self) -> int:
        status = await self._process.wait()
        # What a container's first process leaves behind dies with it.
        self.kill()
        return status if status >= 0 else 128 - status


def end_with_agent() -> list[str]:
    """Return the command before a command that makes it die with the agent, however that dies."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def unshare_command() -> list[str]:
    """Return the command that starts another in a mount namespace of its own, empty if this user may not."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return []
    command = [unshare, "--mount", *(["--map-root-user"] if os.geteuid() else []), "--"]
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else []
