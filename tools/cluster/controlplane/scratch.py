"""Scratch directories that do not pile up: those of owners that were killed go when the next one is made."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

_OWNER = "owner.pid"


class Scratch:
    """A new directory below the system's temporary one, private to this user and held by a lock while in use."""

    def __init__(self, prefix: str) -> None:
        sweep(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        # Locked before it gets the name that `sweep` looks for.
        unnamed = self.path / f"{_OWNER}.new"
        self._lock: IO[str] = unnamed.open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        unnamed.rename(self.path / _OWNER)

    def remove(self) -> None:
        """Remove the directory and let go of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def sweep(prefix: str) -> None:
    """Remove directories of this prefix whose owner has died."""
    for owner in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_OWNER}"):
        with suppress(OSError), owner.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owner.parent, ignore_errors=True)
