"""Mount points that this host does not have: made empty for containers, removed when no agent needs them.

Removing a directory detaches what is mounted on it in *every* mount namespace. So all agents of a user share one
list of what was made, each holds a shared lock on it, and only the last of them removes what it names.
"""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path

from processnode.environment import ConfigError


class MountPoints:
    """The list in `register`, created if need be."""

    def __init__(self, register: Path) -> None:
        register.parent.mkdir(parents=True, exist_ok=True)
        self._file = register.open("a+")
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def make(self, target: Path, *, like: Path) -> None:
        """Make `target` an empty directory, or an empty file where `like` is a file, unless it exists."""
        missing = [path for path in (target, *target.parents) if not path.exists()]
        try:
            for path in reversed(missing):
                self._file.write(f"{path}\n")
                self._file.flush()
                path.touch() if path == target and like.is_file() else path.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigError(f"mount point {target}: {error}", reason="CreateContainerError") from error

    def close(self) -> None:
        """Remove what was made if no other agent runs. What is not empty stays: something else put it to use."""
        with self._file as file, suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            for path in map(Path, reversed(file.read().splitlines())):
                with suppress(OSError):
                    if path.is_dir():
                        path.rmdir()
                    elif not path.stat().st_size:
                        path.unlink()
            file.truncate(0)
